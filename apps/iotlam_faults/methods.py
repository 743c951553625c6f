"""Ours and its rivals, each a function: learn from some windows, score others.

Shapes: W windows in all, T of them tested, L faults of a bearing, C columns.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from iotlam.contracts import BadInput, SensorFrame
from iotlam.model import IotlamModel, IotlamProcessor
from iotlam_faults.evidence import LINES, Evidence
from iotlam_faults.head import Columns, Doubles, Encoded, Encoding, Flags, Head, Linear, Names
from iotlam_faults.query import FAULTS, PLACES, machine_query
from iotlam_faults.recordings import Recordings
from iotlam_faults.windows import ROI
from iotlam_machine.machine import BEARING_FAULTS

Rows = NDArray[np.intp]

TREES = 200
BATCH = 64


@dataclass(frozen=True, slots=True)
class Seen:
    """What methods may look at.

    Attributes:
        columns: evidence of physics, and the pretrained encoder's.
        groups_W: the physical bearing of each window.
        present_WL: the truth; of tested windows no method may look at it.
    """

    columns: Columns
    groups_W: Names
    present_WL: Flags

    @classmethod
    def of(cls, recordings: Recordings, found: Evidence, model: IotlamModel | None) -> Seen:
        """Look at all windows, once for all splits: nothing is fitted here.

        Args:
            recordings: the windows.
            found: evidence of them.
            model: pretrained; None to do without the encoder.
        """
        columns = Columns.of(found, recordings.parts_W, embed(model, recordings) if model else None)
        return cls(columns, recordings.groups_W, recordings.faults_WL(BEARING_FAULTS))


Method = Callable[[Seen, Rows, Rows], Doubles]
"""(what is seen, rows to learn from, rows to score) -> scores (T, L), the higher the likelier."""


def embed(model: IotlamModel, recordings: Recordings) -> Encoding:
    """Let the encoder read every window."""
    processor = IotlamProcessor(tuple(spec.modality for spec in model.config.modalities), ROI)
    latents, odds, severity = [], [], []
    places = [PLACES.index(fault) for fault in BEARING_FAULTS]
    for start in range(0, len(recordings.windows), BATCH):
        questions = []
        for row in range(start, min(start + BATCH, len(recordings.windows))):
            query = machine_query(recordings.orders[row], float(recordings.shaft_W[row]))
            questions.append((processor.tokenize(_frames(processor, recordings, row), query), query))
        with torch.no_grad():
            answer = model.answer_all(questions)
        assert answer.facts_BKF is not None  # what load_model asks for
        latents.append(answer.latents_BKD[:, : PLACES.index("turns")].flatten(1))
        odds.append(answer.logits_BP[:, [FAULTS.index(fault) for fault in BEARING_FAULTS]])
        severity.append(answer.facts_BKF[:, places, 0])
    return Encoding(*(torch.cat(parts).double().numpy() for parts in (latents, odds, severity)))


def _frames(processor: IotlamProcessor, recordings: Recordings, row: int) -> dict[str, list[SensorFrame]]:
    meta = {"sensor": "bearing", "rate_hz": recordings.rate_hz, "shaft_hz": float(recordings.shaft_W[row])}
    frame = SensorFrame(0, recordings.values_WN[row].numpy()[:, None], meta=meta)
    return {name: [frame] for name in processor.plugins if name.startswith("vibration")}


def dummy(seen: Seen, train: Rows, test: Rows) -> Doubles:
    """Says of every window what is commonest."""
    return np.broadcast_to(seen.present_WL[train].mean(0), (len(test), len(BEARING_FAULTS))).astype(np.float64)


def physics(seen: Seen, train: Rows, test: Rows) -> Doubles:
    """Learns nothing: how far each fault's first three harmonics stand out on average."""
    first = [[index for index, name in enumerate(LINES) if name in _harmonics(fault)] for fault in BEARING_FAULTS]
    lines_TC = seen.columns.lines_WC[test][:, : len(LINES)]
    return np.stack([lines_TC[:, columns].mean(1) for columns in first], 1)


def forest(seen: Seen, train: Rows, test: Rows) -> Doubles:
    """A random forest on the lines: the strongest rival known on honest splits."""
    return _forest(seen.columns.lines_WC, seen.present_WL, train, test)


def forest_all(seen: Seen, train: Rows, test: Rows) -> Doubles:
    """A random forest on all that ours sees of physics, lines and levels."""
    return _forest(np.concatenate([seen.columns.lines_WC, seen.columns.levels_WC], 1), seen.present_WL, train, test)


def logistic(seen: Seen, train: Rows, test: Rows) -> Doubles:
    """Logistic regressions on the lines."""
    return Linear.fit(seen.columns.lines_WC[train], seen.present_WL[train]).scores(seen.columns.lines_WC[test])


def encoder(seen: Seen, train: Rows, test: Rows) -> Doubles:
    """The frozen pretrained encoder: its own head's odds, and those of a linear head."""
    found = Encoded.fit(seen.columns.rows(train), seen.present_WL[train])
    return found.scores(seen.columns.rows(test))


def physics_head(seen: Seen, train: Rows, test: Rows) -> Doubles:
    """Our head on physics, without the encoder."""
    return _head(seen, seen.columns.without_encoder, train, test)


def encoder_head(seen: Seen, train: Rows, test: Rows) -> Doubles:
    """Our head with the encoder's reading of the lines instead of physics'."""
    return _head(seen, seen.columns.without_lines, train, test)


def ours(seen: Seen, train: Rows, test: Rows) -> Doubles:
    """Our head on both readings."""
    return _head(seen, seen.columns, train, test)


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

OPINIONS: Mapping[str, tuple[Method, ...]] = {"iotlam": (physics_head, encoder_head)}
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


def _head(seen: Seen, columns: Columns, train: Rows, test: Rows) -> Doubles:
    head = Head.fit(columns.rows(train), seen.present_WL[train], seen.groups_W[train])
    return head.scores(columns.rows(test))


def _forest(columns_WC: Doubles, present_WL: Flags, train: Rows, test: Rows) -> Doubles:
    found: Any = RandomForestClassifier(TREES, random_state=0).fit(columns_WC[train], present_WL[train])
    shares = map(_share, found.predict_proba(columns_WC[test]), found.classes_)
    return np.stack(list(shares), 1)


def _share(share_TK: Doubles, known: NDArray[np.bool_]) -> Doubles:
    """Share of the trees that see the fault, where some windows had it and others not."""
    return share_TK[:, list(known).index(True)] if True in list(known) else np.zeros(len(share_TK))


def _harmonics(fault: str) -> tuple[str, ...]:
    return tuple(f"{fault} {multiple}" for multiple in (1, 2, 3))
