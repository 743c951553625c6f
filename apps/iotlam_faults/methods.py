"""Ours and its rivals, each a function that learns from the windows it is given, and no others, how to score windows.

Shapes: W windows, L faults of a bearing, C columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from iotlam.contracts import BadInput
from iotlam.model import IotlamModel, IotlamProcessor
from iotlam_faults.evidence import LINES, Evidence, lines
from iotlam_faults.head import Columns, Doubles, Encoded, Encoding, Flags, Head, Linear, Names
from iotlam_faults.query import FAULTS, PLACES, machine_query
from iotlam_faults.recordings import Recordings, Vibration
from iotlam_faults.windows import ROI, by_modality
from iotlam_machine.machine import BEARING_FAULTS

Rows = NDArray[np.intp]

TREES = 200
BATCH = 64


@dataclass(frozen=True, slots=True)
class Seen:
    """Windows with what is true of them.

    Attributes:
        columns: evidence of physics, and the pretrained encoder's.
        groups_W: the physical bearing of each window.
        present_WL: the truth.
    """

    columns: Columns
    groups_W: Names
    present_WL: Flags

    @classmethod
    def of(
        cls,
        recordings: Recordings,
        found: Evidence,
        model: IotlamModel | None,
        healthy_W: Sequence[Vibration | None],
    ) -> Seen:
        """Look at all windows, once for all splits: nothing is fitted here.

        Args:
            recordings: the windows.
            found: evidence of them.
            model: pretrained; None to do without the encoder.
            healthy_W: what each is held against.
        """
        encoding = embed(model, recordings, healthy_W) if model else None
        columns = Columns.of(found, recordings.parts_W, encoding, rises(recordings, found, healthy_W))
        return cls(columns, recordings.groups_W, recordings.faults_WL(BEARING_FAULTS))

    def rows(self, rows: Rows) -> Seen:
        """Some of the windows."""
        return Seen(self.columns.rows(rows), self.groups_W[rows], self.present_WL[rows])


Scorer = Callable[[Columns], Doubles]
"""Evidence of windows -> scores (W, L), the higher the likelier."""

Method = Callable[[Seen], Scorer]
"""Windows to learn from -> what scores others; of those it sees no truth."""


def embed(model: IotlamModel, recordings: Recordings, healthy_W: Sequence[Vibration | None]) -> Encoding:
    """Let the encoder read every window.

    What its own head says is read beside a healthy window, where there is one: it has learnt to be asked either way.
    Latents are of the window alone, for what learns from them meets few windows, and may be asked without a past.
    """
    alone = _read(model, recordings, [None] * len(healthy_W))
    if not any(healthy_W):
        return alone
    return replace(_read(model, recordings, healthy_W), latents_WC=alone.latents_WC, alone_WL=alone.alone_WL)


def _read(model: IotlamModel, recordings: Recordings, healthy_W: Sequence[Vibration | None]) -> Encoding:
    processor = IotlamProcessor(tuple(spec.modality for spec in model.config.modalities), ROI)
    latents, odds, severity = [], [], []
    places = [PLACES.index(fault) for fault in BEARING_FAULTS]
    for start in range(0, len(recordings.windows), BATCH):
        questions = []
        for row in range(start, min(start + BATCH, len(recordings.windows))):
            query = machine_query(recordings.orders[row], float(recordings.shaft_W[row]))
            healthy = healthy_W[row]
            now = [recordings.vibration(row).frame(recordings.rate_hz)]
            past = [healthy.frame(recordings.rate_hz)] if healthy else []
            questions.append((processor.tokenize(by_modality(processor.plugins, now, past), query), query))
        with torch.no_grad():
            answer = model.answer_all(questions)
        assert answer.facts_BKF is not None  # what load_model asks for
        latents.append(answer.latents_BKD[:, : PLACES.index("turns")].flatten(1))
        odds.append(answer.logits_BP[:, [FAULTS.index(fault) for fault in BEARING_FAULTS]])
        severity.append(answer.facts_BKF[:, places, 0])
    return Encoding(*(torch.cat(parts).double().numpy() for parts in (latents, odds, odds, severity)))


def rises(recordings: Recordings, found: Evidence, healthy_W: Sequence[Vibration | None]) -> Doubles:
    """By how much each window's lines stand out more than in the one it is held against, nats, (W, C)."""
    rises_WC = np.zeros(found.lines_BC.shape)
    rows, past = [row for row, one in enumerate(healthy_W) if one], [one for one in healthy_W if one]
    if past:
        values_BN, shaft_B = torch.stack([one.values_N for one in past]), torch.tensor([one.shaft_hz for one in past])
        was_BC = lines(values_BN, recordings.rate_hz, shaft_B, [recordings.orders[row] for row in rows])
        rises_WC[rows] = found.lines_BC[rows] - was_BC
    return rises_WC


def dummy(seen: Seen) -> Scorer:
    """Says of every window what is commonest."""
    share_L = seen.present_WL.mean(0)
    return lambda columns: np.tile(share_L, (len(columns.parts_W), 1))


def physics(seen: Seen) -> Scorer:
    """Learns nothing: how far each fault's first three harmonics stand out on average."""
    first = [[index for index, name in enumerate(LINES) if name in _harmonics(fault)] for fault in BEARING_FAULTS]
    return lambda columns: np.stack([columns.lines_WC[:, lines].mean(1) for lines in first], 1)


def forest(seen: Seen) -> Scorer:
    """A random forest on the lines: the strongest rival known on honest splits."""
    return _forest(seen, lambda columns: columns.lines_WC)


def forest_all(seen: Seen) -> Scorer:
    """A random forest on all that ours sees: lines, levels, and how far lines have risen since the healthy window."""
    return _forest(seen, lambda columns: np.concatenate([columns.lines_WC, columns.levels_WC, columns.rises_WC], 1))


def logistic(seen: Seen) -> Scorer:
    """Logistic regressions on the lines."""
    found = Linear.fit(seen.columns.lines_WC, seen.present_WL)
    return lambda columns: found.scores(columns.lines_WC)


def encoder(seen: Seen) -> Scorer:
    """The frozen pretrained encoder on the window alone, as its rivals: its own head's odds, and a linear head's."""
    found = Encoded.fit(seen.columns, seen.present_WL)
    return lambda columns: found.scores(columns.without_past)


def physics_head(seen: Seen) -> Scorer:
    """Our head on physics, without the encoder."""
    head = Head.fit(seen.columns.without_encoder, seen.present_WL, seen.groups_W)
    return lambda columns: head.scores(columns.without_encoder)


def encoder_head(seen: Seen) -> Scorer:
    """Our head with the encoder's reading of the lines instead of physics'."""
    head = Head.fit(seen.columns.without_lines, seen.present_WL, seen.groups_W)
    return lambda columns: head.scores(columns.without_lines)


def ours(seen: Seen) -> Scorer:
    """Our head on both readings."""
    return Head.fit(seen.columns, seen.present_WL, seen.groups_W).scores


METHODS: Mapping[str, Method] = {
    "dummy": dummy,
    "physics": physics,
    "forest": forest,
    "forest-all": forest_all,
    "logistic": logistic,
    "encoder": encoder,
    "physics-head": physics_head,
    "encoder-head": encoder_head,
    "iotlam": ours,
}

OPINIONS: Mapping[str, tuple[str, ...]] = {"iotlam": ("physics-head", "encoder-head")}
"""Methods that name a fault only where two others agree; the rest do from a confidence on."""


def find_methods(names: str) -> tuple[str, ...]:
    """Methods by their names, comma-separated; all of them where none is named.

    Raises:
        BadInput: if there is no such method.
    """
    wanted = tuple(dict.fromkeys(name.strip() for name in names.split(",") if name.strip())) or tuple(METHODS)
    if names.strip() and not any(name.strip() for name in names.split(",")):
        raise BadInput("--methods", expected="names", got=f"'{names}'", fix="leave it out to take all")
    if unknown := [name for name in wanted if name not in METHODS]:
        fix = "name some of them"
        raise BadInput("--methods", expected=f"some of {', '.join(METHODS)}", got=f"'{unknown[0]}'", fix=fix)
    return wanted


def _forest(seen: Seen, of: Callable[[Columns], Doubles]) -> Scorer:
    found: Any = RandomForestClassifier(TREES, random_state=0).fit(of(seen.columns), seen.present_WL)
    return lambda columns: np.stack(list(map(_share, found.predict_proba(of(columns)), found.classes_)), 1)


def _share(share_WK: Doubles, known: NDArray[np.bool_]) -> Doubles:
    """Share of the trees that see the fault, where some windows had it and others not."""
    return share_WK[:, list(known).index(True)] if True in list(known) else np.zeros(len(share_WK))


def _harmonics(fault: str) -> tuple[str, ...]:
    return tuple(f"{fault} {multiple}" for multiple in (1, 2, 3))
