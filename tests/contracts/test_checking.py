from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from iotlam.contracts import BadInput, ModalityManifest, SensorFrame, check_window

FIELDS: dict[str, Any] = {
    "name": "sonar", "api_version": 1, "summary": "echoes", "units": ["Pa"], "dtype": "float32",
    "dims": ["sample", "beam"], "shape": [0, 2], "rate_hz": [1.0, 10.0], "clock": "site", "stamp": "start",
    "frame": "sensor", "value_range": [-5.0, 5.0], "missing": "mask", "token_budget": 8, "licence": "Apache-2.0",
    "meta": {"gain": "amplification, dB"},
}  # fmt: skip
WAVE = {"meta": {"rate_hz": "samples per second, Hz"}, "rate_hz": [100.0, 200.0]}


def _manifest(**changes: Any) -> ModalityManifest:
    return ModalityManifest.from_raw({**FIELDS, **changes}, "sonar")


def _frame(t_s: float = 0.0, value: float = 1.0, **meta: Any) -> SensorFrame:
    return SensorFrame(round(t_s * 1e9), np.full((3, 2), value, np.float32), meta={"gain": 0, **meta})


def _refused(frames: list[SensorFrame], **changes: Any) -> str:
    with pytest.raises(BadInput) as caught:
        check_window(_manifest(**changes), frames)
    text = str(caught.value)
    assert text.startswith("Modality 'sonar', ") and text.count("; ") >= 1
    return text


def test_a_window_that_fits_passes() -> None:
    check_window(_manifest(), [_frame(0.0), _frame(0.5), _frame(0.2, sensor="other")])
    check_window(_manifest(), [SensorFrame(0, np.zeros((0, 2), np.float32), meta={"gain": 0})])
    check_window(_manifest(**WAVE), [_frame(rate_hz=150), _frame(0.001, rate_hz=100)])


@pytest.mark.parametrize(
    ("frames", "word"),
    [
        ([], "window: expected at least one frame, got none"),
        (iter([_frame()]), "window: expected a list of frames, got list_iterator"),
        (np.zeros(3), "window: expected a list of frames, got ndarray"),
        ([np.zeros((3, 2))], "frames of type SensorFrame, got ndarray"),
        ([SensorFrame(0, np.zeros((3, 2)))], "data: expected dtype float32, got float64"),
        ([SensorFrame(0, np.zeros((2, 3), np.float32))], r"shape (sample=any, beam=2), got (2, 3)"),
        ([SensorFrame(0, np.zeros(3, np.float32))], "shape"),
        ([SensorFrame(0, np.zeros((3, 2), np.float32))], "meta 'gain': expected amplification, dB, got nothing"),
        ([_frame(units="hPa")], "units: expected Pa, got hPa; multiply the data by 100."),
        ([_frame(units="V")], "units: expected Pa, got V; give data in Pa."),
        ([_frame(units=3)], "units: expected Pa, got 3"),
        ([_frame(value=6.0)], "data: expected values from -5 to 5 Pa, got 6 to 6"),
        ([_frame(value=np.nan)], "data: expected finite values, got 6 that are not"),
        ([_frame(value=-np.inf)], "data: expected finite values"),
        ([_frame(0.0), _frame(0.0)], "t_ns of sensor '': expected times that increase from frame to frame, got a dupl"),
        ([_frame(1.0), _frame(0.0)], "got a step back of 1000000000 ns; sort the frames"),
        ([_frame(0.0), _frame(0.01)], "rate of sensor '': expected 1 to 10 Hz, got 100 Hz"),
        ([_frame(0.0), _frame(2.0)], "got 0.5 Hz"),
    ],
)
def test_a_window_that_does_not_fit_is_refused_by_its_field(frames: list[Any], word: str) -> None:
    assert word in _refused(frames)


def test_a_lost_frame_is_no_slow_sensor_and_jitter_no_fast_one() -> None:
    check_window(_manifest(), [_frame(0.0), _frame(0.5), _frame(30.0)])
    check_window(_manifest(), [_frame(t) for t in (0.0, 0.1, 0.11, 0.21, 0.31)])


@pytest.mark.parametrize("rate", [50, 300, float("nan"), "fast", None])
def test_a_wrong_sample_rate_is_refused(rate: object) -> None:
    assert f"rate: expected 100 to 200 Hz, got {rate} Hz" in _refused([_frame(rate_hz=rate)], **WAVE)


def test_missing_data_are_what_the_manifest_says() -> None:
    data = np.array([[1.0, 1.0], [np.nan, 99.0], [1.0, 1.0]], np.float32)
    masked = SensorFrame(0, data, np.array([True, False, True]), {"gain": 0})
    check_window(_manifest(), [masked])
    assert "no mask" in _refused([masked], missing="none")
    assert "finite values, got 1" in _refused([SensorFrame(0, data, meta={"gain": 0})])
    assert "got 1 to 99" in _refused([SensorFrame(0, data, meta={"gain": 0})], missing="nan")
    check_window(_manifest(missing="nan"), [SensorFrame(0, np.where(data > 5, np.inf, data), meta={"gain": 0})])


def test_whole_and_complex_numbers_are_held_against_the_range() -> None:
    grey = {"dtype": "uint8", "units": ["count"], "value_range": [0, 100]}
    assert "got 7 to 101" in _refused([SensorFrame(0, np.array([[7, 101]], np.uint8), meta={"gain": 0})], **grey)
    check_window(
        _manifest(**{**grey, "value_range": [0, 255]}),
        [SensorFrame(0, np.array([[7, 255]], np.uint8), meta={"gain": 0})],
    )
    beat = SensorFrame(0, np.array([[1 + 2j, 1 - 6j]], np.complex64), meta={"gain": 0})
    assert "got -6 to 2" in _refused([beat], dtype="complex64")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"units": ["furlong"]}, "units furlong, not among"),
        ({"units": ["Pa", "Pa", "Pa"]}, "3 units for 2 beams"),
        ({"rate_hz": [10.0, 1.0]}, "rate_hz from 10.0 to 1.0"),
        ({"rate_hz": [0.0, 1.0]}, "rate_hz"),
        ({"value_range": [-1.0, float("inf")]}, "value_range from -1.0 to inf"),
        ({"files": [".wav"]}, "files without a reader"),
        ({"reader": "sonar.files:read"}, "reader without files"),
        ({"reader": "not a path", "files": [".wav"]}, "reader"),
        ({"name": "So nar"}, "name"),
        ({"dtype": "float16"}, "dtype: expected one of uint8"),
        ({"clock": "sun"}, "clock: expected one of site, utc, device, got 'sun'"),
        ({"missing": "zero"}, "missing: expected one of none, mask, nan"),
        ({"hue": 3}, "only known keys, got hue"),
    ],
)
def test_a_manifest_that_contradicts_itself_is_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(BadInput) as caught:
        _manifest(**change)
    assert word in str(caught.value)
