"""A head that was trained on recordings, in its folder, and what it says of one signal.

Two readings of the same lines, by physics and by the pretrained encoder, have to agree before a fault is named: where
they do not, the bearing is damaged and the type unclear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from iotlam.contracts import BadInput, whole_files
from iotlam.contracts.records import Record
from iotlam.model import IotlamModel
from iotlam.model.folder import weights_sha256
from iotlam_faults.evaluate import Bench, Trust, learn_trust
from iotlam_faults.evidence import LEVELS, LINES
from iotlam_faults.head import Columns, Doubles, Encoded, Head, Linear, Ringing, Spread
from iotlam_faults.methods import embed, ours
from iotlam_faults.model import load_model
from iotlam_faults.query import PLACES
from iotlam_faults.recordings import Recordings, Vibration
from iotlam_machine.machine import BEARING_FAULTS

WEIGHTS, CARD = "head.safetensors", "head.json"
FORMAT = 2


Positive = Annotated[float, Meta(gt=0.0, le=1e6)]


class Facts(Record, frozen=True):
    """What is known of a trained head beside its weights.

    Attributes:
        format: of these files.
        rate_hz: sample rate that signals are brought to.
        window_s: length of a window.
        parts: places whose ringing was learnt.
        bearings: that it was trained on.
        temperature: of its probabilities, learnt on bearings held out one by one.
        model: folder of the encoder; empty for the shipped one.
        model_sha256: of the encoder's weights.
    """

    format: int
    rate_hz: Positive
    window_s: Positive
    parts: tuple[str, ...]
    bearings: tuple[str, ...]
    temperature: Positive
    model: str = ""
    model_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a trained head says of a bearing that is damaged.

    Attributes:
        probability: of each fault.
        by_physics: what its reading of the lines alone says.
        by_encoder: what the encoder's reading alone says.
        severity: of each fault if it is there, 0 hardly measurable to 1 drowning all else, as on simulated machines.
    """

    probability: dict[str, float]
    by_physics: str
    by_encoder: str
    severity: dict[str, float]

    @property
    def named(self) -> str:
        """The fault, empty where the readings do not agree."""
        likeliest = max(self.probability, key=lambda name: self.probability[name])
        return likeliest if self.by_physics == self.by_encoder == likeliest else ""


@dataclass(frozen=True)
class Trained:
    """A head and what it was trained on."""

    head: Head
    facts: Facts

    @classmethod
    def fit(cls, recordings: Recordings, model: Path | None) -> Trained:
        """Train on the damaged bearings of some recordings.

        Raises:
            BadInput: if there are none, or only of one fault, or a window holds too few turns of the shaft.
        """
        encoder = load_model(model)
        bench = Bench.of(recordings, encoder)
        damaged = np.flatnonzero(bench.seen.present_WL.any(1))
        kinds = int(bench.seen.present_WL[damaged].any(0).sum())
        if kinds < 2:
            fix = "add recordings of damaged bearings"
            raise BadInput("Recordings", expected="two kinds of bearing damage or more", got=str(kinds), fix=fix)
        groups_W = bench.seen.groups_W
        head = Head.fit(bench.seen.columns.rows(damaged), bench.seen.present_WL[damaged], groups_W[damaged])
        trust: Trust = learn_trust(bench, ours, damaged)
        facts = Facts(
            format=FORMAT,
            rate_hz=recordings.rate_hz,
            window_s=recordings.values_WN.shape[1] / recordings.rate_hz,
            parts=tuple(head.ringing),
            bearings=tuple(sorted(set(groups_W[damaged].tolist()))),
            temperature=round(trust.temperature, 4),
            model=str(model.resolve()) if model else "",
            model_sha256=weights_sha256(encoder),
        )
        return cls(head, facts)

    def save(self, folder: Path) -> None:
        """Write it: no pickle, both files or none."""
        with whole_files(folder, last=CARD) as new:
            save_file(_arrays(self.head), new / WEIGHTS)
            (new / CARD).write_text(self.facts.to_json() + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> Trained:
        """Read it.

        Raises:
            BadInput: if the folder holds none, or one for another encoder.
        """
        fix = "train one with: iotlam faults fit"
        try:
            facts = Facts.from_json((folder / CARD).read_text(encoding="utf-8"), str(folder / CARD))
            if facts.format != FORMAT:
                got = f"format {facts.format}"
                raise BadInput(str(folder / CARD), expected=f"format {FORMAT}", got=got, fix="fit it again")
            arrays = load_file(folder / WEIGHTS)
            trained = cls(_head(arrays, facts.parts), facts)
            trained._check_encoder(folder / CARD)
            _check(arrays, _shapes(len(facts.parts), trained._latents), folder / WEIGHTS)
            return trained
        except (OSError, SafetensorError, KeyError, UnicodeDecodeError) as error:
            raise BadInput(str(folder), expected="a head trained on recordings", got=str(error), fix=fix) from error

    @cached_property
    def _model(self) -> IotlamModel:
        return load_model(Path(self.facts.model) if self.facts.model else None)

    def _check_encoder(self, path: Path) -> None:
        """The encoder is the one that the head was fitted with."""
        here = weights_sha256(self._model)
        if here != self.facts.model_sha256:
            expected = f"a head fitted with the weights {here[:12]} of {self.facts.model or 'the shipped model'}"
            got = f"one fitted with {self.facts.model_sha256[:12] or 'others'}"
            raise BadInput(str(path), expected=expected, got=got, fix="fit it again")

    @property
    def _latents(self) -> int:
        """Columns of the encoder's latents."""
        return PLACES.index("turns") * self._model.config.fusion.d_fusion

    def judge(self, recordings: Recordings, healthy: Vibration | None = None) -> Opinion:
        """What it says of the windows of one bearing, taken together.

        Args:
            recordings: the windows.
            healthy: a window of the same sensor while the machine was sound.
        """
        encoding = embed(self._model, recordings, [healthy] * len(recordings.windows))
        columns = Columns.of(recordings.evidence(), recordings.parts_W, encoding)
        whole, physics, encoder = (
            self._mean(head, part)
            for head, part in (
                (self.head, columns),
                (Head(self.head.physics, None, self.head.ringing), columns.without_encoder),
                (Head(None, self.head.encoded, self.head.ringing), columns.without_lines),
            )
        )
        return Opinion(
            {name: round(float(value), 4) for name, value in zip(BEARING_FAULTS, whole, strict=True)},
            BEARING_FAULTS[int(physics.argmax())],
            BEARING_FAULTS[int(encoder.argmax())],
            {
                name: round(float(value), 3)
                for name, value in zip(BEARING_FAULTS, encoding.severity_WL.mean(0).clip(0.0, 1.0), strict=True)
            },
        )

    def _mean(self, head: Head, columns: Columns) -> Doubles:
        """Probability of each fault, mean over the windows, (L,)."""
        found: Doubles = Trust(self.facts.temperature).probability(head.scores(columns)).mean(0)
        return found


def _arrays(head: Head) -> dict[str, Doubles]:
    assert head.physics is not None and head.encoded is not None
    found = {
        "physics.weight": head.physics.weight_CL,
        "physics.bias": head.physics.bias_L,
        "encoder.weight": head.encoded.linear.weight_CL,
        "encoder.bias": head.encoded.linear.bias_L,
    }
    for index, ringing in enumerate(head.ringing.values()):
        found |= {f"ringing.{index}.mean": ringing.mean_C, f"ringing.{index}.scale": ringing.scale_C}
        for side, spread in (("balls", ringing.balls), ("others", ringing.others)):
            found[f"ringing.{index}.{side}.centre"] = spread.centre_C
            found[f"ringing.{index}.{side}.precision"] = spread.precision_CC
    return {name: np.ascontiguousarray(array) for name, array in found.items()}


def _shapes(parts: int, latents: int) -> dict[str, tuple[int, ...]]:
    """Shapes of a head's arrays, for so many places that ring and columns of latents."""
    faults = len(BEARING_FAULTS)
    found: dict[str, tuple[int, ...]] = {
        "physics.weight": (4 * len(LINES), faults),
        "physics.bias": (faults,),
        "encoder.weight": (latents, faults),
        "encoder.bias": (faults,),
    }
    for index in range(parts):
        found |= {f"ringing.{index}.{name}": (LEVELS,) for name in ("mean", "scale", "balls.centre", "others.centre")}
        found |= {f"ringing.{index}.{side}.precision": (LEVELS, LEVELS) for side in ("balls", "others")}
    return found


def _check(arrays: dict[str, Doubles], shapes: dict[str, tuple[int, ...]], path: Path) -> None:
    """Shapes and numbers are those of a head.

    Raises:
        BadInput: if they are not.
    """
    odd = [name for name, shape in shapes.items() if arrays[name].shape != shape]
    odd += [name for name, array in arrays.items() if not np.isfinite(array).all()]
    if odd:
        got = f"'{odd[0]}' of others"
        raise BadInput(str(path), expected="the weights of a head", got=got, fix="fit it again")


def _head(arrays: dict[str, Doubles], parts: Sequence[str]) -> Head:
    ringing = {
        part: Ringing(
            arrays[f"ringing.{index}.mean"],
            arrays[f"ringing.{index}.scale"],
            *(
                Spread(arrays[f"ringing.{index}.{side}.centre"], arrays[f"ringing.{index}.{side}.precision"])
                for side in ("balls", "others")
            ),
        )
        for index, part in enumerate(parts)
    }
    physics = Linear(arrays["physics.weight"], arrays["physics.bias"])
    return Head(physics, Encoded(Linear(arrays["encoder.weight"], arrays["encoder.bias"])), ringing)
