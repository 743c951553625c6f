"""Tubelet features: what a patch shows now and how it changed since the picture before.

Tubelets are those of ViViT (Arnab et al., ICCV 2021); a few DCT coefficients (Ahmed, Natarajan & Rao, 1974),
as in JPEG, take the place of its learnt embedding.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, SensorFrame
from iotlam_video.projection import PATCH_COLUMNS, PATCH_ROWS, GroundPatches

Floats = NDArray[np.float32]
PIXELS = PATCH_ROWS * PATCH_COLUMNS
ZIGZAG = ((0, 0), (0, 1), (1, 0), (2, 0), (1, 1), (0, 2))
CHANGE_COEFFICIENTS = 3
FEATURES = (
    *(f"dct_{row}{column}" for row, column in ZIGZAG),
    *(f"change_dct_{row}{column}" for row, column in ZIGZAG[:CHANGE_COEFFICIENTS]),
    "log_texture", "log_change", "changed_share", "cb", "cr", "has_pair", "log_range",
)  # fmt: skip
# ITU-R BT.601, full range, from 0..255 to 0..1; columns Y, Cb, Cr.
YCBCR_33 = np.array([
    [0.299, -0.168736, 0.5],
    [0.587, -0.331264, -0.418688],
    [0.114, 0.5, -0.081312],
], dtype=np.float32) / np.float32(255.0)  # fmt: skip
GREY_LEVEL_POWER = np.float32(1.0 / 255.0**2)
CHANGED = 0.06


def _dct_basis() -> Floats:
    """Basis (32, 6) of the first coefficients: averages of luminance against cosines, times 4."""
    row, column = np.indices((PATCH_ROWS, PATCH_COLUMNS)) + 0.5
    waves = [np.cos(np.pi * k * row / PATCH_ROWS) * np.cos(np.pi * m * column / PATCH_COLUMNS) for k, m in ZIGZAG]
    return np.stack([wave.ravel() for wave in waves], axis=1).astype(np.float32) * np.float32(4.0 / PIXELS)


BASIS_PC = _dct_basis()


def encode_tubelets(pair: list[SensorFrame], patches: GroundPatches) -> tuple[Floats, NDArray[np.bool_]]:
    """Encode the newest one or two pictures of a camera, newest first.

    Missing pixels take the mean of the rest of their patch and count as unchanged; without a second
    picture the temporal features are 0.

    Returns:
        features float32 (T, 16) and valid bool (T,): False where the newest picture misses the whole patch.

    Raises:
        BadInput: if the two pictures differ in size.
    """
    newest, previous = pair[0], pair[-1]
    if newest.data.shape != previous.data.shape:
        raise BadInput(
            f"Pictures of sensor '{newest.sensor}'",
            expected="one size",
            fix="resize them alike",
            got=f"{newest.data.shape[:2]} and {previous.data.shape[:2]}",
        )
    seen_TP = _seen(newest, patches)
    ycc_TP3 = _fill(_colours(newest, patches), seen_TP)
    light_TP = ycc_TP3[:, :, 0]
    change_TP = np.zeros_like(light_TP)
    if len(pair) == 2:
        both_TP = seen_TP & _seen(previous, patches)
        change_TP = np.where(both_TP, light_TP - _colours(previous, patches)[:, :, 0], np.float32(0.0))
    dct_TC = (light_TP - np.float32(0.5)) @ BASIS_PC
    texture_T = (light_TP - light_TP.mean(axis=1, keepdims=True)) ** 2
    features_TD = np.column_stack([
        dct_TC, change_TP @ BASIS_PC[:, :CHANGE_COEFFICIENTS],
        _log_power(texture_T), _log_power(change_TP**2), (np.abs(change_TP) > CHANGED).mean(axis=1),
        4.0 * ycc_TP3[:, :, 1:].mean(axis=1),
        np.full(len(light_TP), len(pair) - 1.0), np.log10(patches.range_T + 1.0) - 1.0,
    ])  # fmt: skip
    return features_TD.astype(np.float32), np.asarray(seen_TP.any(axis=1))


def _log_power(power_TP: Floats) -> Floats:
    """Mean power per patch against one grey level, in units of 20 dB."""
    return np.asarray(np.log10(power_TP.mean(axis=1) / GREY_LEVEL_POWER + np.float32(1.0)) / np.float32(2.0))


def _cut(values_HWC: NDArray[np.generic], patches: GroundPatches) -> NDArray[np.generic]:
    """Patches (T, 32, C) of a picture (H, W, C); rows and columns that fill no patch are left out."""
    rows, columns = values_HWC.shape[0] // PATCH_ROWS, values_HWC.shape[1] // PATCH_COLUMNS
    whole = values_HWC[: rows * PATCH_ROWS, : columns * PATCH_COLUMNS]
    tiles = whole.reshape(rows, PATCH_ROWS, columns, PATCH_COLUMNS, -1).swapaxes(1, 2)
    return tiles.reshape(rows * columns, PIXELS, -1)[patches.index_T]


def _colours(frame: SensorFrame, patches: GroundPatches) -> Floats:
    return np.asarray(_cut(frame.data, patches).astype(np.float32) @ YCBCR_33)


def _seen(frame: SensorFrame, patches: GroundPatches) -> NDArray[np.bool_]:
    if frame.mask is None:
        return np.ones((patches.index_T.size, PIXELS), dtype=np.bool_)
    trailing = frame.mask.reshape(frame.mask.shape + (1,) * (3 - frame.mask.ndim))
    return np.asarray(_cut(np.broadcast_to(trailing, frame.data.shape), patches).all(axis=2), dtype=np.bool_)


def _fill(values_TPC: Floats, seen_TP: NDArray[np.bool_]) -> Floats:
    if seen_TP.all():
        return values_TPC
    weight_TP1 = seen_TP[:, :, None].astype(np.float32)
    mean_T1C = (values_TPC * weight_TP1).sum(axis=1, keepdims=True) / np.maximum(weight_TP1.sum(axis=1)[:, None], 1)
    return np.where(seen_TP[:, :, None], values_TPC, mean_T1C)
