"""Pictures of a reading and of the bits of its tokens."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iotlam.pages.drawing import drawn
from iotlam.pages.sensors import in_space, over_time
from iotlam.pages.sensors.reading import PANEL_IN, TALL_IN, Kind, Reading, kind_of

OVER_TIME: dict[Kind, over_time.Draw] = {
    "spectrogram": over_time.spectrogram,
    "waveform": over_time.waveform,
    "series": over_time.series,
}


def pictures_of(reading: Reading) -> list[Markup]:
    """The reading, and its tokens with their bits: in one picture over time, or in two side by side."""
    kind = kind_of(reading.manifest)
    if kind in OVER_TIME:
        return [over_time.over_time(reading, OVER_TIME[kind])]
    show = {"picture": in_space.picture, "points": in_space.points}.get(kind, in_space.level_map)
    height_in = _height_in(reading) if kind == "picture" else TALL_IN
    name, bits = reading.manifest.name, _bits(reading)
    return [
        drawn(PANEL_IN, height_in, f"Reading of {name}", lambda figure: _fill(figure, show, reading)),
        drawn(PANEL_IN, height_in, f"Bits of the tokens of {name}", lambda figure: _fill(figure, bits, reading)),
    ]


def _bits(reading: Reading) -> Callable[[Axes, Reading], None]:
    if reading.place_TX is None:
        return in_space.bits_in_order
    in_picture = kind_of(reading.manifest) == "picture" and in_space.sees_places(reading)
    return in_space.bits_in_picture if in_picture else in_space.bits_on_ground


def _height_in(reading: Reading) -> float:
    """Height of a panel in which a picture fills the width."""
    rows, columns = reading.newest.data.shape[:2]
    return float(np.clip((PANEL_IN - 0.6) * rows / columns + 0.5, 1.5, 2.0 * TALL_IN))


def _fill(figure: Figure, draw: Callable[[Axes, Reading], None], reading: Reading) -> None:
    draw(figure.subplots(), reading)
    figure.tight_layout(pad=0.4)
