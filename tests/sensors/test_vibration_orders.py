"""Lines over orders of the shaft: where they are, what they say, and what they do not depend on."""

import numpy as np
import pytest
import torch

from iotlam.contracts import SensorFrame
from iotlam_waveform.vibration_orders.lines import ENVELOPE_LINES, FEATURES, SIGNAL_LINES, find_lines
from iotlam_waveform.vibration_orders.places import ENVELOPE_Y, SIGNAL_Y, place_of
from iotlam_waveform.vibration_orders.plugin import VibrationOrdersModality
from iotlam_waveform.window import stretches

MODALITY = VibrationOrdersModality()
WHITE, VELOCITY = FEATURES.index("white_clear"), FEATURES.index("white_depth")


def struck(order: float, shaft_hz: float, rate_hz: float, seconds: float = 4.0, swing: float = 0.0) -> SensorFrame:
    """A resonance that is struck `order` times a turn, and an imbalance; the speed swings by a share."""
    rng = np.random.default_rng(1)
    time_N = np.arange(round(seconds * rate_hz)) / rate_hz
    speed_N = shaft_hz * (1.0 + swing * np.sin(2 * np.pi * time_N / seconds))
    turns_N = np.cumsum(speed_N) / rate_hz
    hits_N = np.diff(np.floor(order * turns_N), prepend=0.0) * rng.lognormal(0.0, 0.2, len(time_N))
    ring = np.exp(-600.0 * time_N[:600]) * np.sin(2 * np.pi * 3_000.0 * time_N[:600])
    values_N = 8.0 * np.convolve(hits_N, ring)[: len(time_N)] + rng.normal(size=len(time_N))
    values_N += 2.0 * np.cos(2 * np.pi * turns_N)
    meta = {"sensor": "a", "rate_hz": rate_hz, "shaft_hz": speed_N[:: max(len(speed_N) // 64, 1)]}
    return SensorFrame(t_ns=0, data=values_N[:, None].astype(np.float32), meta=meta)


def seen(frame: SensorFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orders, which are of envelopes, and features; the clearest first."""
    batch = MODALITY.tokenize([frame])
    assert batch.position_BTX is not None
    x_T, y_T = batch.position_BTX[0].numpy().T
    return np.sinh(x_T / 100.0), y_T == ENVELOPE_Y, batch.tokens_BTD[0].numpy()


@pytest.mark.parametrize("order", [3.585, 5.415, 8.37])
@pytest.mark.parametrize("shaft_hz, rate_hz", [(12.0, 12_000.0), (29.5, 12_000.0), (29.5, 48_000.0), (48.0, 25_600.0)])
def test_the_clearest_lines_are_those_of_the_strikes(order: float, shaft_hz: float, rate_hz: float) -> None:
    orders_T, envelope_T, features_TF = seen(struck(order, shaft_hz, rate_hz))
    turns = 4.0 * shaft_hz
    multiples = orders_T[envelope_T][:4] / order
    np.testing.assert_allclose(multiples[:2], np.round(multiples[:2]), atol=2.0 / turns / order)
    assert np.abs(multiples - 1.0).min() < 1.5 / turns / order
    signal = orders_T[~envelope_T]
    assert signal[0] == pytest.approx(1.0, abs=1.5 / turns)  # the imbalance


def test_a_speed_that_swings_leaves_the_lines_where_they_are() -> None:
    orders_T, envelope_T, features_TF = seen(struck(3.585, 29.5, 12_000.0, swing=0.15))
    assert orders_T[envelope_T][0] == pytest.approx(3.585, rel=0.005)
    assert features_TF[envelope_T][0][WHITE] > 1.2


def test_the_unit_of_the_signal_moves_the_level_alone() -> None:
    frame = struck(3.585, 29.5, 12_000.0)
    louder = SensorFrame(t_ns=0, data=100.0 * frame.data, meta=frame.meta)
    orders_T, envelope_T, features_TF = seen(frame)
    loud_T, _, loud_TF = seen(louder)
    np.testing.assert_allclose(loud_T, orders_T, rtol=1e-6)
    level = FEATURES.index("level")
    np.testing.assert_allclose(loud_TF[:, level] - features_TF[:, level], 1.0, atol=1e-4)
    others = [index for index in range(len(FEATURES)) if index != level]
    np.testing.assert_allclose(loud_TF[envelope_T][:, others], features_TF[envelope_T][:, others], atol=1e-3)
    np.testing.assert_allclose((loud_TF - features_TF)[~envelope_T][:5, VELOCITY + 3], 2.0, atol=0.05)


@pytest.mark.parametrize("amplitude", [0.5, 5.0, 50.0, 500.0])
def test_a_line_far_above_all_else_is_as_large_as_it_is(amplitude: float) -> None:
    frame = struck(3.585, 29.5, 12_000.0)
    time_N = np.arange(len(frame.data)) / 12_000.0
    turning_N = amplitude * np.cos(2 * np.pi * 29.5 * time_N + 1.0)
    data = frame.data + turning_N[:, None].astype(np.float32)
    orders_T, envelope_T, features_TF = seen(SensorFrame(t_ns=0, data=data, meta={**frame.meta, "shaft_hz": 29.5}))
    first = int(np.abs(orders_T[~envelope_T] - 1.0).argmin())
    both = abs(2.0 + amplitude * np.exp(1j))  # beside the imbalance that is there
    assert orders_T[~envelope_T][first] == pytest.approx(1.0, abs=0.3 / 118.0)
    mm_s = 10.0 ** features_TF[~envelope_T][first, VELOCITY + 3]
    assert mm_s == pytest.approx(1e3 * both / (2 * np.pi * 29.5), rel=0.03)


def test_places_are_even_shares_of_high_orders_and_even_steps_of_low_ones() -> None:
    steps = np.diff(place_of([3.585, 3.585 * 1.01, 10.0, 10.1]))[[0, 2]]
    np.testing.assert_allclose(steps, 1.0, rtol=0.06)
    assert np.diff(place_of([0.1, 0.11]))[0] == pytest.approx(1.0, rel=0.01)
    assert place_of(0.0) == 0.0 and SIGNAL_Y > 30.0


def test_there_are_never_more_lines_than_were_promised() -> None:
    noise = np.random.default_rng(0).normal(size=(96_000, 3)).astype(np.float32)
    frame = SensorFrame(t_ns=0, data=noise, meta={"sensor": "a", "rate_hz": 24_000.0, "shaft_hz": 30.0})
    batch = MODALITY.tokenize([frame])
    assert batch.tokens_BTD.shape[1] == 3 * (ENVELOPE_LINES + SIGNAL_LINES)
    assert batch.tokens_BTD.shape[1] <= MODALITY.token_spec().max_tokens


def test_without_a_speed_or_with_few_turns_there_are_no_lines() -> None:
    frame = struck(3.585, 29.5, 12_000.0)
    still = SensorFrame(t_ns=0, data=frame.data, meta={"sensor": "a", "rate_hz": 12_000.0})
    short = SensorFrame(t_ns=0, data=frame.data[:1200], meta={**frame.meta, "shaft_hz": 29.5})
    assert MODALITY.tokenize([still]).tokens_BTD.shape[1] == 0
    assert MODALITY.tokenize([short]).tokens_BTD.shape[1] == 0


def test_an_offset_beside_gaps_draws_no_lines() -> None:
    frame = struck(3.585, 29.5, 12_000.0)
    measured_N = np.arange(len(frame.data)) % 1200 > 150  # a gap ten times a second
    tokens = []
    for offset in (0.0, 100.0):
        data = np.where(measured_N[:, None], frame.data - frame.data[measured_N].mean() + offset, np.nan)
        tokens.append(seen(SensorFrame(t_ns=0, data=data.astype(np.float32), meta=frame.meta)))
    for without, beside in zip(*tokens, strict=True):
        np.testing.assert_allclose(beside, without, atol=0.02)


def test_of_a_whole_window_the_lines_are_those_of_its_samples_as_they_are() -> None:
    frame = struck(3.585, 29.5, 12_000.0)
    (stretch,) = stretches([frame], "vibration_orders", "shaft_hz")
    assert stretch.speed_N is not None
    lines = find_lines(torch.from_numpy(frame.data[:, 0]), stretch.rate_hz, stretch.speed_N)
    np.testing.assert_array_equal(seen(frame)[2], lines.features_LF.astype(np.float32))
