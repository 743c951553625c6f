"""Learning the small task, and measuring what each sensor contributed to it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from iotlam.contracts import TokenBatch
from iotlam.fusion import RateSchedule
from iotlam.pages.sensors.situations import CONTROL, Examples, SituationModel
from iotlam.pages.sensors.streams import Stream
from iotlam.training.loop import optimise
from iotlam.training.seeds import seed_everything

BATCH = 24
LEARNING_RATE, WARMUP = 5e-3, 10
BETA = 0.03
"""Price of a bit per token, in nats of the task's loss, once it has risen."""
HALF = 0.5
FREE = 0.4
"""Share of the steps during which bits cost nothing."""
ANCHORS = 8
HISTORY = 60
"""Points of the learning curve, at most."""


@dataclass(frozen=True, slots=True)
class Moment:
    """What was true at one step of learning: bits per token by modality, and the share of right answers since."""

    step: int
    bits_per_token: dict[str, float]
    accuracy: float


@dataclass(frozen=True, slots=True)
class Learned:
    """What was learnt.

    Attributes:
        bits: by modality, for each situation the bits of every token that is looked at.
        looked: by modality, for each situation the indices of those tokens.
        accuracy: share of right answers, all sensors present.
        alone: the same by modality, with nothing but this one.
        without: the same by modality, with all but this one.
        gain: by modality, how much greater that share is with it than without it where each other one is missing from
            half of the examples.
        history: how it came to that.
        steps: steps of learning.
        price_from: step at which bits began to cost.
        seconds: wall time of learning.
    """

    bits: dict[str, list[Tensor]]
    looked: dict[str, tuple[Tensor, ...]]
    accuracy: float
    alone: dict[str, float]
    without: dict[str, float]
    gain: dict[str, float]
    history: list[Moment]
    steps: int
    price_from: int
    seconds: float

    @property
    def fullest(self) -> int:
        """The situation in which all modalities together have most bits."""
        return int(
            torch.stack([torch.stack([bits_T.sum() for bits_T in bits]) for bits in self.bits.values()]).sum(0).argmax()
        )

    def per_window(self, name: str) -> float:
        """Bits of a window of a modality, averaged over the situations."""
        return sum(float(bits_T.sum()) for bits_T in self.bits[name]) / len(self.bits[name])

    def per_token(self, name: str) -> float:
        """Bits of a token of a modality, averaged over all that are looked at."""
        return float(torch.cat(self.bits[name]).mean())


def learn(streams: Sequence[Stream], seed: int, steps: int, trials: int, on_step: Callable[..., object]) -> Learned:
    """Train a fusion to tell the situations apart, and measure it on fresh examples of them.

    Args:
        streams: the modalities.
        seed: of weights, examples and noise.
        steps: steps of learning.
        trials: examples for every share of right answers.
        on_step: told of each step, and of its loss.
    """
    start = time.monotonic()
    seed_everything(seed)
    examples = Examples(streams, seed)
    anchors_HX, sigma_m = places(streams)
    model = SituationModel(examples.specs, anchors_HX, sigma_m, examples.situations)
    history = _train(model, examples, steps, on_step)
    seconds = time.monotonic() - start
    model.eval()
    with torch.inference_mode():
        right = Measured(model, examples, trials)
        names = examples.names
        return Learned(
            bits=_bits(model, examples),
            looked={name: sensed.looked for name, sensed in examples.sensed.items()},
            accuracy=right.share(names),
            alone={name: right.share([name]) for name in names},
            without={name: right.share([other for other in names if other != name]) for name in names},
            gain={name: right.gain(name) for name in names},
            history=history,
            steps=steps,
            price_from=round(FREE * steps),
            seconds=seconds,
        )


@dataclass(frozen=True, slots=True)
class Measured:
    """Shares of right answers of a trained model, each on so many fresh examples."""

    model: SituationModel
    examples: Examples
    trials: int

    def share(self, names: Sequence[str]) -> float:
        """With these modalities and no other, none of them missing."""
        batches, label_B = self.examples.draw(self.trials, names)
        return float(self._right(batches, label_B).mean())

    def gain(self, name: str) -> float:
        """With one modality minus without it, the others missing from half of the examples."""
        batches, label_B = self.examples.draw(self.trials, self.examples.names, HALF)
        others = {other: batch for other, batch in batches.items() if other != name}
        gain_B = self._right(batches, label_B) - self._right(others, label_B)
        return float(gain_B[batches[name].mask_BT.any(1)].mean())

    def _right(self, batches: dict[str, TokenBatch], label_B: Tensor) -> Tensor:
        """1 for each example that is named rightly, else 0."""
        logits_BS, _, _ = self.model(batches)
        right_B: Tensor = logits_BS.argmax(-1) == label_B
        return right_B.float()


def places(streams: Sequence[Stream]) -> tuple[Tensor, float]:
    """Anchors (H, 2) spread over where the tokens are, and how far a head looks around one, metres."""
    some = []
    for stream in streams:
        for batch in stream.tokens:
            if stream.spec.positioned and batch.position_BTX is not None:
                valid_NX = batch.position_BTX[0][batch.mask_BT[0]]
                some.append(valid_NX[torch.linspace(0, len(valid_NX) - 1, 64).long()])
    if not some:
        return torch.zeros(ANCHORS, 2), 3.0
    place_NX = torch.cat(some)
    x_4 = place_NX[:, 0].quantile(torch.tensor([0.125, 0.375, 0.625, 0.875]))
    y_2 = place_NX[:, 1].quantile(torch.tensor([0.25, 0.75]))
    return torch.cartesian_prod(x_4, y_2), max(float(place_NX.std(0).mean()) / 2.0, 1.0)


def _train(model: SituationModel, examples: Examples, steps: int, on_step: Callable[..., object]) -> list[Moment]:
    price = RateSchedule(BETA, steps, free=FREE)
    every = max(steps // HISTORY, 1)
    history: list[Moment] = []
    right: list[float] = []

    def loss_at(step: int) -> Tensor:
        batches, label_B = examples.draw(BATCH, examples.names, missing=None)
        logits_BS, rate_bits, bits = model(batches)
        right.append(float((logits_BS.argmax(-1) == label_B).float().mean()))
        if (step + 1) % every == 0:
            per_token = {
                name: float(bits_BT.detach().sum() / batches[name].mask_BT.sum().clamp_min(1))
                for name, bits_BT in bits.items()
            }
            history.append(Moment(step + 1, per_token, sum(right[-every:]) / every))
        loss: Tensor = nn.functional.cross_entropy(logits_BS, label_B) + price(step) * rate_bits
        return loss

    optimise(
        model,
        loss_at,
        steps=steps,
        learning_rate=LEARNING_RATE,
        warmup=WARMUP,
        on_step=lambda _, loss: on_step(1, loss=loss),
    )
    model.fusion.freeze_whitening()
    return history


def _bits(model: SituationModel, examples: Examples) -> dict[str, list[Tensor]]:
    batches = {name: sensed.batch for name, sensed in examples.sensed.items()}
    batches[CONTROL] = examples.control(examples.situations)
    _, _, bits = model(batches)
    return {
        name: [bits_T[mask_T] for bits_T, mask_T in zip(bits_BT, batches[name].mask_BT, strict=True)]
        for name, bits_BT in bits.items()
    }
