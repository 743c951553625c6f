"""Charts and pictures of the page: matplotlib's SVG whose colours are CSS variables, and PNG in data URIs."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping, Sequence
from io import BytesIO, StringIO
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imsave
from matplotlib.ticker import FuncFormatter, MaxNLocator, MultipleLocator
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame
from iotlam_radar.fmcw import range_doppler
from iotlam_street.metrics import TripMetrics

PAINT = {
    "page": ("#fdfdfc", "#14171b"),
    "ink": ("#1a1e24", "#e8eaed"),
    "muted": ("#5b6570", "#a3adb8"),
    "rule": ("#dfe3e8", "#333a43"),
    "road": ("#e9ecef", "#272d34"),
    "soft": ("#eef5fa", "#1a2834"),
    "ours": ("#0072b2", "#4aa8e0"),
    "fixed": ("#8b929b", "#8d96a1"),
    "actuated": ("#3b424b", "#d5dae0"),
    "greedy": ("#e69f00", "#f0b02e"),
    "pressure": ("#cc79a7", "#d98fb8"),
    "other": ("#9a8c00", "#f0e442"),
    "lidar": ("#56b4e9", "#56b4e8"),
    "radar": ("#d55e00", "#ef7f2c"),
    "video": ("#009e73", "#1fb98c"),
    "go": ("#0b8a5f", "#2fc993"),
    "stop": ("#b5403a", "#d9635c"),
    "height0": ("#46327e", "#7b62c4"),
    "height1": ("#365c8d", "#5a8fd0"),
    "height2": ("#277f8e", "#3fb0bf"),
    "height3": ("#1fa187", "#4fd0a8"),
    "height4": ("#8fc93a", "#c3e55a"),
}
"""Colours by name, on light and on dark: Okabe and Ito's for what is compared, viridis for heights."""

DASHES = {"ours": "", "fixed": "", "actuated": "2 2", "greedy": "7 2", "pressure": "7 2 2 2", "other": "4 3"}
"""Strokes and gaps of each controller's line, in line widths, so that it is told apart without colour."""

_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "iotlam",
    "font.size": 9.0,
    "text.color": PAINT["ink"][0],
    "axes.edgecolor": PAINT["rule"][0],
    "axes.labelcolor": PAINT["muted"][0],
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": PAINT["rule"][0],
    "grid.linewidth": 0.6,
    "xtick.color": PAINT["muted"][0],
    "ytick.color": PAINT["muted"][0],
    "xtick.major.size": 3.0,
    "ytick.major.size": 0.0,
    "lines.solid_capstyle": "round",
}
_VARIABLE = {light: f"var(--{name})" for name, (light, _) in PAINT.items()}
_NOISE = re.compile(r'<metadata>.*?</metadata>|<!--.*?-->|(?<=<g) id="[^"]*"', re.DOTALL)
"""Dates, comments, and names of groups, which would not be unique on the page."""

WIDE_IN, NARROW_IN = 9.2, 4.3
BIN_S = 300.0
RADAR_DB = 45.0
"""What the darkest and brightest colour of a radar picture differ by."""


def light(name: str) -> str:
    """The colour that becomes the CSS variable of that name."""
    return PAINT[name][0]


def controller_paint(name: str) -> str:
    """Name of a controller's colour."""
    known = {"iotlam": "ours", "max-pressure": "pressure"}.get(name, name)
    return known if known in DASHES else "other"


def modality_paint(name: str) -> str:
    """Name of a modality's colour."""
    return name if name in ("lidar", "radar", "video") else "other"


def clock(time_s: float, seconds: bool = False) -> str:
    """Seconds since midnight as hh:mm or hh:mm:ss."""
    whole = round(time_s)
    text = f"{whole // 3600:02d}:{whole // 60 % 60:02d}"
    return f"{text}:{whole % 60:02d}" if seconds else text


def drawn(width_in: float, height_in: float, label: str, draw: Callable[[Figure], None]) -> Markup:
    """An inline SVG that scales with its container and takes the page's font and colours.

    Args:
        width_in: width at which text has its nominal size, inches.
        height_in: height, inches.
        label: what it shows, for readers who do not see it.
        draw: fills the figure.
    """
    with matplotlib.rc_context(_STYLE):
        figure, text = Figure((width_in, height_in)), StringIO()
        draw(figure)
        figure.savefig(text, format="svg", transparent=True)
    svg = _NOISE.sub("", text.getvalue()[text.getvalue().index("<svg") :])
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', _opening(label), svg, count=1)
    return Markup(re.sub(r"#[0-9a-f]{6}\b", lambda match: _VARIABLE.get(match[0], match[0]), svg))


def _opening(label: str) -> str:
    names = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return rf'<svg {names} \1 role="img" aria-label="{escape(label)}">'


def responsive(height_in: float, label: str, draw: Callable[[Figure], None]) -> Markup:
    """A chart drawn twice: for a page, and for a phone."""
    return Markup('<div class="wide">{}</div><div class="narrow" aria-hidden="true">{}</div>').format(
        drawn(WIDE_IN, height_in, label, draw), drawn(NARROW_IN, height_in, label, draw)
    )


def delay_chart(trips: Mapping[str, TripMetrics], begin_s: float, duration_s: float) -> Markup:
    """Mean delay by scheduled departure, one line per controller."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name in sorted(trips, key=lambda name: name == "iotlam"):
            delay_s_N = trips[name].delay_by_departure(BIN_S, duration_s)
            paint = controller_paint(name)
            dash = tuple(float(part) for part in DASHES[paint].split())
            axes.plot(
                begin_s + (np.arange(len(delay_s_N)) + 0.5) * BIN_S,
                delay_s_N,
                color=light(paint),
                linewidth=2.8 if name == "iotlam" else 1.6,
                linestyle=(0, dash) if dash else "-",
                marker="o",
                markersize=4.5 if name == "iotlam" else 2.5,
            )
        axes.set_ylim(bottom=0.0)
        axes.set_ylabel("mean delay (s)")
        axes.set_xlabel("scheduled departure")
        _clock_axis(axes, begin_s, begin_s + duration_s)
        figure.tight_layout(pad=0.4)

    return responsive(3.1, "Mean delay by scheduled departure, one line per controller", draw)


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
            lower.broken_barh([(start_s, length_s)], (phase - 0.38, 0.76), color=light("ours"), linewidth=0.0)
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


def data_uri(image_HWC: NDArray[np.uint8]) -> str:
    """PNG in a data URI."""
    png = BytesIO()
    imsave(png, image_HWC, format="png")
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()


def gradient(name: str) -> str:
    """CSS of one of matplotlib's colour maps, left to right."""
    colours: Any = (matplotlib.colormaps[name](np.linspace(0.0, 1.0, 9))[:, :3] * 255.0).round().astype(int)
    return f"linear-gradient(90deg, {', '.join('rgb({} {} {})'.format(*colour) for colour in colours)})"
