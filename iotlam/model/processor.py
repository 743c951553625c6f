"""From frames and queries to padded tensors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from iotlam.contracts import BadInput, DecisionQuery, FramesByModality, IotlamError, TokenBatch
from iotlam.model.config import ROI_M
from iotlam.plugins import registry

Floats = NDArray[np.float32]
Example = tuple[dict[str, TokenBatch], DecisionQuery]


@dataclass(frozen=True, slots=True)
class ModelInput:
    """B queries, padded to the same numbers of tokens T, places K and candidates P.

    Attributes:
        batches: by modality; one that no query has is left out.
        anchors_BKHX: float32 (B, K, H, 2), metres.
        place_mask_BK: bool, False marks padding.
        serves_BPK: float32, 0 to 1.
        features_BPF: float32.
        allowed_BP: bool, False also for padding.
        candidate_mask_BP: bool, False marks padding.
    """

    batches: dict[str, TokenBatch]
    anchors_BKHX: Tensor
    place_mask_BK: Tensor
    serves_BPK: Tensor
    features_BPF: Tensor
    allowed_BP: Tensor
    candidate_mask_BP: Tensor


class IotlamProcessor:
    """Runs the modality plugins and keeps the tokens that lie near a place asked about."""

    def __init__(self, modalities: Sequence[str], roi_m: float = ROI_M) -> None:
        """Load the plugins.

        Args:
            modalities: names of the modalities to use.
            roi_m: how far from the nearest place a token may lie, metres.

        Raises:
            BadInput, PluginError: if a modality is not installed or fails to load.
        """
        self.roi_m = roi_m
        self.plugins = registry.load_many(modalities)

    def tokenize(
        self,
        frames: FramesByModality,
        query: DecisionQuery,
        on_problem: Callable[[str, IotlamError], None] | None = None,
    ) -> dict[str, TokenBatch]:
        """Encode one window; modalities without frames are left out, and so are masked and far tokens.

        Args:
            frames: by modality; a modality that this processor does not know is left out.
            query: what is asked.
            on_problem: told of a modality whose frames or plugin failed; the others go on without it.

        Raises:
            BadInput, PluginError: if a modality failed and there is no `on_problem`.
        """
        seen = {name: frames[name] for name in self.plugins if frames.get(name)}
        tokens = {}
        for name, window in seen.items():
            try:
                tokens[name] = self._near(self.plugins[name].tokenize(window), query)
            except IotlamError as error:
                if on_problem is None:
                    raise
                on_problem(name, error)
        return _on_common_clock(tokens, seen)

    def _near(self, batch: TokenBatch, query: DecisionQuery) -> TokenBatch:
        keep_T = batch.mask_BT[0].clone()
        if batch.position_BTX is not None:
            position_NX = batch.position_BTX[0, keep_T].numpy()
            near_N = near_a_place(position_NX, query.anchors_KHX, self.roi_m)
            keep_T[keep_T.clone()] = torch.from_numpy(near_N)
        return TokenBatch(
            tokens_BTD=batch.tokens_BTD[:, keep_T],
            mask_BT=batch.mask_BT[:, keep_T],
            time_BT=batch.time_BT[:, keep_T],
            modality=batch.modality,
            position_BTX=None if batch.position_BTX is None else batch.position_BTX[:, keep_T],
        )


def _on_common_clock(tokens: dict[str, TokenBatch], frames: FramesByModality) -> dict[str, TokenBatch]:
    """Times relative to the newest frame of all modalities instead of each modality's own: a late sensor shows."""
    newest_ns = {name: max(frame.t_ns for frame in frames[name]) for name in tokens}
    now_ns = max(newest_ns.values(), default=0)
    return {
        name: batch
        if newest_ns[name] == now_ns
        else replace(batch, time_BT=batch.time_BT - (now_ns - newest_ns[name]) / 1e9)
        for name, batch in tokens.items()
    }


def near_a_place(position_NX: Floats, anchors_KHX: Floats, roi_m: float) -> NDArray[np.bool_]:
    """Which of N points lie within `roi_m` metres of one of K polylines through H anchors each, shape (N,)."""
    near_N = np.zeros(len(position_NX), dtype=np.bool_)
    low_KX, high_KX = anchors_KHX.min(1) - roi_m, anchors_KHX.max(1) + roi_m
    x_N, y_N = np.ascontiguousarray(position_NX.T)
    for anchors_HX, low_X, high_X in zip(anchors_KHX, low_KX, high_KX, strict=True):
        # Only what lies in the place's box: most tokens are near one place at most.
        box_N = (x_N >= low_X[0]) & (x_N <= high_X[0]) & (y_N >= low_X[1]) & (y_N <= high_X[1]) & ~near_N
        inside_M = np.flatnonzero(box_N)
        near_N[inside_M] = _distance_m(x_N[inside_M], y_N[inside_M], anchors_HX) <= roi_m
    return near_N


def _distance_m(x_N: Floats, y_N: Floats, anchors_HX: Floats) -> Floats:
    """Distance of points to the polyline through anchors; one coordinate at a time, for numpy sums pairs slowly."""
    start_SX, stop_SX = (anchors_HX[:-1], anchors_HX[1:]) if len(anchors_HX) > 1 else (anchors_HX, anchors_HX)
    square_N: Floats = np.full(len(x_N), np.inf, x_N.dtype)
    for (x, y), (along_x, along_y) in zip(start_SX, stop_SX - start_SX, strict=True):
        off_x_N, off_y_N = x_N - x, y_N - y
        length = np.maximum(along_x * along_x + along_y * along_y, 1e-9)
        share_N = np.clip((off_x_N * along_x + off_y_N * along_y) / length, 0.0, 1.0)
        square_N = np.minimum(square_N, (off_x_N - share_N * along_x) ** 2 + (off_y_N - share_N * along_y) ** 2)
    return np.sqrt(square_N)


def collate(examples: Sequence[Example]) -> ModelInput:
    """Pad examples into one batch, with masks.

    Raises:
        BadInput: if there is no example, or one has no place, several windows in one example, or
            another number of anchors or features than the rest.
    """
    queries = [query for _, query in examples]
    _check_alike(queries)
    places, candidates = (max(n) for n in zip(*(q.serves_PK.shape[::-1] for q in queries), strict=True))
    names = {name: None for tokens, _ in examples for name in tokens}
    return ModelInput(
        batches={name: _pad_tokens([tokens.get(name) for tokens, _ in examples]) for name in names},
        anchors_BKHX=_pad(queries, lambda q: q.anchors_KHX, np.float32),
        place_mask_BK=_pad(queries, lambda q: np.ones(q.serves_PK.shape[1]), np.bool_),
        serves_BPK=_pad_2d([q.serves_PK for q in queries], candidates, places),
        features_BPF=_pad(queries, lambda q: q.features_PF, np.float32),
        allowed_BP=_pad(queries, lambda q: q.allowed_P, np.bool_),
        candidate_mask_BP=_pad(queries, lambda q: np.ones(len(q.allowed_P)), np.bool_),
    )


def _check_alike(queries: Sequence[DecisionQuery]) -> None:
    shapes = {(q.anchors_KHX.shape[1], q.features_PF.shape[1]) for q in queries}
    if len(shapes) != 1 or not all(q.anchors_KHX.shape[0] for q in queries):
        raise BadInput(
            "Batch of queries",
            expected="one query or more, each with a place, and the same numbers of anchors and features",
            got=f"{len(queries)} queries with (anchors, features) {sorted(shapes)}",
            fix="describe all queries alike",
        )


def _pad(queries: Sequence[DecisionQuery], get: Callable[[DecisionQuery], NDArray[Any]], dtype: type) -> Tensor:
    return pad_sequence([torch.from_numpy(get(q).astype(dtype)) for q in queries], batch_first=True)


def _pad_2d(serves: Sequence[Floats], candidates: int, places: int) -> Tensor:
    padded_BPK = torch.zeros(len(serves), candidates, places)
    for row_PK, serves_PK in zip(padded_BPK, serves, strict=True):
        row_PK[: serves_PK.shape[0], : serves_PK.shape[1]] = torch.from_numpy(serves_PK)
    return padded_BPK


def _pad_tokens(batches: Sequence[TokenBatch | None]) -> TokenBatch:
    present = [batch for batch in batches if batch is not None]
    like = present[0]
    if any(batch.tokens_BTD.shape[0] != 1 for batch in present):
        raise BadInput("Example", expected="one window of tokens", got="several", fix="collate windows one by one")
    full = [like.nothing() if batch is None else batch for batch in batches]
    positions = [batch.position_BTX[0].float() for batch in full if batch.position_BTX is not None]
    return TokenBatch(
        tokens_BTD=pad_sequence([batch.tokens_BTD[0].float() for batch in full], batch_first=True),
        mask_BT=pad_sequence([batch.mask_BT[0] for batch in full], batch_first=True),
        time_BT=pad_sequence([batch.time_BT[0].float() for batch in full], batch_first=True),
        modality=like.modality,
        position_BTX=pad_sequence(positions, batch_first=True) if positions else None,
    )
