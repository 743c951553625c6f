"""What has risen since a machine was sound: lines that are new, and none of those that it always had."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput, SensorFrame
from iotlam_waveform.vibration_orders.places import ENVELOPE_Y
from iotlam_waveform.vibration_residual.plugin import HEALTHY, VibrationResidualModality
from iotlam_waveform.vibration_residual.rises import ENVELOPE_RISES, FEATURES, SIGNAL_RISES, _greatest

MODALITY = VibrationResidualModality()
RATE_HZ, SHAFT_HZ = 12_000.0, 29.5
RISE, DEEPER, LOUDER, FASTER = (FEATURES.index(name) for name in ("white_rise", "depth_rise", "louder", "faster"))


def machine(
    seed: int, orders: tuple[float, ...], shaft_hz: float = SHAFT_HZ, imbalance: float = 2.0, swing: float = 0.0
) -> SensorFrame:
    """Four seconds of a resonance that is struck at each of some orders, and an imbalance."""
    rng = np.random.default_rng(seed)
    time_N = np.arange(round(4.0 * RATE_HZ)) / RATE_HZ
    speed_N = shaft_hz * (1.0 + swing * np.sin(2 * np.pi * time_N / 4.0))
    turns_N = np.cumsum(speed_N) / RATE_HZ
    ring = np.exp(-600.0 * time_N[:600]) * np.sin(2 * np.pi * 3_000.0 * time_N[:600])
    values_N = rng.normal(size=len(time_N)) + imbalance * np.cos(2 * np.pi * turns_N)
    for order in orders:
        hits_N = np.diff(np.floor(order * turns_N), prepend=0.0) * rng.lognormal(0.0, 0.2, len(time_N))
        values_N += 8.0 * np.convolve(hits_N, ring)[: len(time_N)]
    meta = {
        "sensor": "a",
        "rate_hz": RATE_HZ,
        "shaft_hz": speed_N[np.linspace(0, len(speed_N) - 1, 65).round().astype(int)],
    }
    return SensorFrame(t_ns=0, data=values_N[:, None].astype(np.float32), meta=meta)


def past(frame: SensorFrame, **meta: object) -> SensorFrame:
    return replace(frame, t_ns=frame.t_ns - 10**15, meta={**frame.meta, HEALTHY: True, **meta})


def risen(now: SensorFrame, healthy: SensorFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Orders, which are of envelopes, and features; what has risen most first."""
    batch = MODALITY.tokenize([past(healthy), now])
    assert batch.position_BTX is not None and batch.mask_BT.all() and (batch.time_BT == 0.0).all()
    x_T, y_T = batch.position_BTX[0].numpy().T
    return np.sinh(x_T / 100.0), y_T == ENVELOPE_Y, batch.tokens_BTD[0].numpy()


@pytest.mark.parametrize("swing", [0.0, 0.1])
@pytest.mark.parametrize(("was_hz", "slip"), [(29.5, 0.0), (27.3, 0.008), (32.0, -0.008), (29.5, 0.004)])
def test_new_lines_rise_and_old_ones_do_not(swing: float, was_hz: float, slip: float) -> None:
    healthy = machine(1, (5.415 * (1.0 + slip),), was_hz)
    orders_T, envelope_T, features_TF = risen(machine(2, (5.415, 3.585), swing=swing), healthy)
    multiples_T = orders_T[envelope_T] / 3.585
    new_T = np.abs(multiples_T - np.round(multiples_T)) < 0.01
    old_T = np.abs(orders_T[envelope_T] / 5.415 - 1.0) < 0.01
    rise_T = features_TF[envelope_T][:, RISE]
    assert new_T[0] and rise_T[0] > 0.4, "what is struck now and was not before comes first"
    assert (rise_T[old_T] < 0.75 * rise_T[0]).all(), "what was struck as clearly before has not risen as far"
    np.testing.assert_allclose(features_TF[:, FASTER], np.log(29.5 / was_hz), atol=0.01)


def test_a_machine_beside_itself_has_not_changed() -> None:
    frame = machine(1, (3.585,))
    _, envelope_T, features_TF = risen(frame, frame)
    assert features_TF[envelope_T][:, RISE].max() <= 0.0 and features_TF[:, DEEPER].max() <= 0.0
    assert np.abs(features_TF[:, LOUDER]).max() < 1e-6


def test_the_unit_of_the_signal_does_not_matter() -> None:
    now, healthy = machine(2, (3.585,)), machine(1, ())
    louder = [replace(frame, data=1000.0 * frame.data) for frame in (now, healthy)]
    for one, other in zip(risen(now, healthy), risen(*louder), strict=True):
        np.testing.assert_allclose(other, one, atol=0.02)


def test_a_shaft_that_is_twice_as_much_out_of_balance_has_twice_the_line() -> None:
    orders_T, envelope_T, features_TF = risen(machine(2, (), imbalance=4.0), machine(1, (), imbalance=2.0))
    assert orders_T[~envelope_T][0] == pytest.approx(1.0, abs=0.01)
    assert features_TF[~envelope_T][0, DEEPER] == pytest.approx(np.log(2.0), abs=0.02)
    assert features_TF[0, LOUDER] == pytest.approx(0.5 * np.log((8.0 + 1.0) / (2.0 + 1.0)), abs=0.02)


def test_without_a_past_or_a_speed_there_is_nothing_to_tell() -> None:
    now, healthy = machine(2, (3.585,)), past(machine(1, ()))
    still = {key: value for key, value in now.meta.items() if key != "shaft_hz"}
    for frames in (
        [now],
        [healthy],
        [now, past(healthy, sensor="b")],
        [replace(now, meta=still), healthy],
        [now, replace(healthy, meta={**still, HEALTHY: True})],
        [replace(now, data=now.data[:1200], meta={**now.meta, "shaft_hz": 29.5}), healthy],
        [replace(now, data=np.full_like(now.data, np.nan)), healthy],
        [replace(now, data=np.full_like(now.data, 3.0)), healthy],
        [now, replace(healthy, data=np.full_like(now.data, 3.0))],
    ):
        assert MODALITY.tokenize(frames).tokens_BTD.shape == (1, 0, len(FEATURES))


def test_each_sensor_is_held_against_its_own_past() -> None:
    frames = []
    for sensor, order in (("a", 3.585), ("b", 5.415)):
        now, healthy = machine(2, (order,)), past(machine(1, ()))
        frames += [replace(one, meta={**one.meta, "sensor": sensor}) for one in (now, healthy)]
    late = [frames[0], frames[1], replace(frames[2], t_ns=-(10**9)), frames[3]]
    batch = MODALITY.tokenize(late)
    size = ENVELOPE_RISES + SIGNAL_RISES
    assert batch.tokens_BTD.shape[1] == 2 * size and batch.position_BTX is not None
    first_T = np.sinh(batch.position_BTX[0, [0, size], 0].numpy() / 100.0) / [3.585, 5.415]
    np.testing.assert_allclose(first_T, np.round(first_T), atol=0.01)
    assert batch.time_BT[0, [0, size]].tolist() == [0.0, -1.0]


@pytest.mark.parametrize("what", ["rate", "axes"])
def test_a_past_that_was_recorded_otherwise_is_refused(what: str) -> None:
    now, healthy = machine(2, (3.585,)), past(machine(1, ()))
    other = (
        past(healthy, rate_hz=2 * RATE_HZ) if what == "rate" else replace(healthy, data=healthy.data.repeat(2, axis=1))
    )
    with pytest.raises(BadInput, match="healthy frames of sensor 'a': expected the rate and the axes of today's"):
        MODALITY.tokenize([now, other])


def test_a_clock_that_runs_half_a_per_cent_fast_is_the_same_rate() -> None:
    now, healthy = machine(2, (3.585,)), machine(1, ())
    fast = past(healthy, rate_hz=1.005 * RATE_HZ, shaft_hz=1.005 * SHAFT_HZ)
    np.testing.assert_allclose(
        MODALITY.tokenize([now, fast]).tokens_BTD,
        MODALITY.tokenize([now, past(healthy, shaft_hz=SHAFT_HZ)]).tokens_BTD,
        atol=1e-5,
    )


def test_what_lies_above_the_healthy_spectrum_has_not_risen() -> None:
    orders_T, envelope_T, _ = risen(machine(2, (19.3,), 50.0), machine(1, (19.3,), 54.9))
    assert envelope_T.any() and orders_T[envelope_T].max() < 18.3, "a band of 1 kHz holds 18.2 orders of 54.9 Hz"


@pytest.mark.parametrize("said", ["false", 1, np.ones(2)])
def test_what_is_neither_healthy_nor_not_is_refused(said: object) -> None:
    with pytest.raises(BadInput, match="meta 'healthy' of sensor 'a': expected true or false"):
        MODALITY.tokenize([machine(2, ()), past(machine(1, ()), healthy=said)])


def test_the_greatest_of_each_stretch_is_found() -> None:
    rng = np.random.default_rng(0)
    values_WF = torch.from_numpy(rng.normal(size=(2, 500)))
    first_L = torch.from_numpy(rng.integers(0, 500, 300))
    last_L = (first_L + torch.from_numpy(rng.integers(0, 200, 300))).clamp_max(499)
    expected = [values_WF[:, a : b + 1].amax(1) for a, b in zip(first_L.tolist(), last_L.tolist(), strict=True)]
    torch.testing.assert_close(_greatest(values_WF, first_L, last_L), torch.stack(expected, 1))
