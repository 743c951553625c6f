"""Readings over time above the bits of their tokens, on one axis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from iotlam.pages.drawing import drawn, light
from iotlam.pages.sensors.reading import PANEL_IN, TALL_IN, Array, Reading
from iotlam.pages.sensors.streams import sample_times_s

MOST_SAMPLES = 1_200
MOST_CHANNELS = 6
SPECTRUM_COLUMNS = 240
DYNAMIC_DB = 60.0
"""What the darkest and brightest colour of a spectrogram differ by."""

Draw = Callable[[Axes, Reading, float], None]
"""Draws a reading; told how many units of the time axis a second is."""


def over_time(reading: Reading, draw: Draw) -> Markup:
    """A reading as `draw` draws it, and the bits of its tokens below."""
    per_s, unit = _scale(_length_s(reading), ((1.0, "s"), (1e3, "ms"), (1e6, "µs")))

    def fill(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.8, 1.0])
        draw(upper, reading, per_s)
        upper.tick_params(axis="x", length=0.0)
        colour = light(reading.paint)
        lower.vlines(per_s * reading.time_T, 0.0, reading.bits_T, color=colour, linewidth=1.2)
        lower.plot(per_s * reading.time_T, reading.bits_T, ".", color=colour, markersize=4.0)
        lower.set_ylim(0.0, max(1.08 * float(reading.bits_T.max(initial=0.0)), 1.0))
        lower.set(ylabel="bits per token", xlabel=f"time after the newest reading ({unit})")
        for _ in range(2):  # the first fit may change the ticks, and with them the room that they need
            figure.tight_layout(pad=0.4)

    return drawn(PANEL_IN, TALL_IN, f"{reading.manifest.name} over time, and the bits of its tokens", fill)


def waveform(axes: Axes, reading: Reading, per_s: float) -> None:
    """Samples of all channels."""
    frame = reading.newest
    data_NC = frame.data.reshape(len(frame.data), -1)
    time_N = per_s * sample_times_s(reading.manifest, frame, reading.now_ns)
    _lines(axes, *_envelope(time_N, data_NC), reading, {"linewidth": 0.6})


def series(axes: Axes, reading: Reading, per_s: float) -> None:
    """One reading after another."""
    frames = reading.of_one_sensor
    time_N = per_s * np.array([(frame.t_ns - reading.now_ns) / 1e9 for frame in frames])
    length = min(len(frame.data) for frame in frames)
    data_NC = np.stack([frame.data[:length] for frame in frames])
    _lines(axes, time_N, data_NC, reading, {"linewidth": 1.2, "marker": "o", "markersize": 2.5})


def spectrogram(axes: Axes, reading: Reading, per_s: float) -> None:
    """Power over time and frequency, in decibels above its median."""
    frame = reading.newest
    time_N = per_s * sample_times_s(reading.manifest, frame, reading.now_ns)
    rate_hz = float(frame.meta.get("rate_hz", 1.0))
    per_hz, unit = _scale(rate_hz, ((1e-6, "MHz"), (1e-3, "kHz"), (1.0, "Hz")))
    half = rate_hz * per_hz / 2.0
    level_FS = _levels(frame.data.reshape(len(frame.data), -1)[:, 0])
    axes.imshow(level_FS, extent=(time_N[0], time_N[-1], -half, half), origin="lower", aspect="auto", cmap="magma",
                vmin=0.0, vmax=DYNAMIC_DB, interpolation="none")  # fmt: skip
    axes.grid(visible=False)
    centre_hz = float(frame.meta.get("centre_hz", 0.0))
    axes.set_ylabel(f"{unit} from {centre_hz / 1e6:,.7g} MHz" if centre_hz else f"frequency ({unit})")


def _envelope(time_N: Array, data_NC: Array) -> tuple[Array, Array]:
    """Few enough samples to draw: of each stretch the least and the greatest value of each channel."""
    stretch = -(-2 * len(time_N) // MOST_SAMPLES)
    if stretch <= 2:
        return time_N, data_NC
    whole = len(time_N) // stretch * stretch
    data_MSC = data_NC[:whole].reshape(-1, stretch, data_NC.shape[1])
    both_M2C = np.stack([np.nanmin(data_MSC, axis=1), np.nanmax(data_MSC, axis=1)], axis=1)
    return np.repeat(time_N[:whole:stretch], 2), both_M2C.reshape(-1, data_NC.shape[1])


def _lines(axes: Axes, time_N: Array, data_NC: Array, reading: Reading, style: Any) -> None:
    paints = [reading.paint, *(paint for paint in ("charcoal", "grey", "blue", "olive", "purple", "orange")
                               if paint != reading.paint)]  # fmt: skip
    count = min(data_NC.shape[1], MOST_CHANNELS)
    dim = reading.manifest.dims[-1]
    for channel, paint in enumerate(paints[:count]):
        axes.plot(time_N, data_NC[:, channel], color=light(paint), label=f"{dim} {channel + 1}", **style)
    axes.set_ylabel(reading.quantity)
    if count > 1:
        axes.legend(
            frameon=False, fontsize=8.0, ncols=count, loc="lower left", bbox_to_anchor=(0.0, 1.0), borderpad=0.1
        )


def _length_s(reading: Reading) -> float:
    """How far back the reading and its tokens go, seconds."""
    frames = reading.of_one_sensor
    within_s = (len(frames[-1].data) - 1) / float(frames[-1].meta.get("rate_hz", np.inf))
    return max(within_s, (frames[-1].t_ns - frames[0].t_ns) / 1e9, -float(reading.time_T.min()))


def _scale(value: float, units: tuple[tuple[float, str], ...]) -> tuple[float, str]:
    """The first unit in which a value is one or more, else the last."""
    return next(((factor, name) for factor, name in units if value * factor >= 0.999), units[-1])


def _levels(signal_N: Array) -> Array:
    """Short-time spectrum (frequency, time) through Hann windows, in decibels above its median."""
    size = int(2 ** np.clip(np.floor(np.log2(max(len(signal_N), 2) / 32)), 4, 8))
    starts = np.unique(np.linspace(0, max(len(signal_N) - size, 0), SPECTRUM_COLUMNS).astype(int))
    padded_N = np.pad(signal_N, (0, max(size - len(signal_N), 0)))
    part_SN = np.nan_to_num(padded_N[starts[:, None] + np.arange(size)]) * np.hanning(size)
    power_SF = np.abs(np.fft.fftshift(np.fft.fft(part_SN, axis=1), axes=1)) ** 2
    level_SF = 10.0 * np.log10(np.maximum(power_SF, 1e-30))
    return np.asarray((level_SF - np.median(level_SF)).T)
