"""Imitation: the loss by hand, what is dropped, and a task that is learnt: serve the fullest place."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from iotlam.model import IotlamModel
from iotlam.training import imitation
from iotlam.training.imitation import (
    RETURN,
    TEACHER,
    ImitationConfig,
    agreement,
    drop_modalities,
    imitate,
    imitation_loss,
)
from iotlam.training.shards import Sample, Shard

Decide = Callable[..., Sample]


def taught(sample: Sample) -> Sample:
    """With a teacher that likes the fuller place, by 2 nats a token."""
    return replace(sample, targets={TEACHER: 2.0 * sample.targets["count_P"], RETURN: np.float32(-1.0)})


def shard_of(decision: Decide, first: int, count: int) -> Shard:
    return Shard.pack([taught(decision(seed)) for seed in range(first, first + count)])


def test_the_loss_is_the_divergence_over_allowed_candidates(decision: Decide) -> None:
    scores = np.array([1.0, 0.0, 5.0], np.float32)
    sample = replace(decision(0), targets={TEACHER: scores, RETURN: np.float32(2.0)})
    logits_BP = torch.tensor([[math.log(0.3), math.log(0.7), -math.inf]], requires_grad=True)
    answer = SimpleNamespace(logits_BP=logits_BP, value_B=torch.tensor([0.0]))
    inputs = SimpleNamespace(allowed_BP=torch.tensor([[True, True, False]]))
    config = ImitationConfig(temperature=0.5, value_weight=0.1)
    p = 1 / (1 + math.exp(-2.0))  # the teacher's first choice, at temperature 0.5
    expected = p * math.log(p / 0.3) + (1 - p) * math.log((1 - p) / 0.7) + 0.1 * (2.0 - 0.5)  # Huber of 2
    loss = imitation_loss(answer, inputs, [sample], config)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    gradient = logits_BP.grad
    assert gradient is not None and torch.isfinite(gradient).all()
    assert gradient[0].tolist() == pytest.approx([0.3 - p, 0.7 - (1 - p), 0.0], abs=1e-6)


def test_fewer_candidates_than_the_batch_has(decision: Decide) -> None:
    sample = replace(decision(0), targets={TEACHER: np.float32([3.0]), RETURN: np.float32(0.0)})
    answer = SimpleNamespace(logits_BP=torch.tensor([[0.4, -math.inf]]), value_B=torch.tensor([0.0]))
    inputs = SimpleNamespace(allowed_BP=torch.tensor([[True, False]]))
    assert float(imitation_loss(answer, inputs, [sample], ImitationConfig())) == pytest.approx(0.0, abs=1e-6)


def test_modalities_are_dropped_but_never_all(decision: Decide) -> None:
    sample, rng = decision(0), np.random.default_rng(0)
    kept = [tuple(drop_modalities(sample, 0.5, rng).tokens) for _ in range(400)]
    share = {names: kept.count(names) / 400 for names in set(kept)}
    assert set(share) == {("lidar",), ("video",), ("lidar", "video")}
    assert share["lidar", "video"] == pytest.approx(0.25, abs=0.07)
    assert {tuple(drop_modalities(sample, 0.0, rng).tokens) for _ in range(9)} == {("lidar", "video")}
    assert {len(drop_modalities(sample, 1.0, rng).tokens) for _ in range(9)} == {1}


def test_it_learns_to_count(new_model: Callable[[], IotlamModel], decision: Decide, tmp_path: Path) -> None:
    learnt, held_out = [shard_of(decision, 0, 200)], [shard_of(decision, 5000, 80)]
    model, losses = new_model(), []
    before = agreement(model, held_out, ["lidar", "video"])
    config = ImitationConfig(steps=60, batch=16, learning_rate=1e-2, warmup=5)
    imitate(model, learnt, config, tmp_path, lambda _, loss: losses.append(loss))
    after = agreement(model, held_out, ["lidar", "video"])
    assert len(losses) == 60 and before < 0.6 < 0.8 < after  # chance is a third
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    assert agreement(model, held_out, ["lidar"]) > 0.6  # one sensor is enough to count


def test_a_run_that_was_stopped_ends_the_same(
    new_model: Callable[[], IotlamModel],
    decision: Decide,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    same_state: Callable[..., None],
) -> None:
    monkeypatch.setattr(imitation, "CHECKPOINT_EVERY", 3)
    shards, config = [shard_of(decision, 0, 20)], ImitationConfig(steps=8, batch=4, warmup=2, learning_rate=3e-3)

    def stop(step: int, _: float) -> None:
        if step == 5:
            raise KeyboardInterrupt

    whole, steps = new_model(), []
    imitate(whole, shards, config, tmp_path / "a", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        imitate(new_model(), shards, config, tmp_path / "b", stop)
    resumed = new_model()
    imitate(resumed, shards, config, tmp_path / "b", lambda step, _: steps.append(step))
    assert steps == [4, 5, 6, 7, 8]
    same_state(whole, resumed)


def test_every_step_draws_other_decisions(
    new_model: Callable[[], IotlamModel], decision: Decide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[bytes] = []
    drop = imitation.drop_modalities

    def watch(sample: Sample, probability: float, rng: np.random.Generator) -> Sample:
        given.append(sample.query.features_PF.tobytes())
        return drop(sample, probability, rng)

    monkeypatch.setattr(imitation, "drop_modalities", watch)
    config = ImitationConfig(steps=4, batch=4)
    imitate(new_model(), [shard_of(decision, 0, 30), shard_of(decision, 30, 30)], config, tmp_path, lambda *_: None)
    assert len(given) == 16 and len(set(given)) > 10


def test_the_decoders_own_weights_stay(new_model: Callable[[], IotlamModel], decision: Decide, tmp_path: Path) -> None:
    model = new_model()
    before = {name: value.clone() for name, value in model.named_parameters()}
    config = ImitationConfig(steps=2, batch=2, warmup=0)
    imitate(model, [shard_of(decision, 0, 4)], config, tmp_path, lambda *_: None)
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved and not any(name.startswith("decoder.") and "lora_" not in name for name in moved)


def test_agreement_counts_only_allowed_choices(decision: Decide) -> None:
    one = taught(decision(0))
    best = int(one.targets[TEACHER].argmax())
    allowed_P = np.arange(3) != best
    sample = replace(one, query=replace(one.query, allowed_P=allowed_P))
    second = int(np.where(allowed_P, one.targets[TEACHER], -np.inf).argmax())

    class Fixed:
        def __init__(self, choice: int) -> None:
            self.choice = choice

        def eval(self) -> None:
            pass

        def __call__(self, _: object) -> SimpleNamespace:
            return SimpleNamespace(logits_BP=torch.nn.functional.one_hot(torch.tensor([self.choice]), 3).float())

    shard = Shard.pack([sample])
    assert agreement(Fixed(second), [shard], ["lidar"]) == 1.0  # type: ignore[arg-type]
    assert agreement(Fixed(best), [shard], ["lidar"]) == 0.0  # type: ignore[arg-type]
