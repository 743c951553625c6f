"""PPO: returns and advantages by hand, and a policy that improves on what it is paid for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.optim import AdamW

from iotlam.model import IotlamModel
from iotlam.training.ppo import ADVANTAGE, PpoConfig, discounted, improve, policy_optimizer, with_advantages
from iotlam.training.seeds import seed_everything
from iotlam.training.shards import ACTION, LOG_PROB, RETURN, REWARD, VALUE, Sample, Shard

Decide = Callable[..., Sample]


def test_discounted_returns() -> None:
    reward_N = np.array([1.0, 2.0, 4.0], np.float32)
    assert discounted(reward_N, 0.5).tolist() == [3.0, 4.0, 4.0]
    assert discounted(reward_N, 0.5, bootstrap=8.0).tolist() == [4.0, 6.0, 8.0]
    assert discounted(reward_N, 0.0).tolist() == [1.0, 2.0, 4.0]


def test_generalised_advantages(decision: Decide) -> None:
    facts = zip([1.0, 0.0, 2.0], [0.5, 1.0, -1.0], strict=True)
    samples = [
        replace(decision(0), targets={REWARD: np.float32(reward), VALUE: np.float32(value)}) for reward, value in facts
    ]
    shard = with_advantages(Shard.pack(samples), PpoConfig(gamma=0.5, lam=0.5))
    # errors of one step: 1 + 0.5*1 - 0.5 = 1;  0 + 0.5*(-1) - 1 = -1.5;  2 + 0.5*(-1) + 1 = 2.5 (its own value ahead)
    raw_N = np.array([1 - 0.375 + 0.15625, -1.5 + 0.625, 2.5])
    np.testing.assert_allclose(shard.target(ADVANTAGE), (raw_N - raw_N.mean()) / raw_N.std(), rtol=1e-4)
    assert shard.target(RETURN).tolist() == pytest.approx([0.78125 + 0.5, -0.875 + 1.0, 2.5 - 1.0])


def play(model: IotlamModel, decision: Decide, first: int, rng: np.random.Generator) -> Shard:
    """96 single decisions, drawn from the policy and paid 1 for the place with most tokens."""
    samples = []
    for seed in range(first, first + 96):
        sample = decision(seed)
        answer = model.answer(sample.tokens, sample.query)
        probability_P = answer.logits_BP[0].softmax(0).double().numpy()
        action = int(rng.choice(3, p=probability_P / probability_P.sum()))
        facts = {
            ACTION: action,
            LOG_PROB: np.log(probability_P[action]),
            VALUE: float(answer.value_B[0]),
            REWARD: float(action == sample.targets["count_P"].argmax()),
        }
        samples.append(replace(sample, targets={name: np.float32(value) for name, value in facts.items()}))
    return Shard.pack(samples)


def test_it_learns_what_is_paid(new_model: Callable[[], IotlamModel], decision: Decide) -> None:
    model, rng = new_model(), np.random.default_rng(0)
    config = PpoConfig(gamma=0.0, lam=0.0, epochs=4, batch=32, learning_rate=1e-2, max_kl=0.1, entropy_weight=0.0)
    optimizer = policy_optimizer(model, config)
    paid = []
    for turn in range(8):
        shard = play(model, decision, 1000 * turn, rng)
        paid.append(float(shard.target(REWARD).mean()))
        improve(model, optimizer, [shard], config, (0, turn), lambda _: None)
    assert paid[0] < 0.5  # chance is a third
    assert np.mean(paid[-2:]) > 0.7


def test_on_the_recording_policy_nothing_is_clipped(new_model: Callable[[], IotlamModel], decision: Decide) -> None:
    model = new_model()
    shard = play(model, decision, 0, np.random.default_rng(0))
    config = PpoConfig(epochs=1, batch=96, learning_rate=0.0)
    steps: list[float] = []
    facts = improve(model, AdamW(model.parameters(), weight_decay=0.0), [shard], config, (0, 0), steps.append)
    assert len(steps) == 1 and facts["clip_share"] == 0.0
    assert facts["kl"] == pytest.approx(0.0, abs=1e-6)
    assert 0.0 < facts["entropy"] <= np.log(3) + 1e-6


def test_a_pass_that_went_too_far_is_the_last(new_model: Callable[[], IotlamModel], decision: Decide) -> None:
    model = new_model()
    shard = play(model, decision, 0, np.random.default_rng(0))
    config = PpoConfig(epochs=50, batch=32, learning_rate=1e-2, max_kl=0.01)
    steps: list[float] = []
    facts = improve(model, AdamW(model.parameters(), lr=1e-2), [shard], config, (0, 0), steps.append)
    assert facts["kl"] > 0.01 and len(steps) % 3 == 0 and len(steps) < 50 * 3


def test_gates_and_base_decoder_stay_while_the_rest_moves(
    new_model: Callable[[], IotlamModel], decision: Decide
) -> None:
    model = new_model()
    shard = play(model, decision, 0, np.random.default_rng(0))
    config = PpoConfig(epochs=2, batch=32, learning_rate=1e-2, max_kl=10.0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    improve(model, policy_optimizer(model, config), [shard], config, (0, 0), lambda _: None)
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert not {name for name in moved if ".gates." in name or (name.startswith("decoder.") and "lora_" not in name)}
    for part in ("fusion.attention.", "projector.", "head.", "value.", "decoder."):
        assert any(name.startswith(part) for name in moved), part


def test_what_a_gate_lets_through_costs_nothing(new_model: Callable[[], IotlamModel], decision: Decide) -> None:
    """The loss is PPO's alone: beta and gamma belong to imitation, where the gates learn."""
    losses = []
    for weight in (0.0, 5.0):
        model = new_model()
        model.config = model.config.changed(beta=weight, gamma=weight)
        shard = play(model, decision, 0, np.random.default_rng(0))
        config = PpoConfig(epochs=1, batch=96)
        improve(model, policy_optimizer(model, config), [shard], config, (0, 0), losses.append)
    assert losses[0] == losses[1]


def test_the_seed_orders_the_decisions(
    new_model: Callable[[], IotlamModel], decision: Decide, same_state: Callable[..., None]
) -> None:
    models = []
    for seed in ((3, 1), (3, 1), (3, 2)):
        model = new_model()
        shard = play(model, decision, 0, np.random.default_rng(0))
        config = PpoConfig(epochs=1, batch=32)
        improve(model, policy_optimizer(model, config), [shard], config, seed, lambda _: None)
        models.append(model)
    same_state(models[0], models[1])
    with pytest.raises(AssertionError):
        same_state(models[0], models[2])


def test_one_seed_decides_all_generators() -> None:
    import random

    drawn = []
    for _ in range(2):
        seed_everything(5)
        drawn.append((random.random(), np.random.rand(), float(torch.rand(()))))
    assert drawn[0] == drawn[1] and len(set(drawn[0])) == 3
