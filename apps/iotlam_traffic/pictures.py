"""Charts and pictures of the page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator

from iotlam.contracts import SensorFrame
from iotlam.pages.drawing import NARROW_IN, data_uri, drawn, light, responsive
from iotlam_radar.fmcw import range_doppler
from iotlam_street.metrics import TripMetrics
from iotlam_traffic.queues import Queues

CONTROLLERS = {
    "iotlam": "blue",
    "fixed": "grey",
    "actuated": "charcoal",
    "delay-based": "vermilion",
    "greedy": "orange",
    "max-pressure": "purple",
    "webster": "green",
    "discharge": "stop",
    "lanes": "sky",
}
"""Colours of the controllers."""
DASHES = {
    "blue": "",
    "grey": "",
    "charcoal": "2 2",
    "vermilion": "1 2",
    "orange": "7 2",
    "purple": "7 2 2 2",
    "green": "5 2 1 2 1 2",
    "stop": "9 3",
    "sky": "3 1",
    "olive": "4 3",
}
"""Strokes and gaps of each controller's line, in line widths, so that it is told apart without colour."""
MODALITIES = {"lidar": "sky", "radar": "vermilion", "video": "green"}
"""Colours of the sensors."""
BIN_S = 300.0
QUEUE_S = 60.0
RADAR_DB = 45.0
"""What the darkest and brightest colour of a radar picture differ by."""


def controller_paint(name: str) -> str:
    """Name of a controller's colour."""
    return CONTROLLERS.get(name, "olive")


def modality_paint(name: str) -> str:
    """Name of a modality's colour."""
    return MODALITIES.get(name, "olive")


def clock(time_s: float, seconds: bool = False) -> str:
    """Seconds since midnight as hh:mm or hh:mm:ss."""
    whole = round(time_s)
    text = f"{whole // 3600:02d}:{whole // 60 % 60:02d}"
    return f"{text}:{whole % 60:02d}" if seconds else text


def delay_chart(trips: Mapping[str, TripMetrics], begin_s: float, duration_s: float) -> Markup:
    """Mean delay by scheduled departure, one line per controller."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name in _ours_last(trips):
            delay_s_N = trips[name].delay_by_departure(BIN_S, duration_s)
            time_s_N = begin_s + (np.arange(len(delay_s_N)) + 0.5) * BIN_S
            axes.plot(time_s_N, delay_s_N, marker="o", markersize=4.5 if name == "iotlam" else 2.5, **_line(name))
        axes.set_ylim(bottom=0.0)
        axes.set_ylabel("mean delay (s)")
        axes.set_xlabel("scheduled departure")
        _clock_axis(axes, begin_s, begin_s + duration_s)
        figure.tight_layout(pad=0.4)

    return responsive(3.1, "Mean delay by scheduled departure, one line per controller", draw)


def _ours_last(names: Iterable[str]) -> list[str]:
    """Ours is drawn above the others."""
    return sorted(names, key=lambda name: name == "iotlam")


def _line(name: str) -> dict[str, Any]:
    """How a controller's line is drawn."""
    paint = controller_paint(name)
    dash = tuple(float(part) for part in DASHES[paint].split())
    width = 2.8 if name == "iotlam" else 1.6
    return {"color": light(paint), "linewidth": width, "linestyle": (0, dash) if dash else "-"}


def queue_chart(queues: Mapping[str, Queues], names: Sequence[str], begin_s: float, end_s: float) -> Markup:
    """Vehicles that stand on each approach, one panel for each, one line per controller, in means of `QUEUE_S`.

    Args:
        queues: by controller, simulated time in seconds and standing vehicles on each approach, per decision.
        names: what the approaches are called.
        begin_s: simulated time at which the episode begins, seconds.
        end_s: and ends.
    """
    edge_s = np.arange(begin_s, end_s + QUEUE_S, QUEUE_S)

    def draw(figure: Figure) -> None:
        panels = figure.subplots(len(names), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for name in _ours_last(queues):
            slot_N = np.clip(np.digitize([time_s for time_s, _ in queues[name]], edge_s, right=True) - 1, 0, None)
            standing_NA = np.array([count_A for _, count_A in queues[name]])
            bins = np.unique(slot_N)
            mean_BA = np.array([standing_NA[slot_N == slot].mean(axis=0) for slot in bins])
            for axes, mean_B in zip(panels, mean_BA.T, strict=True):
                axes.plot(edge_s[bins] + QUEUE_S / 2.0, mean_B, **_line(name))
        for axes, name in zip(panels, names, strict=True):
            axes.set_title(f"from the {name}", loc="left", fontsize=9.0, color=light("muted"))
            axes.set_ylim(bottom=0.0)
            axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        panels[len(names) // 2].set_ylabel("standing vehicles")
        _clock_axis(panels[-1], begin_s, end_s)
        figure.tight_layout(pad=0.4)

    return responsive(0.5 + 1.25 * len(names), "Standing vehicles on each approach, one line per controller", draw)


def episode_chart(
    bits: Sequence[tuple[float, Mapping[str, float]]],
    phases: Sequence[tuple[float, int]],
    names: Sequence[str],
    begin_s: float,
    end_s: float,
    moment_s: float | None,
) -> Markup:
    """Bits of each modality, stacked, above the phase that was shown, over one time axis.

    Args:
        bits: simulated time in seconds and bits by modality, per decision.
        phases: simulated time in seconds and index of the phase, per decision.
        names: what the phases are called.
        begin_s: simulated time at which the episode begins, seconds.
        end_s: and ends.
        moment_s: simulated time to mark.
    """
    modalities = list(dict.fromkeys(name for _, one in bits for name in one))
    bits_s_N = np.array([time_s for time_s, _ in bits])
    bits_MN = np.array([[one.get(name, 0.0) for _, one in bits] for name in modalities])
    unit, word = (1000.0, "thousand bits") if bits_MN.sum(axis=0).max() > 2000.0 else (1.0, "bits")

    def draw(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[2.4, 0.3 * len(names)])
        colours = [light(modality_paint(name)) for name in modalities]
        upper.stackplot(bits_s_N, bits_MN / unit, colors=colours, linewidth=0.0, alpha=0.85)
        upper.set_ylabel(f"{word} per decision")
        upper.tick_params(axis="x", length=0.0)
        for phase, start_s, length_s in _stretches(phases):
            lower.broken_barh([(start_s, length_s)], (phase - 0.38, 0.76), color=light("blue"), linewidth=0.0)
        lower.set_yticks(range(len(names)), names)
        lower.set_ylim(len(names) - 0.5, -0.5)
        lower.set_ylabel("phase")
        if moment_s is not None:
            for axes in (upper, lower):
                axes.axvline(moment_s, color=light("ink"), linewidth=1.0, linestyle=(0, (3, 2)))
            upper.annotate("shown above", (moment_s, 1.0), (4, 2), xycoords=("data", "axes fraction"),
                           textcoords="offset points", fontsize=8.0)  # fmt: skip
        _clock_axis(lower, begin_s, end_s)
        figure.tight_layout(pad=0.4)
        figure.align_ylabels()

    return responsive(2.9 + 0.22 * len(names), "Bits of each modality and phase shown, over the episode", draw)


def _stretches(phases: Sequence[tuple[float, int]]) -> list[tuple[int, float, float]]:
    """Phase, start and length (seconds) of every run of equal phases; the last decision lasts as long as the first."""
    if not phases:
        return []
    time_s_N = np.array([time_s for time_s, _ in phases])
    phase_N = np.array([phase for _, phase in phases])
    first_N = np.flatnonzero(np.r_[True, np.diff(phase_N) != 0])
    step_s = time_s_N[1] - time_s_N[0] if len(time_s_N) > 1 else 10.0
    edge_s_N = np.r_[time_s_N[first_N], time_s_N[-1] + step_s]
    return [(int(phase_N[i]), float(a), float(b - a)) for i, a, b in zip(first_N, edge_s_N, edge_s_N[1:], strict=False)]


def _clock_axis(axes: Axes, begin_s: float, end_s: float) -> None:
    """Times of day on x, at most eight of them, four on a narrow figure."""
    figure = axes.figure
    most = 8 if figure.get_figwidth() > NARROW_IN else 4  # type: ignore[union-attr]
    steps_s = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
    step_s = next((step for step in steps_s if (end_s - begin_s) / step <= most), 21600)
    axes.xaxis.set_major_locator(MultipleLocator(step_s))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda time_s, _: clock(time_s)))
    axes.set_xlim(begin_s, end_s)


def radar_picture(frame: SensorFrame) -> Markup:
    """Power over range and range rate, in decibels above its median, averaged over the receivers."""
    seen = range_doppler(frame)
    order_V = np.argsort(seen.rate_V)
    power_VR = (np.abs(seen.spectrum_NVR) ** 2).mean(axis=0)[order_V]
    level_VR = 10.0 * np.log10(np.maximum(power_VR, 1e-20))
    level_VR -= np.median(level_VR)
    rate_V, half_m_s = seen.rate_V[order_V], float(seen.rate_V[order_V][1] - seen.rate_V[order_V][0]) / 2.0
    half_m = float(seen.range_R[1]) / 2.0
    extent = (rate_V[0] - half_m_s, rate_V[-1] + half_m_s, -half_m, float(seen.range_R[-1]) + half_m)

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.imshow(level_VR.T, cmap="magma", vmin=0.0, vmax=RADAR_DB, extent=extent, origin="lower",
                    aspect="auto", interpolation="none")  # fmt: skip
        axes.grid(visible=False)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.set_xlabel("range rate (m/s)")
        axes.set_ylabel("range (m)")
        figure.tight_layout(pad=0.3)

    return drawn(2.9, 2.7, f"Range and range rate seen by {frame.sensor}", draw)


def photograph(frame: SensorFrame, scale: int = 5) -> str:
    """A camera's picture, each pixel drawn as a square, as a data URI."""
    return data_uri(np.repeat(np.repeat(frame.data, scale, axis=0), scale, axis=1))
