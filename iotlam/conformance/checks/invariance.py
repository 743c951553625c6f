"""What must make no difference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.conformance.catalog import STEADY, TOKENS, Failed, NotApplicable, check
from iotlam.conformance.subject import Subject
from iotlam.conformance.windows import (
    Frames,
    difference,
    each,
    from_sensor,
    in_any_order,
    moved,
    series,
    usual_step_ns,
    with_data,
)
from iotlam.contracts import SensorFrame, TokenBatch

AREA = "invariance"
YEAR_2026_NS = 1_767_225_600_000_000_000
TIME_DIMS = ("sample", "time")


def _same(one: TokenBatch, other: TokenBatch, what: str, fix: str) -> None:
    if found := difference(one, other):
        raise Failed("tokenize", expected=f"the same tokens {what}", got=found, fix=fix)


@check(AREA, "silver", needs=STEADY)
def time_shift(subject: Subject) -> None:
    """The same window at another time gives the same tokens, to the bit."""
    frames = subject.sample(0)
    first = subject.tokenize(frames)
    for by_ns in (YEAR_2026_NS + 123_456_789, -987_654_321):
        fix = "subtract t_ns as whole numbers before anything becomes a float"
        _same(first, subject.tokenize(moved(frames, by_ns)), "at another time", fix)


@check(AREA, "silver", needs=STEADY)
def sensor_order(subject: Subject) -> None:
    """The order in which different sensors' frames stand in a window makes no difference."""
    if "sensor" not in subject.manifest.meta:
        raise NotApplicable("the manifest asks for no meta 'sensor': the modality has one sensor")
    one, other = (from_sensor(subject.sample(seed), name) for seed, name in ((1, "a"), (2, "b")))
    first = subject.survives([*one, *other], "tokenize", "two sensors")
    if first is None:
        raise NotApplicable("one window holds one sensor")
    again = subject.tokenize([*other, *one])
    _same(in_any_order(first), in_any_order(again), "for sensors in another order", "sort frames by sensor and time")


@check(AREA, "silver", needs=(*TOKENS, "shared-generators-left-alone"))
def windows_independent(subject: Subject) -> None:
    """A window gives the same tokens whichever windows went before."""
    frames = subject.sample(0)
    first = subject.tokenize(frames)
    for seed in range(10, 16):
        subject.tokenize(subject.sample(seed))
    _same(first, subject.tokenize(frames), "after other windows", "keep no state between windows")


@check(AREA, "silver", needs=TOKENS)
def tokens_kept(subject: Subject) -> None:
    """Tokens that were returned do not change when the next window comes."""
    tokens = subject.tokenize(subject.sample(0))
    kept = replace(
        tokens, tokens_BTD=tokens.tokens_BTD.clone(), mask_BT=tokens.mask_BT.clone(), time_BT=tokens.time_BT.clone()
    )
    subject.tokenize(subject.sample(1))
    _same(kept, tokens, "as were returned", "return new tensors, not a buffer that is used again")


@check(AREA, "silver", needs=TOKENS)
def input_left_alone(subject: Subject) -> None:
    """The frames' data are not changed."""
    frames = subject.sample(0)
    before = [frame.data.copy() for frame in frames]
    subject.tokenize(frames)
    if not all(np.array_equal(a, frame.data, equal_nan=True) for a, frame in zip(before, frames, strict=True)):
        raise Failed("tokenize", expected="the frames' data left alone", got="other data", fix="work on a copy")


@check(AREA, "silver", needs=STEADY)
def read_only_input(subject: Subject) -> None:
    """Data that cannot be written to are tokenised."""
    frames = subject.sample(0)
    first = subject.tokenize(frames)
    for frame in frames:
        frame.data.setflags(write=False)
    _same(first, subject.tokenize(frames), "of read-only data", "work on a copy")


@check(AREA, "silver", needs=STEADY)
def memory_layout(subject: Subject) -> None:
    """How the data lie in memory makes no difference."""
    frames = subject.sample(0)
    first = subject.tokenize(frames)
    strided = each(frames, lambda data: np.repeat(data, 2, axis=-1)[..., ::2])
    for what, other in (("strided", strided), ("in Fortran's order", each(frames, np.asfortranarray))):
        _same(first, subject.tokenize(other), f"of data {what}", "begin with np.ascontiguousarray")


@check(AREA, "gold", needs=(*STEADY, "times-in-window", "memory-layout", "single-frame-survived"))
def causal_as_declared(subject: Subject) -> None:
    """Where the manifest says causal, what was measured after a token's time does not change the token."""
    if not subject.manifest.causal:
        raise NotApplicable("the manifest does not say causal")
    told = sum(_later_data_change(subject, share) for share in (0.25, 0.5, 0.75))
    if told == 0:
        raise NotApplicable("no token of the sample is older than other data of its window")


def _later_data_change(subject: Subject, share: float) -> int:
    """How many tokens are older than a cut, after holding that none of them changes with later data."""
    frames, cut_s = _cut(subject, share)
    before, after = (subject.tokenize(part) for part in frames)
    early_T = before.time_BT[0] < cut_s
    changed_T = (before.tokens_BTD != after.tokens_BTD).any(-1)[0] & early_T
    if bool(changed_T.any()):
        raise Failed(
            "tokenize",
            expected="tokens that do not depend on what was measured after their time",
            got=f"{int(changed_T.sum())} of {int(early_T.sum())} that do",
            fix="use the past only, or say causal = false",
        )
    return int(early_T.sum())


def _cut(subject: Subject, share: float) -> tuple[tuple[Frames, Frames], float]:
    """The sample, the sample with other data after a cut, and the cut's time, seconds after the newest frame."""
    dims = subject.manifest.dims
    if not (subject.manifest.rate_in_meta and dims[0] in TIME_DIMS):
        frame = subject.sample(0)[-1]
        window = series(frame, 4, usual_step_ns(subject.manifest, frame))
        index = round(share * 4)
        late = [*window[:index], *(with_data(f, _other(subject, f.data)) for f in window[index:])]
        return (window, late), (window[index].t_ns - window[-1].t_ns) / 1e9
    frame = max(subject.sample(0), key=lambda frame: frame.t_ns)
    index = round(share * len(frame.data))
    data = frame.data.copy()
    data[index:] = _other(subject, data[index:])
    return ([frame], [with_data(frame, data)]), _sample_time_s(subject, frame, index)


def _other(subject: Subject, data: NDArray[Any]) -> NDArray[Any]:
    """Data that differ in order, mean and size, and that the manifest allows."""
    low, high = subject.manifest.value_range
    halved = data[::-1] // 2 if data.dtype.kind in "iu" else data[::-1] / 2
    return (halved if data.dtype.kind == "c" else np.clip(halved, low, high)).astype(data.dtype)


def _sample_time_s(subject: Subject, frame: SensorFrame, index: int) -> float:
    """Time of a sample after its frame's t_ns; half a sample early, so that rounding decides nothing."""
    count, rate_hz = len(frame.data), float(frame.meta["rate_hz"])
    origin = {"start": 0.0, "middle": (count - 1) / 2, "end": count - 1.0}[subject.manifest.stamp]
    return (index - 0.5 - origin) / rate_hz
