"""A 77 GHz FMCW radar: the beat signals of vehicles as point scatterers.

Each scatterer adds one complex exponential per axis (range over samples, Doppler over chirps, angle over receivers),
so a frame is one matrix product over scatterers. Model: Richards, "Fundamentals of Radar Signal Processing", ch. 2
(range equation) and Patole et al., "Automotive radars", IEEE Signal Processing Magazine 34(2), 2017.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame
from iotlam_street.caster import slab
from iotlam_street.scene import Boxes

Reals = NDArray[np.floating[Any]]

LIGHT_M_S = 299_792_458.0
_REFERENCE_RANGE_M, _REFERENCE_RCS_M2 = 50.0, 10.0
"""The rear of a car, for which `RadarConfig.snr_db` holds."""
_RCS_PER_AREA = 4.0
"""Radar cross-section per visible area of sheet metal: a car's rear (2.7 m2) gives about 10 m2."""


@dataclass(frozen=True, slots=True)
class RadarConfig:
    """Waveform and antennas.

    Attributes:
        carrier_hz: carrier frequency.
        bandwidth_hz: swept while sampling; range resolution is c / (2 bandwidth), 1 m.
        samples, chirps, receivers: per frame.
        sample_rate_hz: complex samples of the beat signal.
        chirp_period_s: start to start; velocities are unambiguous within wavelength / (4 period), 20 m/s.
        fov_deg: half angle at which the two-way gain has fallen by 6 dB; it is down 30 dB at 1.5 times that.
        max_range_m: farther scatterers are left out.
        snr_db: of the rear of a car at 50 m, after range and Doppler transforms of one receiver.
        noise: standard deviation of a complex sample; `snr_db` holds for 1, and 0 switches noise off.
        blocked_db: loss of a scatterer behind another vehicle.
        post_rcs_m2: cross-section of each roadside post, 0 for none.
    """

    carrier_hz: float = 77e9
    bandwidth_hz: float = 150e6
    samples: int = 128
    chirps: int = 32
    receivers: int = 4
    sample_rate_hz: float = 4e6
    chirp_period_s: float = 48.66e-6
    fov_deg: float = 30.0
    max_range_m: float = 110.0
    snr_db: float = 25.0
    noise: float = 1.0
    blocked_db: float = 20.0
    post_rcs_m2: float = 0.5

    @property
    def wavelength_m(self) -> float:
        """Wavelength of the carrier, metres."""
        return LIGHT_M_S / self.carrier_hz

    @property
    def spacing_m(self) -> float:
        """Distance between neighbouring receivers: half a wavelength."""
        return self.wavelength_m / 2.0


@dataclass(frozen=True, slots=True)
class _Scatterers:
    """T points: place (T, 3), velocity (T, 2), radar cross-section (T,), index of their box or -1 (T,)."""

    place_T3: Reals
    velocity_T2: Reals
    rcs_T: Reals
    box_T: NDArray[np.intp]


def radar_pose(place_3: Reals, yaw: float) -> NDArray[np.float64]:
    """Pose, 4 x 4, of a sensor with level boresight x, y left and z up.

    Args:
        place_3: site coordinates, metres.
        yaw: direction of the boresight, radians counter-clockwise from east.
    """
    pose = np.eye(4)
    pose[:2, :2] = [[np.cos(yaw), -np.sin(yaw)], [np.sin(yaw), np.cos(yaw)]]
    pose[:3, 3] = place_3
    return pose


def observe(
    boxes: Boxes, pose_site: NDArray[np.float64], config: RadarConfig, rng: np.random.Generator, t_ns: int, name: str
) -> SensorFrame:
    """One frame of beat signals.

    Args:
        boxes: what stands on the street.
        pose_site: 4 x 4, sensor (x boresight, y left, z up) to site, metres.
        config: waveform and antennas.
        rng: source of thermal noise.
        t_ns: time of the frame.
        name: `meta["sensor"]` of the frame.

    Returns:
        Frame with data complex64 (receivers, chirps, samples). Positive frequencies: over samples the range
        (f = 2 R slope / c), over chirps receding (f = 2 v / wavelength), over receivers, which run from left to
        right, scatterers left of boresight (f = spacing sin(azimuth) / wavelength).
    """
    seen = _in_view(_joined(_vehicles(boxes, pose_site), _posts(pose_site, config)), pose_site, config)
    shape = (config.receivers, config.chirps, config.samples)
    noise = rng.standard_normal((*shape, 2), dtype=np.float32).view(np.complex64)[..., 0]
    signal = _beat(seen, _blocked(seen, boxes, pose_site), pose_site, config)
    meta = {
        "sensor": name,
        "pose_site": pose_site,
        "carrier_hz": config.carrier_hz,
        "bandwidth_hz": config.bandwidth_hz,
        "sample_rate_hz": config.sample_rate_hz,
        "chirp_period_s": config.chirp_period_s,
        "spacing_m": config.spacing_m,
    }
    noise *= np.float32(config.noise / np.sqrt(2.0))
    noise += signal
    return SensorFrame(t_ns, noise, meta=meta)


def _beat(
    seen: _Scatterers, blocked_T: NDArray[np.bool_], pose: NDArray[np.float64], config: RadarConfig
) -> NDArray[np.complex64]:
    """Sum of the scatterers' beat signals, (receivers, chirps, samples)."""
    offset_T3 = seen.place_T3 - pose[:3, 3]
    range_T = np.linalg.norm(offset_T3, axis=1)
    recede_T = (seen.velocity_T2 * offset_T3[:, :2]).sum(axis=1) / range_T
    ahead_T, left_T = (offset_T3 @ pose[:3, :2] / range_T[:, None]).T
    off_axis_T = np.degrees(np.arccos(np.clip(ahead_T, -1.0, 1.0))) / config.fov_deg
    unit = np.sqrt(10.0 ** (config.snr_db / 10.0) / (config.samples * config.chirps))
    amplitude_T = unit * np.sqrt(seen.rcs_T / _REFERENCE_RCS_M2) * (_REFERENCE_RANGE_M / range_T) ** 2
    amplitude_T *= 2.0 ** -(off_axis_T**4) * np.where(blocked_T, 10.0 ** (-config.blocked_db / 20.0), 1.0)

    turn_T = np.mod(2.0 * range_T / config.wavelength_m, 1.0)
    sample_T = 2.0 * range_T * config.bandwidth_hz / LIGHT_M_S / config.samples
    chirp_T = 2.0 * recede_T * config.chirp_period_s / config.wavelength_m
    receiver_T = left_T * config.spacing_m / config.wavelength_m
    over_samples_TS = _turning(sample_T, config.samples).astype(np.complex64)
    over_chirps_CT = _turning(chirp_T, config.chirps).T
    over_receivers_RT = _turning(receiver_T, config.receivers).T * amplitude_T * np.exp(2j * np.pi * turn_T)
    slow_CRT = (over_chirps_CT[:, None, :] * over_receivers_RT).astype(np.complex64)
    return _small_products(slow_CRT, over_samples_TS).swapaxes(0, 1)


def _small_products(left_CRT: NDArray[np.complex64], right_TS: NDArray[np.complex64]) -> NDArray[np.complex64]:
    """`left_CRT @ right_TS` as real products, one per chirp.

    These are small enough that BLAS starts no threads: on a busy machine waiting for them costs ten times the work.
    """
    parts_CRT = np.concatenate([left_CRT.real, left_CRT.imag], axis=2)
    parts_TS = np.concatenate([right_TS, np.complex64(1j) * right_TS]).view(np.float32)
    return np.asarray(parts_CRT @ parts_TS).view(np.complex64)


def _turning(frequency_T: Reals, length: int) -> NDArray[np.complex128]:
    """Complex exponentials (T, length) of T frequencies in cycles per step."""
    return np.asarray(np.exp(2j * np.pi * frequency_T[:, None] * np.arange(length)))


def _vehicles(boxes: Boxes, pose: NDArray[np.float64]) -> _Scatterers:
    """Three points per box at half its height: middle of the visible end, of the visible side, and the corner between.

    Faces reflect by area times cosine of incidence; a face turned away reflects nothing.
    """
    cos_N, sin_N = np.cos(boxes.heading_N), np.sin(boxes.heading_N)
    axes_N22 = np.stack([cos_N, sin_N, -sin_N, cos_N], axis=1).reshape(-1, 2, 2)
    to_radar_N2 = np.einsum("nij,nj->ni", axes_N22, pose[:2, 3] - boxes.centre_N2)
    half_N2 = boxes.size_N3[:, :2] / 2.0
    visible_N2 = np.abs(to_radar_N2) > half_N2
    cosine_N2 = np.abs(to_radar_N2) / np.maximum(np.linalg.norm(to_radar_N2, axis=1, keepdims=True), 1e-3)
    area_N2 = boxes.size_N3[:, 1::-1] * boxes.size_N3[:, 2:]
    rcs_N2 = _RCS_PER_AREA * area_N2 * cosine_N2 * visible_N2
    corner_N2 = np.sign(to_radar_N2) * half_N2
    local_N32 = corner_N2[:, None, :] * np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    place_N32 = boxes.centre_N2[:, None, :] + np.einsum("npi,nij->npj", local_N32, axes_N22)
    rise_N31 = np.repeat(boxes.size_N3[:, None, 2:] / 2.0, 3, axis=1)
    return _Scatterers(
        np.concatenate([place_N32, rise_N31], axis=2).reshape(-1, 3),
        np.repeat(boxes.velocity_N2, 3, axis=0),
        np.concatenate([rcs_N2, 0.2 * rcs_N2.sum(axis=1, keepdims=True)], axis=1).ravel(),
        np.repeat(np.arange(len(boxes)), 3),
    )


def _posts(pose: NDArray[np.float64], config: RadarConfig) -> _Scatterers:
    """Static clutter: two rows of roadside posts, 9 m left and right of the boresight, every 16 m, 1 m high."""
    ahead, left = np.meshgrid(np.arange(20.0, config.max_range_m, 16.0), [-9.0, 9.0])
    local_T4 = np.stack([ahead.ravel(), left.ravel(), np.zeros(ahead.size), np.ones(ahead.size)], axis=1)
    place_T3 = (local_T4 @ pose.T)[:, :3]
    place_T3[:, 2] = 1.0
    return _Scatterers(
        place_T3, np.zeros((ahead.size, 2)), np.full(ahead.size, config.post_rcs_m2), np.full(ahead.size, -1)
    )


def _joined(one: _Scatterers, other: _Scatterers) -> _Scatterers:
    return _Scatterers(
        np.concatenate([one.place_T3, other.place_T3]),
        np.concatenate([one.velocity_T2, other.velocity_T2]),
        np.concatenate([one.rcs_T, other.rcs_T]),
        np.concatenate([one.box_T, other.box_T]),
    )


def _in_view(points: _Scatterers, pose: NDArray[np.float64], config: RadarConfig) -> _Scatterers:
    """Points that reflect, are near enough and within 1.5 times the nominal field of view."""
    offset_T3 = points.place_T3 - pose[:3, 3]
    range_T = np.linalg.norm(offset_T3, axis=1)
    widest = np.cos(np.radians(min(1.5 * config.fov_deg, 90.0)))
    kept_T = (points.rcs_T > 0.0) & (range_T < config.max_range_m) & (offset_T3 @ pose[:3, 0] > widest * range_T)
    return _Scatterers(points.place_T3[kept_T], points.velocity_T2[kept_T], points.rcs_T[kept_T], points.box_T[kept_T])


def _blocked(points: _Scatterers, boxes: Boxes, pose: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether another box stands between the radar and each point, (T,)."""
    offset_T3 = (points.place_T3 - pose[:3, 3]).astype(np.float32)
    range_h_T1 = np.linalg.norm(offset_T3[:, :2], axis=1, keepdims=True)
    met = slab(pose[:2, 3].astype(np.float32), offset_T3[:, :2] / range_h_T1, boxes)
    near_TN, far_TN = np.maximum(met.enter_AN, 0.0), np.minimum(met.leave_AN, range_h_T1)
    slope_T1 = offset_T3[:, 2:] / range_h_T1
    lowest_TN = pose[2, 3] + np.minimum(slope_T1 * near_TN, slope_T1 * far_TN)
    other_TN = points.box_T[:, None] != np.arange(len(boxes))
    return np.asarray(((far_TN > near_TN) & (lowest_TN < boxes.size_N3[:, 2]) & other_TN).any(axis=1))
