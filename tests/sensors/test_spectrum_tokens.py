"""Spectrum tokens against the physics of known signals."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput, Modality, SelfSupervised, SensorFrame, check_window
from iotlam.plugins import load
from iotlam_spectrum import SpectrumModality
from iotlam_spectrum.patches import BANDS, FEATURES, cut_patches
from iotlam_spectrum.stft import BINS, HOP, noise_floor, spectrogram
from iotlam_spectrum.synthetic import KINDS, noise, sample_bursts

SPECTRUM = SpectrumModality()
N = np.arange(4096)
RATE_HZ, CENTRE_HZ = 1e6, 4.3392e8


def heard(signal_N: np.ndarray, snr_db: float | None = None, seed: int = 0, **meta: object) -> SensorFrame:
    if snr_db is not None:
        signal_N = signal_N + noise(np.random.default_rng(seed), len(signal_N)) * 10 ** (-snr_db / 20)
    told = {"sensor": "r", "rate_hz": RATE_HZ, "centre_hz": CENTRE_HZ, **meta}
    return SensorFrame(t_ns=0, data=signal_N.astype(np.complex64), meta=told)


def tone(cycles_per_sample: float) -> np.ndarray:
    return np.exp(2j * np.pi * cycles_per_sample * N)


def features(frame: SensorFrame) -> np.ndarray:
    """By time slot, band and feature."""
    return cut_patches(frame).features_TF.reshape(-1, BANDS, len(FEATURES))


def feature(frame: SensorFrame, name: str) -> np.ndarray:
    return features(frame)[:, :, FEATURES.index(name)]


@pytest.mark.parametrize("bin_number", [-32, -7, 0, 5, 31])
def test_a_tone_lands_in_its_bin(bin_number: int) -> None:
    power_CK = spectrogram(heard(tone(bin_number / BINS))).power_CK
    assert (power_CK.argmax(axis=1) == bin_number + BINS // 2).all()
    band = (bin_number + BINS // 2) // 8
    power = feature(heard(tone(bin_number / BINS), snr_db=10), "power")
    assert (power.argmax(axis=1) == band).all()


def test_white_noise_is_the_floor() -> None:
    power_CK = spectrogram(heard(noise(np.random.default_rng(3), 1 << 17))).power_CK
    assert power_CK.mean() == pytest.approx(1.0, rel=0.05)
    power = feature(heard(noise(np.random.default_rng(4), 4096)), "power")
    assert abs(power.mean()) < 0.02 and np.abs(power).max() < 0.25
    assert feature(heard(tone(0.1), snr_db=-60), "coherence").mean() < 0.3


def test_the_floor_outlasts_a_signal_that_is_there_half_of_the_time() -> None:
    quiet = noise(np.random.default_rng(0), 4096)
    loud = quiet + 30.0 * noise(np.random.default_rng(1), 4096) * (N < 1800)
    ratio = spectrogram(heard(loud)).level / spectrogram(heard(quiet)).level
    assert 0.5 < ratio < 3.0
    assert noise_floor(np.zeros((4, 64))) == 0.0


@pytest.mark.parametrize("frequency", [-0.4317, -0.0601, 0.1234, 0.3003])
def test_the_phase_tells_the_frequency_within_a_bin(frequency: float) -> None:
    band = int((frequency + 0.5) * BANDS)
    clean = feature(heard(tone(frequency), snr_db=40), "frequency")[:, band] / 2
    np.testing.assert_allclose(clean, frequency, atol=3e-4)  # a bin is 0.0156 wide
    noisy = feature(heard(tone(frequency), snr_db=10), "frequency")[:, band] / 2
    np.testing.assert_allclose(noisy, frequency, atol=3e-3)
    assert feature(heard(tone(frequency), snr_db=20), "coherence")[:, band].min() > 0.95


def test_an_fm_tone_is_followed() -> None:
    carrier, swing, period = 0.06, 0.04, 2048
    instantaneous_N = carrier + swing * np.sin(2 * np.pi * N / period)
    frame = heard(np.exp(2j * np.pi * np.cumsum(instantaneous_N)), snr_db=30)
    seen_CK = spectrogram(frame)
    strongest_C = seen_CK.power_CK.argmax(axis=1)
    centre_C = (strongest_C - BINS // 2) / BINS
    advance_C = seen_CK.advance_CK[np.arange(len(strongest_C)), strongest_C]
    within_C = np.angle(advance_C * np.exp(-2j * np.pi * HOP * centre_C)) / (2 * np.pi * HOP)
    middle_C = (np.arange(len(strongest_C)) * HOP + BINS / 2 - HOP / 2).astype(int)
    error_C = (centre_C + within_C)[1:] - instantaneous_N[middle_C[1:]]
    assert np.abs(error_C).max() < 1.5e-3 and np.std(error_C) < 5e-4
    slots = features(frame)
    loudest_S = slots[:, :, FEATURES.index("power")].argmax(axis=1)
    seen_S = slots[np.arange(len(slots)), loudest_S, FEATURES.index("frequency")] / 2
    true_S = instantaneous_N[: len(seen_S) * 128].reshape(-1, 128).mean(axis=1)
    np.testing.assert_allclose(seen_S, true_S, atol=0.012)


def test_keying_shows_in_its_own_feature() -> None:
    bits_N = np.repeat(np.random.default_rng(5).integers(0, 2, 128), 32)
    amplitude, shift = heard(bits_N * tone(0.05), 25), heard(np.exp(2j * np.pi * np.cumsum(0.05 + 0.02 * bits_N)), 25)
    band = int(0.55 * BANDS)
    swing = {name: feature(frame, "power_swing")[:, band].mean() for name, frame in (("a", amplitude), ("f", shift))}
    turn = {name: feature(frame, "frequency_swing")[:, band].mean() for name, frame in (("a", amplitude), ("f", shift))}
    assert swing["a"] > 2 * swing["f"] and turn["f"] > 3 * turn["a"]


@pytest.mark.parametrize("gain", [1e-10, 1e-4, 7.3, 1e5])
def test_gain_changes_the_level_alone(gain: float) -> None:
    frame = sample_bursts(3)
    one, other = (
        SPECTRUM.tokenize([f]).tokens_BTD[0] for f in (frame, replace(frame, data=frame.data * np.float32(gain)))
    )
    level = FEATURES.index("level")
    torch.testing.assert_close(
        other[:, level] - one[:, level], torch.full((256,), np.log10(gain**2) / 10), atol=1e-3, rtol=0
    )
    rest = torch.arange(one.shape[1]) != level
    torch.testing.assert_close(other[:, rest], one[:, rest], atol=2e-3, rtol=0)


def test_the_rate_is_relative_and_frequency_absolute() -> None:
    slow, fast = (cut_patches(heard(tone(0.1), 20, rate_hz=rate)) for rate in (1e4, 2e7))
    same = [FEATURES.index(name) for name in FEATURES if not name.startswith("log_")]
    np.testing.assert_array_equal(slow.features_TF[:, same], fast.features_TF[:, same])
    np.testing.assert_array_equal(slow.cells_TP, fast.cells_TP)
    assert slow.delay_T[0] == pytest.approx(2000 * fast.delay_T[0])
    higher = feature(heard(tone(0.1), 20, centre_hz=10 * CENTRE_HZ), "log_frequency")
    np.testing.assert_allclose(higher - feature(heard(tone(0.1), 20), "log_frequency"), 1.0, atol=1e-3)
    assert not feature(heard(tone(0.1), 20, centre_hz=0.0), "log_frequency").any()


@pytest.mark.parametrize("missing", [np.nan, np.inf, complex(3.0, np.nan), 1e30])
def test_missing_samples_change_nothing(missing: complex) -> None:
    frame = sample_bursts(2)
    mask_N = np.random.default_rng(0).random(4096) > 0.2
    mask_N[1000:1500] = False
    zeroed, spoilt = (
        replace(frame, data=np.where(mask_N, frame.data, v).astype(np.complex64), mask=mask_N) for v in (0, missing)
    )
    one, other = SPECTRUM.tokenize([zeroed]), SPECTRUM.tokenize([spoilt])
    assert torch.equal(one.tokens_BTD, other.tokens_BTD) and torch.equal(one.mask_BT, other.mask_BT)
    assert not one.mask_BT.all() and one.mask_BT.any() and not one.tokens_BTD[~one.mask_BT].any()
    if not np.isfinite(missing):
        assert torch.equal(SPECTRUM.tokenize([replace(spoilt, mask=None)]).tokens_BTD, one.tokens_BTD)


def test_a_gap_keeps_the_level_of_what_is_left() -> None:
    frame, mask_N = heard(tone(0.1), 20), np.random.default_rng(1).random(4096) > 0.3
    whole, holed = features(frame), features(replace(frame, mask=mask_N))
    level, power = FEATURES.index("level"), FEATURES.index("power")
    band = int(0.6 * BANDS)
    assert whole[:, band, power] + 10 * whole[:, band, level] / 2 == pytest.approx(
        holed[:, band, power] + 10 * holed[:, band, level] / 2, abs=0.12
    )


@pytest.mark.parametrize("length", [1, 2, 63, 64, 65, 79, 81, 128, 131, 4095, 4097, 8192, 70_001, 1 << 20])
def test_windows_of_any_length(length: int) -> None:
    frame = (
        sample_bursts(1, length) if length > 1000 else replace(sample_bursts(1), data=sample_bursts(1).data[:length])
    )
    batch = SPECTRUM.tokenize([frame])
    assert batch.tokens_BTD.isfinite().all() and batch.tokens_BTD.shape[1] in range(8, 257, 8)
    assert batch.mask_BT.all() and batch.time_BT.max() == 0.0
    assert batch.time_BT.min() >= -length / frame.meta["rate_hz"] and (batch.time_BT[0].diff() >= 0).all()
    if 1000 < length < 1 << 18:
        here = FEATURES.index("frequency")
        moved = replace(frame, data=(np.exp(2j * np.pi * 0.2 * np.arange(length)) * 1e3).astype(np.complex64))
        assert (SPECTRUM.tokenize([moved]).tokens_BTD[0, 5::8, here] / 2 - 0.2).abs().max() < 1e-3


def test_silence_emptiness_and_a_sample() -> None:
    for data in (np.zeros(4096), np.zeros(0), np.ones(1)):
        batch = SPECTRUM.tokenize([heard(data)])
        assert batch.tokens_BTD.isfinite().all() and bool(batch.mask_BT.any()) == bool(len(data))


def test_receivers_side_by_side_and_their_age() -> None:
    frames = [replace(sample_bursts(i), meta={**sample_bursts(i).meta, "sensor": f"r{i}"}) for i in range(5)]
    late = replace(frames[1], t_ns=-250_000_000)
    both, alone = SPECTRUM.tokenize([late, frames[0]]), SPECTRUM.tokenize([frames[0]])
    assert both.position_BTX is None and both.tokens_BTD.shape[1] == 512
    torch.testing.assert_close(both.tokens_BTD[0, :256], alone.tokens_BTD[0])
    assert both.time_BT[0, -1].item() == pytest.approx(-0.25) and both.time_BT[0, 255] == 0.0
    newer = replace(frames[0], t_ns=9_000_000, data=frames[3].data)
    assert torch.equal(SPECTRUM.tokenize([newer, frames[0]]).tokens_BTD, SPECTRUM.tokenize([newer]).tokens_BTD)
    with pytest.raises(BadInput, match="at most 1024 tokens"):
        SPECTRUM.tokenize(frames)


def test_contracts_and_samples() -> None:
    assert isinstance(SPECTRUM, Modality) and isinstance(SPECTRUM.encoder, SelfSupervised)
    plugin = load("spectrum")
    assert not plugin.spec.positioned and plugin.spec.dim == len(FEATURES) + 64
    seen = set()
    for seed in range(40):
        frames = plugin.sample(seed)
        check_window(plugin.manifest, frames)
        batch = plugin.tokenize(frames)
        assert batch.tokens_BTD.shape == (1, 256, 73) and batch.tokens_BTD.abs().max() < 8.0
        seen.add(round(float(batch.tokens_BTD[0, :, 0].mean()), 6))
    assert len(seen) == 40
    assert torch.equal(plugin.tokenize(plugin.sample(7)).tokens_BTD, plugin.tokenize(plugin.sample(7)).tokens_BTD)


@pytest.mark.parametrize("kind", KINDS)
def test_bursts_are_narrower_than_the_band_and_never_silent(kind) -> None:
    for seed in range(20):
        burst_N = kind(np.random.default_rng(seed), 2048)
        assert burst_N.shape == (2048,) and np.mean(np.abs(burst_N) ** 2) > 0
        share_K = np.abs(np.fft.fft(burst_N)) ** 2
        near_zero = np.abs(np.fft.fftfreq(2048)) < 0.3
        assert share_K[near_zero].sum() > 0.9 * share_K.sum()


@pytest.mark.parametrize(
    ("meta", "match"),
    [
        ({"rate_hz": 10.0}, "rate"),
        ({"rate_hz": float("nan")}, "rate"),
        ({"rate_hz": "fast"}, "rate"),
        ({"centre_hz": "x"}, "centre_hz"),
    ],
)
def test_bad_input(meta: dict[str, object], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        load("spectrum").tokenize([heard(tone(0.1), **meta)])
