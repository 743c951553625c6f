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

from iotlam.contracts import BadInput, DecisionQuery
from iotlam.model import Decision, IotlamConfig, IotlamModel, collate, from_pretrained, save_pretrained
from iotlam.training import imitation, loop
from iotlam.training.imitation import (
    ImitationConfig,
    Loss,
    agreement,
    choice_loss,
    drop_modalities,
    imitate,
    imitation_loss,
    shuffle,
    told_loss,
)
from iotlam.training.shards import FACTS, RETURN, TEACHER, Sample, Shard

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
    assert imitate(model, learnt, config, tmp_path, lambda _, loss: losses.append(loss)) == 60
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
    monkeypatch.setattr(loop, "CHECKPOINT_EVERY", 3)
    shards, config = [shard_of(decision, 0, 20)], ImitationConfig(steps=8, batch=4, warmup=2, learning_rate=3e-3)

    def stop(step: int, _: float) -> None:
        if step == 5:
            raise KeyboardInterrupt

    whole, steps = new_model(), []
    imitate(whole, shards, config, tmp_path / "a", lambda *_: None)
    with pytest.raises(KeyboardInterrupt):
        imitate(new_model(), shards, config, tmp_path / "b", stop)
    resumed = new_model()
    assert imitate(resumed, shards, config, tmp_path / "b", lambda step, _: steps.append(step)) == 5
    assert steps == [4, 5, 6, 7, 8]
    same_state(whole, resumed)
    assert imitate(resumed, shards, config, tmp_path / "b", lambda *_: pytest.fail("a step")) == 0


def test_two_processes_learn_the_same_bits(
    new_model: Callable[[], IotlamModel], decision: Decide, tmp_path: Path, same_state: Callable[..., None]
) -> None:
    shards, config = [shard_of(decision, 0, 20)], ImitationConfig(steps=3, batch=5, warmup=1, learning_rate=3e-3)
    alone, shared = new_model(), new_model()
    imitate(alone, shards, config, tmp_path / "a", lambda *_: None)
    imitate(shared, shards, config, tmp_path / "b", lambda *_: None, workers=2)
    same_state(alone, shared)


def test_moments_are_taken_once_before_anything_is_learnt(
    new_model: Callable[[], IotlamModel], decision: Decide, tmp_path: Path
) -> None:
    model, config = new_model(), ImitationConfig(steps=1, batch=2)
    imitate(model, [shard_of(decision, 0, 30)], config, tmp_path / "first", lambda *_: None)
    assert model.fusion.whitening_frozen
    moments = {name: whitening.mean_D.clone() for name, whitening in model.fusion.whitening.items()}
    assert all(bool(mean_D.abs().sum() > 0) for mean_D in moments.values())
    imitate(model, [shard_of(decision, 900, 30)], config, tmp_path / "second", lambda *_: None)
    for name, whitening in model.fusion.whitening.items():
        assert torch.equal(whitening.mean_D, moments[name])


@pytest.mark.parametrize("loss", [choice_loss, told_loss])
def test_a_model_learns_to_tell_what_is_at_each_place(
    loss: Loss,
    config: IotlamConfig,
    decision: Decide,
    tmp_path: Path,
    same_state: Callable[..., None],
) -> None:
    def known(seed: int) -> Sample:
        sample = decision(seed)
        facts_KF = np.stack([10.0 * sample.targets["count_P"], np.full(3, 7.0)], axis=1).astype(np.float32)
        return replace(sample, targets=taught(sample).targets | {FACTS: facts_KF})  # in tens, and what never changes

    torch.manual_seed(7)
    model = IotlamModel(config.changed(n_facts=2), seed=1)
    learnt = [Shard.pack([known(seed) for seed in range(200)])]
    schooling = ImitationConfig(steps=80, batch=16, learning_rate=1e-2, warmup=5, drop=0.0)
    imitate(model, learnt, schooling, tmp_path / "run", lambda *_: None, loss=loss)
    told, true = [], []
    for seed in range(5000, 5040):
        sample = known(seed)
        facts_BKF = model.answer(sample.tokens, sample.query).facts_BKF
        assert facts_BKF is not None
        told.append(facts_BKF[0].numpy())
        true.append(sample.targets[FACTS])
    told_NF, true_NF = np.concatenate(told), np.concatenate(true)
    assert np.corrcoef(told_NF[:, 0], true_NF[:, 0])[0, 1] > 0.9
    assert np.abs(told_NF[:, 0] - true_NF[:, 0]).mean() < 5.0
    assert np.abs(told_NF[:, 1] - 7.0).max() < 0.5
    save_pretrained(model, tmp_path / "model")
    same_state(model, from_pretrained(tmp_path / "model"))


def test_a_model_that_tells_nothing_says_so(new_model: Callable[[], IotlamModel], decision: Decide) -> None:
    sample = decision(0)
    with pytest.raises(BadInput, match="n_facts"):
        new_model().tell(collate([(dict(sample.tokens), sample.query)]))


def test_the_error_of_facts_counts_places_that_are_there(config: IotlamConfig) -> None:
    facts = IotlamModel(config.changed(n_facts=2)).facts
    assert facts is not None
    facts.std_F.copy_(torch.tensor([2.0, 4.0]))
    told_BKF = facts(torch.randn(1, 2, 16)).detach()
    off_BKF = told_BKF + torch.tensor([[[2.0, 4.0], [1e6, 1e6]]])
    mask_BK = torch.tensor([[True, False]])
    assert float(facts.error(told_BKF, off_BKF, mask_BK).detach()) == pytest.approx(1.0, rel=1e-4)
    assert float(facts.error(told_BKF, told_BKF, mask_BK).detach()) == pytest.approx(0.0, abs=1e-9)


def test_it_does_not_go_on_from_a_run_with_other_options_or_decisions(
    new_model: Callable[[], IotlamModel], decision: Decide, tmp_path: Path
) -> None:
    config = ImitationConfig(steps=1, batch=2)
    imitate(new_model(), [shard_of(decision, 0, 4)], config, tmp_path, lambda *_: None)
    for other, count in ((replace(config, temperature=0.5), 4), (config, 5)):
        with pytest.raises(BadInput, match=f"{count} decisions"):
            imitate(new_model(), [shard_of(decision, 0, count)], other, tmp_path, lambda *_: None)


def test_bits_are_free_at_first(
    new_model: Callable[[], IotlamModel], decision: Decide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, prices = new_model(), []

    def spy(decided: Decision, price: float) -> torch.Tensor:
        prices.append(price)
        return 0.0 * decided.rate_bits

    monkeypatch.setattr(model, "information_loss", spy)
    config = ImitationConfig(steps=10, batch=2, warmup=1, free=0.3, ramp=0.3)
    imitate(model, [shard_of(decision, 0, 4)], config, tmp_path, lambda *_: None)
    assert prices[::2] == prices[1::2] == pytest.approx([0, 0, 0, 0, 1 / 3, 2 / 3, 1, 1, 1, 1])  # of both parts


def test_every_step_draws_other_decisions_in_another_order(
    new_model: Callable[[], IotlamModel], decision: Decide, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[DecisionQuery] = []
    collate = imitation.collate

    def watch(examples: list[tuple[object, DecisionQuery]]) -> object:
        given.extend(query for _, query in examples)
        return collate(examples)

    monkeypatch.setattr(imitation, "collate", watch)
    config = ImitationConfig(steps=4, batch=4)
    imitate(new_model(), [shard_of(decision, 0, 30), shard_of(decision, 30, 30)], config, tmp_path, lambda *_: None)
    assert len(given) == 16 and len({np.sort(query.features_PF, axis=None).tobytes() for query in given}) > 10
    assert len({query.anchors_KHX.tobytes() for query in given}) > 3  # the place is the same, its lanes' order is not
    assert len({query.serves_PK.tobytes() for query in given}) > 3


def test_the_decoders_own_weights_stay(new_model: Callable[[], IotlamModel], decision: Decide, tmp_path: Path) -> None:
    model = new_model()
    before = {name: value.clone() for name, value in model.named_parameters()}
    config = ImitationConfig(steps=2, batch=2, warmup=0)
    imitate(model, [shard_of(decision, 0, 4)], config, tmp_path, lambda *_: None)
    moved = {name for name, value in model.named_parameters() if not torch.equal(value, before[name])}
    assert moved and not any(name.startswith("decoder.") and "lora_" not in name for name in moved)


def test_shuffling_renames_places_and_candidates_with_their_targets(decision: Decide) -> None:
    one = taught(decision(3))
    one = replace(one, query=replace(one.query, allowed_P=np.array([True, False, True])))
    one = replace(one, targets={**one.targets, "wait_s_K": np.arange(3, dtype=np.float32)})
    names = {row.tobytes(): index for index, row in enumerate(one.query.features_PF)}
    orders = set()
    for seed in range(40):
        mixed = shuffle(one, np.random.default_rng(seed))
        query = mixed.query
        candidates = [names[row.tobytes()] for row in query.features_PF]
        places = np.rint(query.anchors_KHX[:, 0, 0] / 40.0).astype(int).tolist()
        orders.add((tuple(candidates), tuple(places)))
        np.testing.assert_array_equal(query.anchors_KHX, one.query.anchors_KHX[places])
        # Candidate p served place p: it still does, whatever both are called now.
        assert [places[row.argmax()] for row in query.serves_PK] == candidates
        np.testing.assert_array_equal(query.allowed_P, one.query.allowed_P[candidates])
        np.testing.assert_array_equal(mixed.targets[TEACHER], one.targets[TEACHER][candidates])
        np.testing.assert_array_equal(mixed.targets["wait_s_K"], places)
        assert mixed.targets[RETURN] == -1.0 and mixed.tokens is one.tokens
    assert len(orders) > 12  # of 36; were both in one order, of 6


def test_agreement_counts_only_allowed_choices(new_model: Callable[[], IotlamModel], decision: Decide) -> None:
    model, one = new_model(), Shard.pack([decision(0)])[0]
    choice = int(model.answer(one.tokens, one.query).logits_BP[0].argmax())
    other = (choice + 1) % 3
    for allowed, teacher, expected in (
        ((choice, other), {choice: 2.0, other: 1.0}, 1.0),
        ((choice, other), {choice: 1.0, other: 2.0}, 0.0),
        ((choice, other), {choice: 1.0, other: 1.0}, 1.0),  # one of the best is enough
        ((choice,), {choice: 1.0, other: 2.0}, 1.0),  # what may not be chosen is not missed
    ):
        allowed_P, scores_P = np.zeros(3, dtype=bool), np.zeros(3, np.float32)
        allowed_P[list(allowed)] = True
        for phase, score in teacher.items():
            scores_P[phase] = score
        sample = Sample(one.tokens, replace(one.query, allowed_P=allowed_P), {TEACHER: scores_P})
        assert agreement(model, [Shard.pack([sample])], ["lidar", "video"]) == expected


def test_agreement_sees_only_the_modalities_asked_for(
    new_model: Callable[[], IotlamModel], decision: Decide, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, seen = new_model().train(), []
    answer = model.answer
    monkeypatch.setattr(model, "answer", lambda tokens, query: seen.append(sorted(tokens)) or answer(tokens, query))
    agreement(model, [shard_of(decision, 0, 9)], ["video"], limit=3)
    assert seen == [["video"]] * 3 and model.training
