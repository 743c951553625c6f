"""Input that is wrong or odd: refused in a sentence, or tokenised; never another error."""

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
    resized,
    series,
    usual_step_ns,
    variable_axes,
    with_data,
    with_meta,
)
from iotlam.contracts import UNITS, BadInput, SensorFrame

AREA = "bad input"
OVERSIZE_BYTES = 16_000_000
NARROW = "narrow the manifest to what the sensor gives, so that iotlam can refuse it"


def _with_value(subject: Subject, value: float) -> Frames:
    """The sample with one value replaced."""
    frames = subject.sample(0)
    if frames[-1].data.dtype.kind not in "fc":
        raise NotApplicable(f"data of {frames[-1].data.dtype} cannot hold it")
    data = frames[-1].data.copy()
    data.flat[data.size // 2] = value
    return [*frames[:-1], with_data(frames[-1], data)]


@check(AREA, "silver", needs=STEADY)
def nan_handled(subject: Subject) -> None:
    """NaN is refused, or counts as missing where the manifest says so."""
    _not_finite(subject, np.nan, "NaN")


@check(AREA, "silver", needs=(*STEADY, "nan-handled"))
def infinity_handled(subject: Subject) -> None:
    """Infinity is refused, or counts as missing where the manifest says so."""
    _not_finite(subject, np.inf, "infinity")


def _not_finite(subject: Subject, value: float, what: str) -> None:
    frames = _with_value(subject, value)
    if subject.manifest.missing != "nan":
        subject.refuses(frames, "data", what, "leave the check to iotlam")
    elif subject.survives(frames, "data", f"{what}, which marks a missing value") is None:
        raise Failed(
            "data",
            expected=f"tokens: the manifest says that {what} marks missing data",
            got="a BadInput",
            fix="treat values that are not finite as missing, or say missing = 'mask'",
        )


@check(AREA, "silver", needs=STEADY)
def empty_window_refused(subject: Subject) -> None:
    """A window without a frame is refused."""
    subject.refuses([], "window", "no frame", "raise BadInput")


@check(AREA, "silver", needs=STEADY)
def other_objects_refused(subject: Subject) -> None:
    """A window of bare arrays is refused."""
    arrays: Any = [frame.data for frame in subject.sample(0)]
    subject.refuses(arrays, "window", "arrays instead of frames", "raise BadInput")


@check(AREA, "silver", needs=STEADY)
def wrong_dtype_refused(subject: Subject) -> None:
    """Data of another dtype are refused."""
    with np.errstate(all="ignore"):
        frames = each(subject.sample(0), lambda data: data.real.astype(np.int64))
    subject.refuses(frames, "data", "dtype int64", NARROW)


@check(AREA, "silver", needs=STEADY)
def wrong_dimensions_refused(subject: Subject) -> None:
    """Data with a dimension too many, or a fixed length that is not kept, are refused."""
    frames = subject.sample(0)
    subject.refuses(each(frames, lambda data: data[None]), "data", "one dimension too many", NARROW)
    for axis, length in enumerate(subject.manifest.shape):
        if length:
            longer = [resized(frame, axis, length + 1) for frame in frames]
            subject.refuses(longer, "data", f"length {length + 1} of {subject.manifest.dims[axis]}", NARROW)


@check(AREA, "silver", needs=STEADY)
def wrong_unit_refused(subject: Subject) -> None:
    """Data said to be in another unit are refused."""
    other = next(unit for unit in UNITS if unit not in subject.manifest.units)
    frames = [with_meta(frame, units=other) for frame in subject.sample(0)]
    subject.refuses(frames, "units", f"data in {other}", "leave the check to iotlam")


@check(AREA, "gold", needs=STEADY)
def wrong_rate_refused(subject: Subject) -> None:
    """A rate that is wrong a thousandfold, as Hz for kHz is, is refused."""
    frame = subject.sample(0)[-1]
    for factor in (1e3, 1e-3):
        if subject.manifest.rate_in_meta:
            frames = [with_meta(frame, rate_hz=float(frame.meta["rate_hz"]) * factor)]
        else:
            frames = series(frame, 3, max(round(usual_step_ns(subject.manifest, frame) / factor), 1))
        subject.refuses(frames, "rate_hz", f"{factor:g} times its usual rate", NARROW)


@check(AREA, "silver", needs=STEADY)
def out_of_order_refused(subject: Subject) -> None:
    """Frames of one sensor that go back in time are refused."""
    frames = _three(subject)
    subject.refuses([frames[1], frames[0], frames[2]], "t_ns", "times that go back", "leave the check to iotlam")


@check(AREA, "silver", needs=STEADY)
def duplicate_times_refused(subject: Subject) -> None:
    """Two frames of one sensor at one time are refused."""
    frames = _three(subject)
    twice = [frames[0], frames[1], replace(frames[2], t_ns=frames[1].t_ns)]
    subject.refuses(twice, "t_ns", "one time twice", "leave the check to iotlam")


def _three(subject: Subject) -> list[SensorFrame]:
    frame = subject.sample(0)[-1]
    return series(frame, 3, usual_step_ns(subject.manifest, frame))


@check(AREA, "silver", needs=STEADY)
def missing_metadata_refused(subject: Subject) -> None:
    """A frame that lacks a key of the manifest's meta is refused."""
    if not subject.manifest.meta:
        raise NotApplicable("the manifest asks for no metadata")
    for key in subject.manifest.meta:
        frames = [replace(f, meta={k: v for k, v in f.meta.items() if k != key}) for f in subject.sample(0)]
        subject.refuses(frames, f"meta.{key}", "a frame without it", "leave the check to iotlam")


@check(AREA, "silver", needs=STEADY)
def odd_metadata_survived(subject: Subject) -> None:
    """Metadata of a wrong type, shape or value are refused in a sentence."""
    keys = [key for key in subject.manifest.meta if key != "sensor"]
    if not keys:
        raise NotApplicable("the manifest asks for no metadata but the sensor's name")
    odd: dict[str, object] = {"text": "north", "None": None, "NaN": np.full((4, 4), np.nan), "a list": [], "0": 0.0}
    for key in keys:
        for what, value in odd.items():
            frames = [with_meta(frame, **{key: value}) for frame in subject.sample(0)]
            subject.survives(frames, f"meta.{key}", what)


@check(AREA, "silver", needs=STEADY)
def zero_length_survived(subject: Subject) -> None:
    """A reading with nothing in it gives tokens or a BadInput."""
    _sized(subject, 0, "no item")


@check(AREA, "silver", needs=(*STEADY, "zero-length-survived"))
def single_item_survived(subject: Subject) -> None:
    """A reading of one sample, point or pixel gives tokens or a BadInput."""
    _sized(subject, 1, "one item")


def _sized(subject: Subject, length: int, what: str) -> None:
    axes = _variable(subject)
    frames = subject.sample(0)
    for axis in axes:
        dim = subject.manifest.dims[axis]
        subject.survives([resized(frame, axis, length) for frame in frames], "data", f"{what} in {dim}")


def _variable(subject: Subject) -> list[int]:
    axes = variable_axes(subject.manifest)
    if not axes:
        raise NotApplicable("no length in the manifest's shape varies")
    return axes


@check(AREA, "silver", needs=(*STEADY, "single-frame-survived"))
def oversize_survived(subject: Subject) -> None:
    """A reading that is 64 times as long, up to 16 MB, gives tokens within the budget or a BadInput."""
    axes = _variable(subject)
    frame = subject.sample(0)[-1]
    for axis in axes:
        times = int(min(64, max(OVERSIZE_BYTES // max(frame.data.nbytes, 1), 2)))
        longer = resized(frame, axis, frame.data.shape[axis] * times)
        subject.survives([longer], "data", f"{longer.data.shape[axis]} items in {subject.manifest.dims[axis]}")


@check(AREA, "silver", needs=STEADY)
def single_frame_survived(subject: Subject) -> None:
    """A window of one frame gives tokens or a BadInput."""
    subject.survives(subject.sample(0)[-1:], "window", "one frame")


@check(AREA, "silver", needs=STEADY)
def many_frames_survived(subject: Subject) -> None:
    """A window of 48 frames of a sensor gives tokens within the budget or a BadInput."""
    frame = subject.sample(0)[-1]
    subject.survives(series(frame, 48, usual_step_ns(subject.manifest, frame)), "window", "48 frames")


@check(AREA, "silver", needs=(*STEADY, "oversize-survived"))
def many_sensors_survived(subject: Subject) -> None:
    """A window of 24 sensors gives tokens within the budget or a BadInput."""
    frames = subject.sample(0)
    many = [frame for index in range(24) for frame in from_sensor(frames, f"sensor-{index}")]
    subject.survives(many, "window", "24 sensors")


@check(AREA, "silver", needs=(*STEADY, "silence-accepted"))
def limits_accepted(subject: Subject) -> None:
    """Data at either end of the value range are tokenised."""
    for value in subject.manifest.value_range:
        _constant(subject, value, f"all data at {value:g}, the limit of value_range")


@check(AREA, "silver", needs=STEADY)
def silence_accepted(subject: Subject) -> None:
    """Data that are the same everywhere, as of a sensor that is stuck, are tokenised."""
    low, high = subject.manifest.value_range
    value = 0.0 if low <= 0.0 <= high else round((low + high) / 2)
    _constant(subject, value, f"all data at {value:g}")


def _constant(subject: Subject, value: float, what: str) -> None:
    frames = each(subject.sample(0), lambda data: np.full_like(data, _like(data, value)))
    if subject.survives(frames, "data", what) is None:
        raise Failed("data", expected=f"tokens for {what}", got="a BadInput", fix="accept all that the manifest allows")


@check(AREA, "silver", needs=(*STEADY, "single-item-survived", "odd-metadata-survived", "single-frame-survived"))
def recovers_after_bad_input(subject: Subject) -> None:
    """After input that was refused, a good window gives the tokens that it always gives."""
    good = subject.sample(0)
    before = subject.tokenize(good)
    bad = [resized(good[-1], axis, 1) for axis in variable_axes(subject.manifest)][:1]
    for frames in ([], [with_meta(good[-1], **dict.fromkeys(subject.manifest.meta))], bad):
        try:
            subject.tokenize(frames)
        except BadInput:
            continue
    if found := difference(before, subject.tokenize(good)):
        raise Failed("tokenize", expected="the same tokens after bad input", got=found, fix="keep no state of it")


@check(AREA, "bronze", needs=TOKENS)
def host_survives_errors(subject: Subject) -> None:
    """An error or an exit inside the plugin becomes one sentence that names it."""
    from iotlam.contracts import PluginError
    from iotlam.plugins.registry import LoadedModality

    for error in (ValueError("odd"), SystemExit(3), MemoryError()):
        broken = LoadedModality(subject.manifest, subject.spec, _Raising(error, subject.plugin))
        try:
            broken.tokenize(subject.sample(0))
        except PluginError as caught:
            if subject.name in str(caught):
                continue
        raise Failed(
            "tokenize",
            expected=f"a PluginError that names the modality for {error!r}",
            got="none",
            fix="report this to iotlam",
        )


class _Raising:
    """The plugin with a `tokenize` that fails."""

    def __init__(self, error: BaseException, plugin: Any) -> None:
        self._error, self.token_spec, self.sample = error, plugin.token_spec, plugin.sample

    def tokenize(self, frames: Frames) -> Any:
        """Fail."""
        raise self._error


def _like(data: NDArray[Any], value: float) -> complex:
    return complex(value, value) if data.dtype.kind == "c" else value
