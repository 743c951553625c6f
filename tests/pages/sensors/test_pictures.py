"""A reading is drawn by what its manifest says the data are."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
import torch

from iotlam.contracts import ModalityManifest, SensorFrame, TokenBatch
from iotlam.pages.sensors.in_space import _pixels
from iotlam.pages.sensors.pictures import pictures_of
from iotlam.pages.sensors.reading import Kind, Reading, kind_of
from iotlam.plugins import load

BASE: dict[str, Any] = {
    "name": "unheard_of", "api_version": 1, "summary": "s", "units": ["V"], "dtype": "float32", "rate_hz": [1.0, 1e6],
    "clock": "site", "stamp": "end", "frame": "none", "value_range": [-1e6, 1e6], "missing": "nan", "token_budget": 8,
    "licence": "MIT",
}  # fmt: skip
RATE = {"meta": {"rate_hz": "Hz"}}
LATE_NS = 1_764_000_000_123_456_789


def manifest(dims: list[str], shape: list[int], **fields: Any) -> ModalityManifest:
    return ModalityManifest.from_raw({**BASE, "dims": dims, "shape": shape, **fields}, "m")


def reading(of: ModalityManifest, data: list[np.ndarray], places: bool = False, **meta: Any) -> Reading:
    """A window of one reading a second, with four tokens."""
    frames = [SensorFrame(LATE_NS + index * 10**9, one, meta=meta) for index, one in enumerate(data)]
    position_BTX = torch.tensor([[[5.0, 0.0], [10.0, 2.0], [10.0, -2.0], [-9.0, 0.0]]]) if places else None
    tokens = TokenBatch(torch.zeros(1, 4, 2), torch.ones(1, 4, dtype=torch.bool), -torch.arange(4.0)[None] / 10.0,
                        of.name, position_BTX)  # fmt: skip
    return Reading(of, frames, tokens, np.arange(4), np.array([3.0, 0.0, 1.0, 0.5]), "sky")


POINTS = manifest(["point", "channel"], [0, 4], units=["m", "m", "m", "/"])
CUBE = manifest(["receiver", "chirp", "sample"], [0, 0, 0], dtype="complex64", units=["/"])
SCREEN = manifest(["row", "column"], [0, 0], units=["Cel"])
Shapes = list[tuple[int, ...]]
KINDS: list[tuple[ModalityManifest, Kind, Shapes, dict[str, Any], list[str]]] = [
    (manifest(["row", "column", "channel"], [0, 0, 3], dtype="uint8", units=["count"]), "picture", [(6, 8, 3)], {},
     ["column (pixel)", "row (pixel)"]),
    (SCREEN, "picture", [(6, 8)], {}, ["column (pixel)"]),
    (POINTS, "points", [(50, 4)], {}, ["east (m)", "north (m)", "height (m)"]),
    (manifest(["sample"], [0], dtype="complex64", **RATE), "spectrogram", [(4096,)], {"rate_hz": 2e6},
     ["frequency (MHz)", "time after the newest reading (ms)"]),
    (manifest(["sample", "axis"], [0, 0], units=["m/s2"], **RATE), "waveform", [(5000, 3)], {"rate_hz": 1e3},
     ["reading (m/s²)", "axis 3", "time after the newest reading (s)"]),
    (manifest(["value"], [2], units=["Cel"]), "series", [(2,)] * 9, {}, ["reading (°C)", "value 2"]),
    (CUBE, "map", [(2, 8, 16)], {}, ["cycles per chirp", "cycles per sample", "dB above the median"]),
    (manifest(["beam", "range"], [0, 0]), "map", [(5, 7)], {}, ["beam", "range", "magnitude (V)"]),
    (manifest(["a", "b", "row", "column"], [1, 2, 3, 4]), "map", [(1, 2, 3, 4)], {}, ["row", "column"]),
]  # fmt: skip


@pytest.mark.parametrize("places", [False, True])
@pytest.mark.parametrize(("of", "kind", "shapes", "meta", "words"), KINDS)
def test_every_kind_has_its_picture(
    of: ModalityManifest,
    kind: Kind,
    shapes: list[tuple[int, ...]],
    meta: dict[str, Any],
    words: list[str],
    places: bool,
) -> None:
    rng = np.random.default_rng(0)
    data = [(100.0 * rng.random(shape)).astype(of.dtype) for shape in shapes]
    if of.missing == "nan" and of.dtype != "uint8":
        data[0].flat[0] = np.nan
    text = " ".join(pictures_of(reading(of, data, places, **meta)))
    assert kind_of(of) == kind
    shown = re.sub(r"<[^>]*>", " ", text)
    assert all(word in shown for word in words) and re.search("bits per token|east", shown)
    assert "var(--sky)" in text and not re.search(r'href="(?!data:image/png;base64,|#)', text)


def test_built_in_modalities_are_shown_as_what_they_are() -> None:
    kinds = {"lidar": "points", "radar": "map", "video": "picture"}
    assert {name: kind_of(load(name).manifest) for name in kinds} == kinds


def test_places_on_the_ground_are_seen_where_the_camera_sees_them() -> None:
    pose = np.array([[0.0, 0.0, 1.0, 0.0], [-1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 2.0], [0.0, 0.0, 0.0, 1.0]])
    intrinsics = np.array([[50.0, 0.0, 40.0], [0.0, 50.0, 30.0], [0.0, 0.0, 1.0]])
    of = manifest(["row", "column", "channel"], [0, 0, 3], dtype="uint8", units=["count"])
    seen = reading(of, [np.zeros((60, 80, 3), np.uint8)], True, pose_site=pose, intrinsics=intrinsics)
    pixel_TX, seen_T = _pixels(seen)  # a level camera 2 m up that looks east: 2 m down at 5 m is 20 pixels below
    np.testing.assert_allclose(pixel_TX[:3], [[40.0, 50.0], [30.0, 40.0], [50.0, 40.0]])
    assert seen_T.tolist() == [True, True, True, False]  # the last lies behind
