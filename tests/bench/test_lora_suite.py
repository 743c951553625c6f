"""Suite `lora`: its windows, its arms on a problem that can be learnt, its figures by hand, and its promises broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from iotlam.bench.host import describe_host
from iotlam.bench.lora import arms as arms_module
from iotlam.bench.lora.arms import Arm, Fitted, arms, measure, sweep
from iotlam.bench.lora.hygiene import Hygiene, as_row
from iotlam.bench.lora.small import nearest_neighbours, ridge, small_mlp
from iotlam.bench.lora.windows import STATES, WAITED, Windows, balanced, draw_windows, state
from iotlam.bench.statistics import mean_ci95
from iotlam.bench.suite import SuiteResult, result_json
from iotlam.bench.suites import lora as suite_module
from iotlam.bench.suites.lora import STEPS, SWEEP_SEEDS, figures, race
from iotlam.contracts import BadInput, DecisionQuery, TokenBatch
from iotlam.decoder.vocabulary import BEGIN, NEXT, SAY, train_tokenizer
from iotlam.plugins import load_entry
from iotlam.training.shards import Sample, Shard
from iotlam.training.streams import fit_quantizers, stream_codes


def episode(seed: int) -> Shard:
    """Forty decisions at two places; the sensor sees how long somebody has waited, up to noise."""
    draw = np.random.default_rng(seed)
    anchors_KHX = np.array([[[0.0, 0.0]], [[50.0, 0.0]]], np.float32)
    query = DecisionQuery(anchors_KHX, np.eye(2, dtype=np.float32), np.zeros((2, 1), np.float32), np.ones(2, np.bool_))
    samples = []
    for _ in range(40):
        waited_K = draw.choice([0.0, 5.0, 30.0], 2).astype(np.float32)
        seen_KD = np.stack([waited_K, waited_K**2 / 10], axis=1) + draw.normal(size=(2, 2))
        tokens = TokenBatch(
            torch.from_numpy(seen_KD[None].astype(np.float32)),
            torch.ones(1, 2, dtype=torch.bool),
            torch.zeros(1, 2),
            "eye",
            torch.from_numpy(anchors_KHX[None, :, 0]),
        )
        samples.append(Sample({"eye": tokens}, query, {WAITED: waited_K}))
    return Shard.pack(samples)


@pytest.fixture(scope="module")
def parts() -> tuple[Windows, Windows, Windows]:
    shards = [episode(seed) for seed in range(6)]
    tokenizer = train_tokenizer(["a"], ["eye"], 290)
    quantizers = fit_quantizers(shards, ["eye"], tokenizer, 0)
    raw = [
        draw_windows(shards[turn::3], quantizers, tokenizer, count, np.random.default_rng(turn))
        for turn, count in enumerate((40, 20, 20))
    ]
    pool, validation, test = (part.standardised(raw[0]) for part in raw)
    return pool, validation, test


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("decoder")
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=290)).save_pretrained(folder)
    return str(folder)


def test_windows_show_the_looks_before_the_instant_that_is_labelled() -> None:
    shard = episode(0)
    tokenizer = train_tokenizer(["a"], ["eye"], 290)
    quantizers = fit_quantizers([shard], ["eye"], tokenizer, 0)
    drawn = draw_windows([shard], quantizers, tokenizer, 10, np.random.default_rng(0))
    assert torch.bincount(drawn.label_N).tolist() == [10, 10, 10]
    codes_NK = stream_codes(shard, quantizers, tokenizer)[..., 0]
    state_NK = torch.from_numpy(state(shard.target(WAITED)))
    for entries, label in zip(drawn.entries_NL.tolist(), drawn.label_N.tolist(), strict=True):
        assert entries[0] == BEGIN and entries[-1] == SAY and entries[1:-1:2] == [NEXT] * 3
        seen = torch.tensor(entries[2:-1:2])
        ends = [(n + 2, k) for n in range(38) for k in range(2) if torch.equal(codes_NK[n : n + 3, k], seen)]
        assert label in {int(state_NK[n, k]) for n, k in ends}


def test_states_and_balance(parts: tuple[Windows, Windows, Windows]) -> None:
    assert state(np.array([0.0, 0.5, 10.0, 10.5], np.float32)).tolist() == [0, 1, 1, 2]
    one, again, other = (balanced(parts[0], 5, seed) for seed in (1, 1, 2))
    assert torch.bincount(one.label_N).tolist() == [5, 5, 5]
    assert torch.equal(one.entries_NL, again.entries_NL) and not torch.equal(one.entries_NL, other.entries_NL)
    assert parts[0].measured_NF.mean(0).abs().max() < 1e-4 and len(STATES) == 3


@pytest.mark.slow
def test_every_arm_learns_what_the_sensor_shows(
    parts: tuple[Windows, Windows, Windows], decoder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(1)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    fresh = LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=290))
    monkeypatch.setattr(arms_module, "new_decoder", lambda *_: fresh)
    best = {"neighbours": 3.0, "ridge": 10.0, "mlp-measured": 0.01, "mlp-codes": 0.01, "full": 3e-3, "head-only": 0.1}
    labelled = balanced(parts[0], 30, 0)
    rows = [
        measure(arm, best.get(arm.name, 0.01), labelled, parts[2], 120, 0, "test") for arm in arms(decoder, "nano", 290)
    ]
    right = {row["arm"]: row["accuracy"] for row in rows}
    assert len(right) == 8 and all(right[arm] > 0.8 for arm in ("mlp-measured", "neighbours", "ridge"))
    assert right["full"] > 0.8 and right["lora"] > 0.5, right  # of a decoder that was never pretrained
    tuned = {row["arm"]: row["tuned"] for row in rows}
    assert tuned["full"] > tuned["lora"] > tuned["head-only"] == 32 * 3 + 3
    assert tuned["lora"] == tuned["random-lora"]


def test_validation_chooses_and_the_test_is_touched_once_a_seed(parts: tuple[Windows, Windows, Windows]) -> None:
    pool, validation, test = parts
    asked: list[Windows] = []

    def fit(setting: float, labelled: Windows, steps: int, seed: int) -> Fitted:
        assert len(labelled) == 15 and 1 <= steps <= 6

        def predict(x: Windows) -> torch.Tensor:
            asked.append(x)
            return x.label_N if setting == 2.0 else torch.zeros_like(x.label_N)

        return Fitted(predict, 1, 2)

    names = ("lora", "full")
    rows = race([Arm(name, (1.0, 2.0, 3.0), fit) for name in names], parts, True, _silent)
    tested = [row for row in rows if row["part"] == "test"]
    assert {row["setting"] for row in tested} == {2.0} and all(row["accuracy"] == 1.0 for row in tested)
    assert sum(x is test for x in asked) == 2 * len(("lora", "full", "full-equal-cpu"))
    assert sum(x is validation for x in asked) == 2 * 3 * len(SWEEP_SEEDS) and not any(x is pool for x in asked)
    drawn = {seed: balanced(pool, 5, seed) for seed in (0, 7, 8)}
    setting, tried = sweep(Arm("x", (3.0, 2.0), fit), drawn, validation, 6)
    assert setting == 2.0 and [(row["setting"], row["seed"]) for row in tried] == list(product((3.0, 2.0), drawn))


def test_the_setting_that_is_best_on_the_mean_of_the_draws_is_chosen(parts: tuple[Windows, Windows, Windows]) -> None:
    pool, validation, _ = parts
    right = {(1.0, 0): 1.0, (1.0, 7): 0.0, (2.0, 0): 0.8, (2.0, 7): 0.8}

    def fit(setting: float, labelled: Windows, steps: int, seed: int) -> Fitted:
        return Fitted(
            lambda x: torch.where(torch.arange(len(x)) < right[setting, seed] * len(x), x.label_N, len(STATES)), 1, 2
        )

    assert sweep(Arm("x", (1.0, 2.0), fit), {seed: pool for seed in (0, 7)}, validation, 6)[0] == 2.0


def test_figures_by_hand() -> None:
    accuracy = {"lora": 0.80, "full": 0.79, "random-lora": 0.5, "head-only": 0.7, "full-equal-cpu": 0.78}
    accuracy |= {"mlp-codes": 0.6, "mlp-measured": 0.75, "neighbours": 0.5, "ridge": 0.7}
    rows: list[dict[str, Any]] = [
        {"arm": arm, "part": "test", "accuracy": right + 0.001 * seed, "tuned": 3, "parameters": 100}
        for arm, right in accuracy.items()
        for seed in range(1, 6)
    ]
    clean = Hygiene("nano", 0.0, 0.5, 0.0, 1e-7, 42, 0, False, 0.04)
    rows.append(as_row(clean))
    told = figures(rows, [clean])
    json.dumps(result_json(SuiteResult("lora", rows, told, 1.0), describe_host()))
    assert told["gap_to_full_tuning_points_lower95"].value == pytest.approx(1.0) and STEPS > 0
    assert told["above_small_mlp_points"].anchor == "mlp-measured 75.3 %"
    assert told["above_small_mlp_points"].value == pytest.approx(5.0)
    assert told["above_random_decoder_points"].value == pytest.approx(30.0)
    assert told["trainable_share_all_in"].value == 0.04
    assert all(metric.met is not False for metric in told.values())
    dirty = Hygiene("nano", 1e-9, 0.5, 1e-9, 1e-5, 42, 1, True, 0.06)
    broken = figures(rows, [clean, dirty])
    for name in ("trainable_share_all_in", "start_difference", "reload_difference", "merge_difference"):
        assert broken[name].met is False
    assert broken["modules_outside_decoder"].met is False and broken["base_weights_changed"].met is False


def test_small_rivals() -> None:
    draw = torch.Generator().manual_seed(0)
    label_N = torch.arange(60) % 3
    x_NF = torch.randn(60, 5, generator=draw) + 4.0 * torch.nn.functional.one_hot(label_N, 5)
    assert (nearest_neighbours(x_NF, label_N, x_NF, 3) == label_N).float().mean() > 0.95
    assert (ridge(x_NF, label_N, x_NF, 1.0) == label_N).float().mean() > 0.95
    weights_FC = torch.linalg.solve(
        (x_NF - x_NF.mean(0)).T @ (x_NF - x_NF.mean(0)) + 2.0 * torch.eye(5),
        (x_NF - x_NF.mean(0)).T @ torch.nn.functional.one_hot(label_N).float(),
    )
    assert torch.equal(ridge(x_NF, label_N, x_NF, 2.0), ((x_NF - x_NF.mean(0)) @ weights_FC + 1 / 3).argmax(1))
    assert small_mlp(5, 3, 0)(x_NF).shape == (60, 3)


def test_students_interval() -> None:
    mean, (low, high) = mean_ci95([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3.0 and high - 3.0 == pytest.approx(3.0 - low) == pytest.approx(2.776 * 2.5**0.5 / 5**0.5, abs=1e-3)
    wide, narrow = mean_ci95(list(range(12)))[1], mean_ci95(list(range(11)))[1]
    assert (wide[1] - wide[0]) / 2 == pytest.approx(2.201 * 13**0.5 / 12**0.5, abs=1e-3) and narrow[1] > narrow[0]
    with pytest.raises(ValueError, match="two values"):
        mean_ci95([1.0])


class _silent:
    def __init__(self, *_: object) -> None: ...

    def __enter__(self) -> Callable[..., None]:
        return lambda *_, **__: None

    def __exit__(self, *_: object) -> None: ...


def test_a_decoder_without_a_vocabulary_is_said_before_recording(
    decoder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = load_entry("iotlam.suites", "lora", "Suite")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(suite_module, "DECODER", decoder)
    with pytest.raises(BadInput, match="expected tokenizer.json"):
        suite(True, _silent)
    assert not list(tmp_path.iterdir())
