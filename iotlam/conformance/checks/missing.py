"""Missing data: marked by the mask, or by values that are not finite."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.conformance.catalog import STEADY, Failed, NotApplicable, check
from iotlam.conformance.subject import Subject
from iotlam.conformance.windows import Frames, difference, with_data
from iotlam.contracts import SensorFrame, TokenBatch

AREA = "missing data"


def _frames(subject: Subject) -> Frames:
    if subject.manifest.missing == "none":
        raise NotApplicable("the manifest says that its data cannot be missing")
    return subject.sample(0)


def _mask(frame: SensorFrame, share: float, ndim: int = 1) -> NDArray[np.bool_]:
    """False for the last part of the first dimension."""
    mask = np.ones(frame.data.shape[:ndim], dtype=np.bool_)
    mask[len(mask) - max(round(share * len(mask)), 1) :] = False
    return mask


def _masked(frames: Frames, share: float, ndim: int = 1, value: float | None = None) -> list[SensorFrame]:
    """The window with part of each frame missing, and the missing values replaced."""
    found = []
    for frame in frames:
        mask, data = _mask(frame, share, ndim), frame.data.copy()
        if value is not None:
            data[~mask] = _fitting(data, value)
        found.append(with_data(frame, data, mask))
    return found


def _fitting(data: NDArray[Any], value: float) -> Any:
    return np.iinfo(data.dtype).max if data.dtype.kind in "iu" and not np.isfinite(value) else value


@check(AREA, "silver", needs=STEADY)
def all_missing_masks_all(subject: Subject) -> None:
    """A window whose data are all missing gives finite tokens with mask False, or none."""
    tokens = subject.tokenize(_masked(_frames(subject), 1.0))
    if bool(tokens.mask_BT.any()):
        raise Failed(
            "tokenize, mask_BT",
            expected="False for all when all data are missing",
            got=f"{int(tokens.mask_BT.sum())} valid tokens",
            fix="read SensorFrame.mask",
        )


@check(AREA, "silver", needs=(*STEADY, "all-missing-masks-all"))
def missing_values_ignored(subject: Subject) -> None:
    """What stands where data are missing changes no token."""
    frames = _frames(subject)
    low, high = subject.manifest.value_range
    first = subject.tokenize(_masked(frames, 0.4, value=low))
    for value in (high, np.nan):
        _same(first, subject.tokenize(_masked(frames, 0.4, value=value)), "missing values")


@check(AREA, "silver", needs=(*STEADY, "all-missing-masks-all"))
def partly_missing_keeps_rest(subject: Subject) -> None:
    """When a quarter of the data is missing, some tokens stay valid."""
    frames = _frames(subject)
    if min(frame.data.shape[0] for frame in frames) < 2:
        raise NotApplicable(f"the sample has one {subject.manifest.dims[0]}: it is there or missing as a whole")
    if not bool(subject.tokenize(_masked(frames, 0.25)).mask_BT.any()):
        raise Failed(
            "tokenize, mask_BT",
            expected="valid tokens from the three quarters that are there",
            got="none",
            fix="mask only tokens that have no data",
        )


@check(AREA, "gold", needs=(*STEADY, "missing-values-ignored"))
def mask_of_any_depth(subject: Subject) -> None:
    """A mask over the first dimension and one over all dimensions mean the same."""
    frames = _frames(subject)
    first = subject.tokenize(_masked(frames, 0.4))
    _same(first, subject.tokenize(_masked(frames, 0.4, ndim=frames[0].data.ndim)), "a mask over all dimensions")


@check(AREA, "gold", needs=(*STEADY, "missing-values-ignored", "nan-handled"))
def nan_means_missing(subject: Subject) -> None:
    """A value that is not finite counts as one that is masked."""
    frames = _frames(subject)
    if subject.manifest.missing != "nan":
        raise NotApplicable("the manifest says that only the mask marks missing data")
    marked = [with_data(frame, frame.data) for frame in _masked(frames, 0.4, value=np.nan)]
    _same(subject.tokenize(_masked(frames, 0.4)), subject.tokenize(marked), "NaN instead of a mask")


@check(AREA, "silver", needs=STEADY)
def mask_refused_where_none(subject: Subject) -> None:
    """A mask is refused where the manifest says that data cannot be missing."""
    if subject.manifest.missing != "none":
        raise NotApplicable("its data can be missing")
    frames = [with_data(frame, frame.data, _mask(frame, 0.4)) for frame in subject.sample(0)]
    subject.refuses(frames, "mask", "a mask", "leave the check to iotlam")


def _same(one: TokenBatch, other: TokenBatch, what: str) -> None:
    if found := difference(one, other):
        raise Failed(
            "tokenize",
            expected=f"the same tokens for {what}",
            got=found,
            fix="replace missing values by a constant before anything is computed",
        )
