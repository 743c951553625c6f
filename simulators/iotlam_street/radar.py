"""A 77 GHz FMCW radar: the beat signals of vehicles as point scatterers.

Each scatterer adds one complex exponential per axis (range over samples, Doppler over chirps, angle over receivers),
so a frame is one matrix product over scatterers. Model: Richards, "Fundamentals of Radar Signal Processing", ch. 2
(range equation) and Patole et al., "Automotive radars", IEEE Signal Processing Magazine 34(2), 2017.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame
from iotlam_street.caster import slab
from iotlam_street.noise import complex_noise, drawn
from iotlam_street.scene import Boxes
from iotlam_street.weather import CLEAR, Weather

Reals = NDArray[np.floating[Any]]

LIGHT_M_S = 299_792_458.0
_REFERENCE_RANGE_M, _REFERENCE_RCS_M2 = 50.0, 10.0
"""The rear of a car, for which `RadarConfig.snr_db` holds."""
_POINTS = 3
"""Scattering points per vehicle."""
_RCS_PER_AREA = 4.0
"""Radar cross-section per visible area of sheet metal: a car's rear (2.7 m2) gives about 10 m2."""


@dataclass(frozen=True, slots=True)
class RadarConfig:
    """Waveform and antennas.

    Attributes:
        carrier_hz: carrier frequency.
        bandwidth_hz: swept while sampling; range resolution is c / (2 bandwidth), 1.5 m.
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
    bandwidth_hz: float = 100e6
    samples: int = 128
    chirps: int = 32
    receivers: int = 4
    sample_rate_hz: float = 4e6
    chirp_period_s: float = 48.66e-6
    fov_deg: float = 30.0
    max_range_m: float = 160.0
    snr_db: float = 35.0
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
    """T points, each seen by one radar, in order of the radars.

    Attributes:
        radar_T: index of the radar.
        box_T: index of the point's box, -1 for a post.
        offset_T3: from the radar, metres.
        velocity_T2: metres per second.
        rcs_T: radar cross-section, m2.
    """

    radar_T: NDArray[np.intp]
    box_T: NDArray[np.intp]
    offset_T3: Reals
    velocity_T2: Reals
    rcs_T: Reals


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


class Radars:
    """S radars that stay where they are.

    Args:
        pose_site: name of each radar (`meta["sensor"]` of its frames) and its pose, 4 x 4, sensor (x boresight, y left,
            z up) to site, metres.
        config: waveform and antennas, the same for all.
        weather: what is in their way.
    """

    def __init__(
        self,
        pose_site: Mapping[str, NDArray[np.float64]],
        config: RadarConfig | None = None,
        weather: Weather = CLEAR,
    ) -> None:
        self._config = config = config or RadarConfig()
        self._rain_db_per_m = 2.0 * weather.radio_db_per_m
        self._pose_S44 = np.array(list(pose_site.values()), np.float64).reshape(-1, 4, 4)
        shape = (2, len(pose_site), config.receivers, config.chirps, config.samples)
        self._scratch_2SRCF = np.empty(shape, np.float32)  # fresh memory costs more than what is computed in it
        self._noise_N = complex_noise(config.noise, self._scratch_2SRCF[0].size)
        self._post_SQ3 = _posts(self._pose_S44, config) - self._pose_S44[:, None, :3, 3]
        shared = {
            "carrier_hz": config.carrier_hz,
            "bandwidth_hz": config.bandwidth_hz,
            "sample_rate_hz": config.sample_rate_hz,
            "chirp_period_s": config.chirp_period_s,
            "spacing_m": config.spacing_m,
        }
        self._metas = [{"sensor": name, "pose_site": pose, **shared} for name, pose in pose_site.items()]

    def observe(self, boxes: Boxes, t_ns: int, rng: np.random.Generator) -> list[SensorFrame]:
        """One frame of beat signals of each radar.

        Args:
            boxes: what stands on the street.
            t_ns: time of the frames.
            rng: source of thermal noise.

        Returns:
            Frames with data complex64 (receivers, chirps, samples). Positive frequencies: over samples the range
            (f = 2 R slope / c), over chirps receding (f = 2 v / wavelength), over receivers, which run from left to
            right, scatterers left of boresight (f = spacing sin(azimuth) / wavelength).
        """
        config = self._config
        shape = (len(self._metas), config.receivers, config.chirps, config.samples)
        cubes_SRCF = drawn(self._noise_N, shape, rng).copy()
        seen = self._in_view(boxes)
        self._add_beats(cubes_SRCF, seen, self._blocked(seen, boxes))
        return [SensorFrame(t_ns, cubes_SRCF[s], meta=meta) for s, meta in enumerate(self._metas)]

    def _in_view(self, boxes: Boxes) -> _Scatterers:
        """Points that reflect, are near enough and within 1.5 times the nominal field of view."""
        config, posts = self._config, self._post_SQ3.shape[1]
        offset_SV3, rcs_SV = _vehicles(boxes, self._pose_S44)
        offset_SM3 = np.concatenate([offset_SV3, self._post_SQ3], axis=1)
        rcs_SM = np.concatenate([rcs_SV, np.full(self._post_SQ3.shape[:2], config.post_rcs_m2)], axis=1)
        range_SM = np.sqrt((offset_SM3**2).sum(axis=2))
        ahead_SM = np.einsum("smi,si->sm", offset_SM3, self._pose_S44[:, :3, 0])
        widest = np.cos(np.radians(min(1.5 * config.fov_deg, 90.0)))
        s_T, m_T = np.nonzero((rcs_SM > 0.0) & (range_SM < config.max_range_m) & (ahead_SM > widest * range_SM))
        box_M = np.append(np.repeat(np.arange(len(boxes)), _POINTS), np.full(posts, -1))
        velocity_M2 = np.concatenate([np.repeat(boxes.velocity_N2, _POINTS, axis=0), np.zeros((posts, 2), np.float32)])
        return _Scatterers(s_T, box_M[m_T], offset_SM3[s_T, m_T], velocity_M2[m_T], rcs_SM[s_T, m_T])

    def _blocked(self, seen: _Scatterers, boxes: Boxes) -> NDArray[np.bool_]:
        """Whether another box stands between the radar and each point, (T,)."""
        offset_T3, place_T3 = seen.offset_T3.astype(np.float32), self._pose_S44[seen.radar_T, :3, 3].astype(np.float32)
        range_h_T1 = np.linalg.norm(offset_T3[:, :2], axis=1, keepdims=True)
        pairs = slab(place_T3[:, :2], offset_T3[:, :2] / range_h_T1, boxes)
        slope_P, height_P = (offset_T3[:, 2:] / range_h_T1)[pairs.ray_P, 0], place_T3[pairs.ray_P, 2]
        near_P, far_P = np.maximum(pairs.enter_P, 0.0), np.minimum(pairs.leave_P, range_h_T1[pairs.ray_P, 0])
        lowest_P = height_P + np.minimum(slope_P * near_P, slope_P * far_P)
        in_way_P = (far_P > near_P) & (lowest_P < boxes.size_N3[pairs.box_P, 2])
        blocked_T = np.zeros(len(offset_T3), np.bool_)
        blocked_T[pairs.ray_P[in_way_P & (pairs.box_P != seen.box_T[pairs.ray_P])]] = True
        return blocked_T

    def _add_beats(self, cubes_SRCF: NDArray[np.complex64], seen: _Scatterers, blocked_T: NDArray[np.bool_]) -> None:
        """Add each radar's beat signals to its cube: products of one exponential per axis, summed over scatterers."""
        config, axes_T33 = self._config, self._pose_S44[seen.radar_T, :3, :3]
        range_T = np.sqrt((seen.offset_T3**2).sum(axis=1))
        recede_T = (seen.velocity_T2 * seen.offset_T3[:, :2]).sum(axis=1) / range_T
        ahead_T, left_T, _ = np.einsum("ti,tij->jt", seen.offset_T3, axes_T33) / range_T
        loss_db_T = np.where(blocked_T, config.blocked_db, 0.0) + self._rain_db_per_m * range_T
        turn_T = 2.0 * range_T / config.wavelength_m
        echo_T = _amplitude(range_T, ahead_T, seen.rcs_T, config) * 10.0 ** (-loss_db_T / 20.0)
        echo_T = echo_T * np.exp(2j * np.pi * turn_T)
        over_samples_TF = _turning(2.0 * range_T * config.bandwidth_hz / LIGHT_M_S / config.samples, config.samples)
        over_chirps_TC = _turning(2.0 * recede_T * config.chirp_period_s / config.wavelength_m, config.chirps)
        over_receivers_TR = _turning(left_T * config.spacing_m / config.wavelength_m, config.receivers)
        over_receivers_TR *= echo_T.astype(np.complex64)[:, None]
        starts = np.searchsorted(seen.radar_T, np.arange(len(cubes_SRCF) + 1))
        for cube_RCF, *ends in zip(cubes_SRCF, starts[:-1], starts[1:], strict=True):
            own = slice(*ends)
            slow_TCR = over_chirps_TC[own, :, None] * over_receivers_TR[own, None]
            cube_RCF += self._small_products(slow_TCR, over_samples_TF[own]).swapaxes(0, 1)

    def _small_products(
        self, left_TCR: NDArray[np.complex64], right_TF: NDArray[np.complex64]
    ) -> NDArray[np.complex64]:
        """Sum over T of left times right, (C, R, F), in the scratch, as real products, one per chirp.

        These are small enough that BLAS starts no threads: on a busy machine waiting for them costs ten times the work.
        """
        _, chirps, receivers = left_TCR.shape
        parts_T2CR = np.stack([left_TCR.real, left_TCR.imag], axis=1)
        parts_T2F = np.stack([right_TF, np.complex64(1j) * right_TF], axis=1).view(np.float32)
        left_CRX = parts_T2CR.reshape(-1, chirps, receivers).transpose(1, 2, 0)
        shape = (chirps, receivers, parts_T2F.shape[2])
        total_CRF = self._scratch_2SRCF.reshape(-1)[: np.prod(shape)].reshape(shape)
        np.matmul(left_CRX, parts_T2F.reshape(-1, shape[2]), out=total_CRF)
        return total_CRF.view(np.complex64)


def _amplitude(range_T: Reals, ahead_T: Reals, rcs_T: Reals, config: RadarConfig) -> Reals:
    """Amplitude of a complex sample: the range equation, and the antennas' pattern by the cosine off boresight."""
    unit = np.sqrt(10.0 ** (config.snr_db / 10.0) / (config.samples * config.chirps))
    off_axis_T = np.degrees(np.arccos(np.clip(ahead_T, -1.0, 1.0))) / config.fov_deg
    amplitude_T = unit * np.sqrt(rcs_T / _REFERENCE_RCS_M2) * (_REFERENCE_RANGE_M / range_T) ** 2
    return np.asarray(amplitude_T * 2.0 ** -(off_axis_T**4))


def _turning(frequency_T: Reals, length: int) -> NDArray[np.complex64]:
    """Complex exponentials (T, length) of T frequencies in cycles per step, each doubling from the one before."""
    step_T1 = np.exp(2j * np.pi * frequency_T)[:, None]
    turning, done = np.empty((len(frequency_T), length), np.complex64), 1
    turning[:, :1] = 1.0
    while done < length:
        more = min(done, length - done)
        np.multiply(turning[:, :more], step_T1.astype(np.complex64), out=turning[:, done : done + more])
        step_T1, done = step_T1 * step_T1, done + more
    return turning


def _vehicles(boxes: Boxes, pose_S44: NDArray[np.float64]) -> tuple[Reals, Reals]:
    """Offsets (S, 3 N, 3) from each radar and cross-sections (S, 3 N) of three points per box at half its height.

    They are the middle of the visible end, of the visible side, and the corner between. Faces reflect by area times
    cosine of incidence; a face turned away reflects nothing.
    """
    cos_N, sin_N = np.cos(boxes.heading_N), np.sin(boxes.heading_N)
    axes_N22 = np.stack([cos_N, sin_N, -sin_N, cos_N], axis=1).reshape(-1, 2, 2)
    offset_SN2 = boxes.centre_N2 - pose_S44[:, None, :2, 3]
    to_radar_SN2 = -np.einsum("nij,snj->sni", axes_N22, offset_SN2)
    half_N2 = boxes.size_N3[:, :2] / 2.0
    away_SN2 = np.abs(to_radar_SN2)
    cosine_SN2 = away_SN2 / np.maximum(np.sqrt((away_SN2**2).sum(axis=2, keepdims=True)), 1e-3)
    area_N2 = boxes.size_N3[:, 1::-1] * boxes.size_N3[:, 2:]
    rcs_SN2 = _RCS_PER_AREA * area_N2 * cosine_SN2 * (away_SN2 > half_N2)
    corner_SN2 = np.sign(to_radar_SN2) * half_N2
    end_SN2, side_SN2 = (corner_SN2[:, :, i, None] * axes_N22[:, i] for i in range(2))
    offset_SNP3 = np.empty((*corner_SN2.shape[:2], _POINTS, 3))
    offset_SNP3[..., :2] = offset_SN2[:, :, None] + np.stack([end_SN2, side_SN2, end_SN2 + side_SN2], axis=2)
    offset_SNP3[..., 2] = boxes.size_N3[:, 2:] / 2.0 - pose_S44[:, None, None, 2, 3]
    rcs_SNP = np.concatenate([rcs_SN2, 0.2 * rcs_SN2.sum(axis=2, keepdims=True)], axis=2)
    return offset_SNP3.reshape(len(pose_S44), -1, 3), rcs_SNP.reshape(len(pose_S44), -1)


def _posts(pose_S44: NDArray[np.float64], config: RadarConfig) -> Reals:
    """Static clutter, (S, Q, 3): two rows of posts, 9 m left and right of the boresight, every 16 m, 1 m high."""
    ahead, left = np.meshgrid(np.arange(20.0, config.max_range_m, 16.0), [-9.0, 9.0])
    local_Q4 = np.stack([ahead.ravel(), left.ravel(), np.zeros(ahead.size), np.ones(ahead.size)], axis=1)
    place_SQ3 = (local_Q4 @ pose_S44.swapaxes(1, 2))[..., :3]
    place_SQ3[..., 2] = 1.0
    return np.asarray(place_SQ3)
