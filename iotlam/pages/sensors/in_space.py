"""Readings in space: pictures, clouds of points and maps, and where the tokens with the bits are."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes

from iotlam.pages.drawing import light
from iotlam.pages.sensors.reading import Array, Reading, units_in_words

MOST_POINTS = 20_000
MOST_PIXELS = 360
DYNAMIC_DB = 45.0
"""What the darkest and brightest colour of a spectrum differ by."""


def picture(axes: Axes, reading: Reading, opacity: float = 1.0) -> None:
    """The newest picture."""
    data = reading.newest.data
    height, width = data.shape[:2]
    image = thinned(data if data.ndim == 2 or data.shape[2] > 1 else data[..., 0])
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)
    axes.imshow(image, extent=extent, alpha=opacity, interpolation="nearest", cmap="gray")
    axes.set(xlabel="column (pixel)", ylabel="row (pixel)")
    axes.grid(visible=False)


def bits_in_picture(axes: Axes, reading: Reading) -> None:
    """The picture, faint, and where in it the tokens' places are seen."""
    picture(axes, reading, opacity=0.35)
    pixel_TX, seen_T = _pixels(reading)
    height, width = reading.newest.data.shape[:2]
    _bubbles(axes, pixel_TX[seen_T], reading.bits_T[seen_T], reading.paint)
    axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5))


def sees_places(reading: Reading) -> bool:
    """Whether the picture has the calibration to say where in it a place on the ground is."""
    return reading.place_TX is not None and {"pose_site", "intrinsics"} <= reading.newest.meta.keys()


def points(axes: Axes, reading: Reading) -> None:
    """All points from above, coloured by height."""
    clouds = [frame.data[:, :3] @ frame.pose_site[:3, :3].T + frame.pose_site[:3, 3] for frame in reading.frames]
    place_N3 = np.concatenate(clouds)
    place_N3 = place_N3[np.isfinite(place_N3).all(1)]
    place_N3 = place_N3[:: max(len(place_N3) // MOST_POINTS, 1)]
    x_N, y_N, z_N = place_N3[np.argsort(place_N3[:, 2])].T
    low, high = np.percentile(z_N, (2.0, 98.0))
    cloud = axes.scatter(x_N, y_N, s=1.2, c=z_N, vmin=low, vmax=high, cmap="viridis", linewidths=0.0, rasterized=True)
    axes.figure.colorbar(cloud, ax=axes, label="height (m)", fraction=0.04, pad=0.02)
    _ground(axes, reading)


def bits_on_ground(axes: Axes, reading: Reading) -> None:
    """The tokens' places from above."""
    assert reading.place_TX is not None
    _bubbles(axes, reading.place_TX, reading.bits_T, reading.paint)
    _ground(axes, reading)


def bits_in_order(axes: Axes, reading: Reading) -> None:
    """A bar for each token, in the order of the tokens."""
    axes.bar(reading.looked_T, reading.bits_T, color=light(reading.paint), width=0.9)
    axes.set(xlabel="token", ylabel="bits per token", ylim=(0.0, max(1.08 * float(reading.bits_T.max()), 1.0)))


def level_map(axes: Axes, reading: Reading) -> None:
    """The last two dimensions, averaged over the others: magnitudes; of complex samples, their spectrum over both."""
    manifest, data = reading.manifest, reading.newest.data
    if data.dtype.kind == "c" and manifest.dims[-1] == "sample":
        level_RC, label, extent = _spectrum(data), "dB above the median", (-0.5, 0.5, -0.5, 0.5)
        bounds = (0.0, DYNAMIC_DB)
        words = [f"frequency (cycles per {dim})" for dim in manifest.dims[-2:]]
    else:
        level_RC = _mean_over_others(np.abs(data).astype(np.float64))
        label = f"magnitude ({units})" if (units := units_in_words(manifest)) else "magnitude"
        extent = (-0.5, level_RC.shape[1] - 0.5, -0.5, level_RC.shape[0] - 0.5)
        bounds = (float(level_RC.min()), float(level_RC.max()))
        words = list(manifest.dims[-2:])
    image = axes.imshow(thinned(level_RC), extent=extent, vmin=bounds[0], vmax=bounds[1], cmap="magma", origin="lower",
                        aspect="auto", interpolation="none")  # fmt: skip
    axes.figure.colorbar(image, ax=axes, label=label, fraction=0.04, pad=0.02)
    axes.set(xlabel=words[1], ylabel=words[0])
    axes.grid(visible=False)


def thinned(image: Array) -> Array:
    """At most so many pixels along each edge."""
    rows, columns = (max(-(-length // MOST_PIXELS), 1) for length in image.shape[:2])
    return image[::rows, ::columns]


def _spectrum(data: Array) -> Array:
    rows, columns = data.shape[-2:]
    weighted = np.nan_to_num(data) * np.hanning(rows)[:, None] * np.hanning(columns)
    power = np.abs(np.fft.fftshift(np.fft.fft2(weighted), axes=(-2, -1))) ** 2
    level_RC = 10.0 * np.log10(np.maximum(_mean_over_others(power), 1e-30))
    return np.asarray(level_RC - np.median(level_RC))


def _mean_over_others(values: Array) -> Array:
    return np.asarray(np.nan_to_num(values).reshape(-1, *values.shape[-2:]).mean(0))


def _pixels(reading: Reading) -> tuple[Array, Array]:
    """Pixels (T, 2) at which tokens' places on the ground are seen, and whether they are in the picture (T,)."""
    place_TX, frame = reading.place_TX, reading.newest
    assert place_TX is not None
    site_TX = np.column_stack([place_TX, np.zeros(len(place_TX)), np.ones(len(place_TX))])
    camera_TX = (site_TX @ np.linalg.inv(frame.pose_site).T)[:, :3]
    image_TX = camera_TX @ np.asarray(frame.meta["intrinsics"], dtype=np.float64).T
    pixel_TX = image_TX[:, :2] / np.maximum(image_TX[:, 2:], 1e-6)
    height, width = frame.data.shape[:2]
    seen_T = (image_TX[:, 2] > 0.0) & (pixel_TX >= -0.5).all(1) & (pixel_TX < (width - 0.5, height - 0.5)).all(1)
    return pixel_TX, seen_T


def _ground(axes: Axes, reading: Reading) -> None:
    """The stretch of ground with the tokens and the sensors, the same in all pictures of a reading."""
    masts_NX = np.array([frame.pose_site[:2, 3] for frame in reading.frames])
    axes.plot(*masts_NX.T, linestyle="", marker="^", markersize=6.0, color=light("ink"), markeredgewidth=0.0)
    axes.set(xlabel="east (m)", ylabel="north (m)", aspect="equal")
    axes.grid(axis="both")
    if reading.place_TX is not None:
        both_NX = np.concatenate([reading.place_TX, masts_NX])
        middle_X, half = (both_NX.min(0) + both_NX.max(0)) / 2.0, max(float(np.ptp(both_NX, axis=0).max()) / 2.0, 1.0)
        (west, south), (east, north) = middle_X - 1.08 * half, middle_X + 1.08 * half
        axes.set(xlim=(west, east), ylim=(south, north))


def _bubbles(axes: Axes, place_TX: Array, bits_T: Array, paint: str) -> None:
    """A circle for each token, its area as its bits; a dot for a token with hardly any."""
    axes.scatter(place_TX[:, 0], place_TX[:, 1], s=1.0, color=light("muted"), linewidths=0.0)
    most = max(float(bits_T.max(initial=0.0)), 1.0)
    order_T = np.argsort(-bits_T)[: int((bits_T > 0.01 * most).sum())]
    x_T, y_T = place_TX[order_T].T
    axes.scatter(x_T, y_T, s=90.0 * bits_T[order_T] / most, color=light(paint), alpha=0.55, linewidths=0.0)
