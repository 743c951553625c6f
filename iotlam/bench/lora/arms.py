"""What competes on the labelled windows: a tuned decoder, its controls, and small rivals without one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from iotlam.bench.lora.small import nearest_neighbours, ridge, small_mlp
from iotlam.bench.lora.windows import STATES, Windows
from iotlam.contracts import Json
from iotlam.decoder import StreamClassifier, add_lora, build_decoder, new_decoder
from iotlam.training.device import half_precision
from iotlam.training.tuning import CPU, PART, predict, tune

RANK, ALPHA = 4, 8.0
BATCH = 8
FULL_RATES = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
LORA_RATES = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2)
"""Learning rates, five each; LoRA's optimum lies about ten times higher ("LoRA Without Regret", 2025)."""

Predict = Callable[[Windows], Tensor]
View = Callable[[Windows], Tensor]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted arm: how it predicts, and how many parameters it tuned, of how many."""

    predict: Predict
    tuned: int
    parameters: int


@dataclass(frozen=True, slots=True)
class Arm:
    """A competitor.

    Attributes:
        name: for the table.
        settings: the five among which validation chooses: learning rates, or what else the arm has.
        fit: fits it with a setting on labelled windows, in so many steps, from a seed.
    """

    name: str
    settings: tuple[float, ...]
    fit: Callable[[float, Windows, int, int], Fitted]


def arms(decoder: str, preset: str, vocab: int) -> list[Arm]:
    """The competitors; all that are tuned share steps, batch, optimiser and schedule, and decoders their head.

    Args:
        decoder: name or path of the pretrained decoder.
        preset: the preset that the random decoder is made of.
        vocab: entries of the vocabulary.
    """

    def one_hot(x: Windows) -> Tensor:
        return nn.functional.one_hot(x.entries_NL[:, 1:-1], vocab).flatten(1).float()

    def measured(x: Windows) -> Tensor:
        return x.measured_NF

    return [
        Arm("lora", LORA_RATES, lambda *how: _tuned(_with_lora(build_decoder(decoder), how[3]), *how)),
        Arm("full", FULL_RATES, lambda *how: _tuned(build_decoder(decoder).requires_grad_(True), *how)),
        Arm("random-lora", LORA_RATES, lambda *how: _tuned(_with_lora(new_decoder(preset, how[3]), how[3]), *how)),
        Arm("head-only", LORA_RATES, lambda *how: _head_only(build_decoder(decoder), *how)),
        Arm("mlp-codes", LORA_RATES, lambda *how: _mlp(one_hot, *how)),
        Arm("mlp-measured", LORA_RATES, lambda *how: _mlp(measured, *how)),
        Arm("neighbours", (1, 3, 5, 9, 15), lambda *how: _plain(nearest_neighbours, int(how[0]), how[1])),
        Arm("ridge", (1.0, 10.0, 100.0, 1e3, 1e4), lambda *how: _plain(ridge, how[0], how[1])),
    ]


def sweep(arm: Arm, drawn: Mapping[int, Windows], validation: Windows, steps: int) -> tuple[float, list[Json]]:
    """The setting with the best mean accuracy on validation over the draws by seed, and a row for each fit."""
    rows = [
        measure(arm, setting, labelled, validation, steps, seed, "validation")
        for setting in arm.settings
        for seed, labelled in drawn.items()
    ]
    total = {setting: sum(row["accuracy"] for row in rows if row["setting"] == setting) for setting in arm.settings}
    return max(total, key=total.__getitem__), rows


def measure(
    arm: Arm, setting: float, labelled: Windows, asked: Windows, steps: int, seed: int, part: str
) -> dict[str, Any]:
    """Fit an arm and count how often it is right."""
    start_s = time.process_time()
    fitted = arm.fit(setting, labelled, steps, seed)
    fit_cpu_s = time.process_time() - start_s
    right = float((fitted.predict(asked) == asked.label_N).float().mean())
    return {
        "arm": arm.name,
        "part": part,
        "seed": seed,
        "setting": setting,
        "steps": steps,
        "accuracy": right,
        "fit_cpu_s": round(fit_cpu_s, 3),
        "tuned": fitted.tuned,
        "parameters": fitted.parameters,
    }


def _with_lora(decoder: Any, seed: int) -> Any:
    return add_lora(decoder, RANK, ALPHA, seed)


def _tuned(decoder: Any, rate: float, labelled: Windows, steps: int, seed: int) -> Fitted:
    model = StreamClassifier(decoder, len(STATES))
    tune(model, labelled.entries_NL, labelled.label_N, steps=steps, batch=BATCH, learning_rate=rate, seed=seed)
    return _fitted(model, lambda x: predict(model, x.entries_NL))


def _head_only(decoder: Any, rate: float, labelled: Windows, steps: int, seed: int) -> Fitted:
    """The pretrained decoder as it is, read by a tuned linear head."""
    model = StreamClassifier(decoder.eval(), len(STATES))
    hidden_ND = _hidden(model, labelled)
    tune(model.head, hidden_ND, labelled.label_N, steps=steps, batch=BATCH, learning_rate=rate, seed=seed)
    return _fitted(model, lambda x: predict(model.head, _hidden(model, x)))


def _mlp(view: View, rate: float, labelled: Windows, steps: int, seed: int) -> Fitted:
    x_NF = view(labelled)
    model = small_mlp(x_NF.shape[1], len(STATES), seed)
    tune(model, x_NF, labelled.label_N, steps=steps, batch=BATCH, learning_rate=rate, seed=seed)
    return _fitted(model, lambda x: predict(model, view(x)))


def _plain(rule: Callable[..., Tensor], setting: float, labelled: Windows) -> Fitted:
    return Fitted(lambda x: rule(labelled.measured_NF, labelled.label_N, x.measured_NF, setting), 0, 0)


def _fitted(model: nn.Module, how: Predict) -> Fitted:
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return Fitted(how, sum(n for n, learns in sizes if learns), sum(n for n, _ in sizes))


@torch.no_grad()
def _hidden(model: StreamClassifier, windows: Windows) -> Tensor:
    with half_precision(CPU):
        return torch.cat([model.hidden(part).float() for part in torch.split(windows.entries_NL, PART)])


def accuracies(rows: Sequence[Json], arm: str) -> list[float]:
    """Test accuracies of an arm in per cent, seed by seed."""
    return [100.0 * row["accuracy"] for row in rows if row.get("arm") == arm and row["part"] == "test"]
