"""Real recordings: aircraft transponders at 1090 MHz and remote controls of several modulations."""

import json
import os
from pathlib import Path

import numpy as np
import pytest

from iotlam_spectrum.files import read
from iotlam_spectrum.patches import BANDS, FEATURES, cut_patches

RF = Path(os.environ.get("IOTLAM_DATA", "")) / "rf"
SLOT = 128
needs_data = pytest.mark.skipif(not RF.is_dir(), reason="no recordings: set IOTLAM_DATA to a folder that holds rf/")
ON_OFF = ("ask.complex", "elektromaten.complex16s", "ook_overshoot.complex16s", "pwm.complex16s")
SHIFTED = ("cc1101.complex", "fsk.complex", "homematic.complex32s", "two_participants.complex16s")


def mode_s(folder: Path) -> list:
    (folder / "modes1.bin").symlink_to(RF / "dump1090/testfiles/modes1.bin")
    told = {"core:datatype": "cu8", "core:sample_rate": 2e6, "core:version": "1.0.0", "core:dataset": "modes1.bin"}
    capture = {"core:sample_start": 0, "core:frequency": 1.09e9}
    meta = folder / "modes1.sigmf-meta"
    meta.write_text(json.dumps({"global": told, "captures": [capture], "annotations": []}))
    return list(read(meta))


def preambles(magnitude_N: np.ndarray) -> np.ndarray:
    """Samples where four pulses at 0, 1, 3.5 and 4.5 us stand above all around them (ICAO Annex 10, vol. IV)."""
    window_N16 = np.lib.stride_tricks.sliding_window_view(magnitude_N, 16)
    pulses = [0, 2, 7, 9]
    gaps = [at for at in range(16) if at not in pulses]
    return np.flatnonzero(window_N16[:, pulses].min(axis=1) > window_N16[:, gaps].max(axis=1))


def is_message(magnitude_N: np.ndarray, start: int) -> bool:
    """Whether an extended squitter of 112 bits follows whose 24 parity bits fit (generator FFF409)."""
    pairs_N2 = magnitude_N[start + 16 : start + 240]
    if len(pairs_N2) < 224:
        return False
    bits = (pairs_N2[0::2] > pairs_N2[1::2]).astype(int)
    value = int("".join(map(str, bits)), 2)
    for shift in range(87, -1, -1):
        if value >> (shift + 24) & 1:
            value ^= 0x1FFF409 << shift
    return value == 0 and int("".join(map(str, bits[:5])), 2) in (17, 18)


def auroc(positive: np.ndarray, negative: np.ndarray) -> float:
    return float((positive[:, None] > negative).mean() + 0.5 * (positive[:, None] == negative).mean())


@needs_data
def test_mode_s_messages_stand_out_in_their_time_slots(tmp_path: Path) -> None:
    frames = mode_s(tmp_path)
    magnitude_N = np.abs(np.concatenate([frame.data for frame in frames]))
    starts = preambles(magnitude_N)
    messages = [start for start in starts if is_message(magnitude_N, start)]
    assert len(messages) > 100  # parity of 24 bits: these are messages beyond doubt
    slots_SKF = np.concatenate([cut_patches(f).features_TF.reshape(-1, BANDS, len(FEATURES)) for f in frames])
    begins, near = np.zeros(len(slots_SKF), bool), np.zeros(len(slots_SKF), bool)
    begins[[start // SLOT for start in messages]] = True
    for start in starts:
        near[start // SLOT : (start + 240) // SLOT + 1] = True
    power_S = slots_SKF[:, :, FEATURES.index("power")].max(axis=1)
    assert auroc(power_S[begins], power_S[~near]) > 0.93
    assert np.median(power_S[begins]) - np.median(power_S[~near]) > 0.25  # 5 dB


def loud_tokens(path: Path, folder: Path) -> np.ndarray:
    """Measured features of the tokens within 20 dB of the loudest."""
    named = folder / f"{path.stem}_1Msps{path.suffix}"
    named.symlink_to(path)
    rows = []
    for frame in list(read(named))[:80]:
        patches = cut_patches(frame)
        rows.append(patches.features_TF[patches.valid_T])
    tokens_TF = np.concatenate(rows)
    absolute_T = 2 * tokens_TF[:, FEATURES.index("power")] + 10 * tokens_TF[:, FEATURES.index("level")]
    return tokens_TF[absolute_T > np.quantile(absolute_T, 0.995) - 1.0]


@needs_data
def test_on_off_and_frequency_shift_keying_look_different(tmp_path: Path) -> None:
    """A loud token of on-off keying is a steady tone; of shift keying, one that leaves the band and comes back."""
    tokens = {name: loud_tokens(RF / "urh/tests/data" / name, tmp_path) for name in ON_OFF + SHIFTED}
    swing, coherence = (
        {name: float(np.median(t[:, FEATURES.index(feature)])) for name, t in tokens.items()}
        for feature in ("power_swing", "coherence")
    )
    assert max(swing[name] for name in ON_OFF) < 0.1 * min(swing[name] for name in SHIFTED), swing
    assert min(coherence[name] for name in ON_OFF) > 0.98 > 0.96 > max(coherence[name] for name in SHIFTED), coherence


@needs_data
@pytest.mark.parametrize("name", ["ask.complex", "ook_overshoot.complex16s", "homematic.complex32s"])
def test_recordings_come_whole(name: str, tmp_path: Path) -> None:
    path = RF / "urh/tests/data" / name
    named = tmp_path / f"{path.stem}_433.92M_1M{path.suffix}"
    named.symlink_to(path)
    frames = list(read(named))
    each = {".complex": 8, ".complex16s": 2, ".complex32s": 4}[path.suffix]
    assert sum(len(frame.data) for frame in frames) == path.stat().st_size // each
    assert 0.001 < max(np.abs(frame.data).max() for frame in frames) < 1.5
