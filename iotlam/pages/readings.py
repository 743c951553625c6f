"""Pictures of readings, chosen by what the manifest says the data are; never by the modality's name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iotlam.contracts import ModalityManifest, SensorFrame, TokenBatch
from iotlam.pages.drawing import drawn, light, responsive
from iotlam.pages.streams import is_waveform, sample_times_s

Kind = Literal["picture", "points", "spectrogram", "waveform", "series", "map"]
Array = NDArray[Any]

PANEL_IN, TALL_IN = 4.4, 3.3
MOST_POINTS = 20_000
MOST_PIXELS = 480
MOST_SAMPLES = 4_000
SPECTRUM_COLUMNS = 240
DYNAMIC_DB = 60.0


@dataclass(frozen=True)
class Reading:
    """One window of a modality with its tokens and their bits.

    Attributes:
        manifest: of the modality.
        frames: the window.
        tokens: its tokens, B = 1.
        looked_T: indices of the tokens that bits are known of.
        bits_T: bits of each of those.
        paint: name of the modality's colour.
    """

    manifest: ModalityManifest
    frames: Sequence[SensorFrame]
    tokens: TokenBatch
    looked_T: Array
    bits_T: Array
    paint: str

    @property
    def newest(self) -> SensorFrame:
        """The last reading of the first sensor."""
        first = min(frame.sensor for frame in self.frames)
        return max((frame for frame in self.frames if frame.sensor == first), key=lambda frame: frame.t_ns)

    @property
    def now_s(self) -> float:
        """Time of the newest reading, on the clock of `t_ns`, seconds; the times of tokens are relative to it."""
        return max(frame.t_ns for frame in self.frames) / 1e9

    @property
    def time_T(self) -> Array:
        """Times of the tokens, seconds after now."""
        return np.asarray(self.tokens.time_BT[0].numpy()[self.looked_T])

    @property
    def place_TX(self) -> Array | None:
        """Places of the tokens, metres; None where they have none."""
        place_BTX = self.tokens.position_BTX
        return None if place_BTX is None else np.asarray(place_BTX[0].numpy()[self.looked_T])


def kind_of(manifest: ModalityManifest) -> Kind:
    """What picture suits the data of a modality."""
    dims, shape = manifest.dims, manifest.shape
    if dims[:2] == ("row", "column") and (len(dims) == 2 or (len(dims) == 3 and shape[2] in (1, 3, 4))):
        return "picture"
    if dims[0] == "point" and manifest.units[:3] in (("m", "m", "m"), ("m",)):
        return "points"
    if is_waveform(manifest) and len(dims) <= 2:
        return "spectrogram" if manifest.dtype.startswith("complex") else "waveform"
    return "series" if len(dims) == 1 else "map"


def pictures_of(reading: Reading) -> list[Markup]:
    """The reading, and its tokens with their bits: in one picture over time, or in two side by side."""
    kind = kind_of(reading.manifest)
    if kind in ("spectrogram", "waveform", "series"):
        return [_over_time(reading, {"spectrogram": _spectrogram, "waveform": _waveform}.get(kind, _series))]
    left = {"picture": _picture, "points": _points}.get(kind, _map)
    right = _bits_in_picture if kind == "picture" and sees_places(reading) else _bits_on_ground
    if reading.place_TX is None:
        right = _bits_in_order
    name = reading.manifest.name
    return [
        drawn(PANEL_IN, TALL_IN, f"Reading of {name}", lambda figure: _fill(figure, left, reading)),
        drawn(PANEL_IN, TALL_IN, f"Bits of the tokens of {name}", lambda figure: _fill(figure, right, reading)),
    ]


def _fill(figure: Figure, draw: Callable[[Axes, Reading], None], reading: Reading) -> None:
    draw(figure.subplots(), reading)
    figure.tight_layout(pad=0.4)


# Over time: the reading above, the bits of its tokens below, on one axis.


def _over_time(reading: Reading, draw: Callable[[Axes, Reading], None]) -> Markup:
    def fill(figure: Figure) -> None:
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.8, 1.0])
        draw(upper, reading)
        upper.tick_params(axis="x", length=0.0)
        lower.vlines(reading.time_T, 0.0, reading.bits_T, color=light(reading.paint), linewidth=1.2)
        lower.plot(reading.time_T, reading.bits_T, ".", color=light(reading.paint), markersize=4.0)
        lower.set(ylim=(0.0, None), ylabel="bits per token", xlabel="time (s), 0 is the newest reading")
        figure.tight_layout(pad=0.4)
        figure.align_ylabels()

    return responsive(3.6, f"{reading.manifest.name} over time, and the bits of its tokens", fill)


def _waveform(axes: Axes, reading: Reading) -> None:
    frame = reading.newest
    data_NC = frame.data.reshape(len(frame.data), -1)
    time_N = sample_times_s(reading.manifest, frame) - reading.now_s
    thin = slice(None, None, max(len(time_N) // MOST_SAMPLES, 1))
    shades = _shades(reading.paint, data_NC.shape[1])
    names = reading.manifest.dims[1:] or ("",)
    for channel, (colour, alpha) in enumerate(shades):
        label = f"{names[0]} {channel + 1}" if len(shades) > 1 else None
        axes.plot(time_N[thin], data_NC[thin, channel], color=colour, alpha=alpha, linewidth=0.6, label=label)
    axes.set_ylabel(_quantity(reading.manifest))
    if len(shades) > 1:
        axes.legend(frameon=False, fontsize=8.0, ncols=len(shades), loc="upper left", borderpad=0.1)


def _shades(paint: str, count: int) -> list[tuple[str, float]]:
    """Colours of a waveform's channels."""
    others = [name for name in ("charcoal", "grey", "blue", "olive", "purple") if name != paint]
    return [(light(([paint, *others])[index % 6]), 0.9) for index in range(count)]


def _spectrogram(axes: Axes, reading: Reading) -> None:
    frame = reading.newest
    time_N = sample_times_s(reading.manifest, frame) - reading.now_s
    rate_hz = float(frame.meta.get("rate_hz", 1.0))
    level_FS = _levels(frame.data.reshape(len(frame.data), -1)[:, 0])
    scale, unit = next((s, u) for s, u in ((1e6, "MHz"), (1e3, "kHz"), (1.0, "Hz")) if rate_hz >= s or s == 1.0)
    half = rate_hz / 2.0 / scale
    axes.imshow(level_FS, extent=(time_N[0], time_N[-1], -half, half), origin="lower", aspect="auto", cmap="magma",
                vmin=0.0, vmax=DYNAMIC_DB, interpolation="none")  # fmt: skip
    axes.grid(visible=False)
    axes.set_ylabel(f"frequency ({unit})")


def _levels(signal_N: Array) -> Array:
    """Short-time spectrum (frequency, time) in decibels above its median: Hann windows, half overlapping."""
    size = int(2 ** np.clip(np.floor(np.log2(max(len(signal_N), 2) / 32)), 4, 8))
    starts = np.unique(np.linspace(0, max(len(signal_N) - size, 0), SPECTRUM_COLUMNS).astype(int))
    padded_N = np.pad(signal_N, (0, max(size - len(signal_N), 0)))
    part_SN = np.nan_to_num(padded_N[starts[:, None] + np.arange(size)]) * np.hanning(size)
    power_SF = np.abs(np.fft.fftshift(np.fft.fft(part_SN, axis=1), axes=1)) ** 2
    level_SF = 10.0 * np.log10(np.maximum(power_SF, 1e-30))
    return np.asarray((level_SF - np.median(level_SF)).T)


def _series(axes: Axes, reading: Reading) -> None:
    frames = sorted((f for f in reading.frames if f.sensor == reading.newest.sensor), key=lambda f: f.t_ns)
    time_N = np.array([frame.t_ns for frame in frames]) / 1e9 - reading.now_s
    length = min(len(frame.data) for frame in frames)
    data_NC = np.stack([frame.data[:length] for frame in frames])
    for channel, (colour, alpha) in enumerate(_shades(reading.paint, min(length, 6))):
        axes.plot(time_N, data_NC[:, channel], "-o", color=colour, alpha=alpha, linewidth=1.2, markersize=2.5)
    axes.set_ylabel(_quantity(reading.manifest))


# In space: the reading left, the bits of its tokens right.


def _picture(axes: Axes, reading: Reading, faint: float = 1.0) -> None:
    image = _thinned(reading.newest.data)
    height, width = reading.newest.data.shape[:2]
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(image.squeeze(), extent=extent, alpha=faint, interpolation="nearest", cmap="gray")
    axes.set(xlabel="column (pixel)", ylabel="row (pixel)")
    axes.grid(visible=False)


def _bits_in_picture(axes: Axes, reading: Reading) -> None:
    """Where in the picture the tokens' places are seen."""
    _picture(axes, reading, faint=0.35)
    pixel_TX, seen_T = _pixels(reading)
    height, width = reading.newest.data.shape[:2]
    _bubbles(axes, pixel_TX[seen_T], reading.bits_T[seen_T], reading.paint)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def sees_places(reading: Reading) -> bool:
    """Whether the picture has the calibration to say where in it a place on the ground is."""
    return reading.place_TX is not None and {"pose_site", "intrinsics"} <= reading.newest.meta.keys()


def _pixels(reading: Reading) -> tuple[Array, Array]:
    """Pixels (T, 2) at which tokens' places on the ground are seen, and whether they are in the picture (T,)."""
    place_TX = reading.place_TX
    assert place_TX is not None
    frame = reading.newest
    site_TX = np.column_stack([place_TX, np.zeros(len(place_TX)), np.ones(len(place_TX))])
    camera_TX = (site_TX @ np.linalg.inv(frame.pose_site).T)[:, :3]
    image_TX = camera_TX @ np.asarray(frame.meta["intrinsics"], dtype=np.float64).T
    pixel_TX = image_TX[:, :2] / np.maximum(image_TX[:, 2:], 1e-6)
    height, width = frame.data.shape[:2]
    seen_T = (image_TX[:, 2] > 0.0) & (pixel_TX >= -0.5).all(1) & (pixel_TX < (width - 0.5, height - 0.5)).all(1)
    return pixel_TX, seen_T


def _points(axes: Axes, reading: Reading) -> None:
    clouds = [frame.data[:, :3] @ frame.pose_site[:3, :3].T + frame.pose_site[:3, 3] for frame in reading.frames]
    place_N3 = np.concatenate(clouds)
    place_N3 = place_N3[np.isfinite(place_N3).all(1)]
    place_N3 = place_N3[:: max(len(place_N3) // MOST_POINTS, 1)]
    place_N3 = place_N3[np.argsort(place_N3[:, 2])]
    low, high = np.percentile(place_N3[:, 2], (2.0, 98.0))
    drawn_points = axes.scatter(place_N3[:, 0], place_N3[:, 1], s=1.2, c=place_N3[:, 2], vmin=low, vmax=high,
                                cmap="viridis", linewidths=0.0, rasterized=True)  # fmt: skip
    axes.figure.colorbar(drawn_points, ax=axes, label="height (m)", fraction=0.04, pad=0.02)
    _ground(axes, reading)


def _bits_on_ground(axes: Axes, reading: Reading) -> None:
    assert reading.place_TX is not None
    _bubbles(axes, reading.place_TX, reading.bits_T, reading.paint)
    _ground(axes, reading)


def _ground(axes: Axes, reading: Reading) -> None:
    """The same stretch of ground in both pictures: where the tokens are, and the sensors."""
    place_TX = reading.place_TX
    masts_NX = np.array([frame.pose_site[:2, 3] for frame in reading.frames])
    axes.plot(*masts_NX.T, linestyle="", marker="^", markersize=6.0, color=light("ink"), markeredgewidth=0.0)
    axes.set(xlabel="east (m)", ylabel="north (m)", aspect="equal")
    axes.grid(axis="both")
    if place_TX is not None:
        both_NX = np.concatenate([place_TX, masts_NX])
        middle_X, half = (both_NX.min(0) + both_NX.max(0)) / 2.0, max(float(np.ptp(both_NX, axis=0).max()) / 2.0, 1.0)
        (west, south), (east, north) = middle_X - 1.06 * half, middle_X + 1.06 * half
        axes.set(xlim=(west, east), ylim=(south, north))


def _bubbles(axes: Axes, place_TX: Array, bits_T: Array, paint: str) -> None:
    """A circle for each token, its area as its bits; a dot for a token without any."""
    axes.scatter(place_TX[:, 0], place_TX[:, 1], s=1.0, color=light("muted"), linewidths=0.0)
    most = max(float(bits_T.max(initial=0.0)), 1e-9)
    order_T = np.argsort(-bits_T)[: int((bits_T > 0.01 * most).sum())]
    x_T, y_T = place_TX[order_T].T
    axes.scatter(x_T, y_T, s=90.0 * bits_T[order_T] / most, color=light(paint), alpha=0.55, linewidths=0.0)


def _bits_in_order(axes: Axes, reading: Reading) -> None:
    axes.bar(reading.looked_T, reading.bits_T, color=light(reading.paint), width=0.9)
    axes.set(xlabel="token", ylabel="bits per token", ylim=(0.0, None))


def _map(axes: Axes, reading: Reading) -> None:
    """Magnitude over the last two dimensions, averaged over the others."""
    frame, manifest = reading.newest, reading.manifest
    magnitude = np.abs(frame.data.astype(np.complex128 if frame.data.dtype.kind == "c" else np.float64))
    flat_RC = np.nanmean(magnitude.reshape(-1, *magnitude.shape[-2:]), axis=0)
    label = f"magnitude ({_unit(manifest)})" if _unit(manifest) else "magnitude"
    image = axes.imshow(_thinned(flat_RC), extent=(-0.5, flat_RC.shape[1] - 0.5, -0.5, flat_RC.shape[0] - 0.5),
                        cmap="magma", origin="lower", aspect="auto", interpolation="none")  # fmt: skip
    axes.figure.colorbar(image, ax=axes, label=label, fraction=0.04, pad=0.02)
    axes.set(xlabel=manifest.dims[-1], ylabel=manifest.dims[-2])
    axes.grid(visible=False)


def _thinned(image: Array) -> Array:
    """At most so many pixels along each edge."""
    rows, columns = (max(-(-length // MOST_PIXELS), 1) for length in image.shape[:2])
    return image[::rows, ::columns]


def _unit(manifest: ModalityManifest) -> str:
    units = tuple(dict.fromkeys(unit for unit in manifest.units if unit != "/"))
    return ", ".join(units)


def _quantity(manifest: ModalityManifest) -> str:
    return f"reading ({_unit(manifest)})" if _unit(manifest) else "reading"
