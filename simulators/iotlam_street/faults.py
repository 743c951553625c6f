"""Sensors that fail: what traffic control is tested with, defined on what the sensors see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput, SensorFrame
from iotlam_street.plan import SignalPlan
from iotlam_street.rig import SENSORS, SensorRig
from iotlam_street.scene import Boxes, Floats, Snapshot

REACH_M, STEP_M = 80.0, 2.0
"""How far a lane is followed upstream, and how finely, to find its first vehicle."""
LANE_HALF_WIDTH_M = 2.0


@dataclass(frozen=True, slots=True)
class SensorFaults:
    """What is wrong with the sensors of a junction. Everything is drawn anew at each decision.

    A vehicle that is misplaced or missed is so in all snapshots of a decision: a detector that is wrong about a car
    does not make it jump within a second.

    Attributes:
        dead: modalities of which no frame ever comes.
        lost: share of frames that do not arrive, each frame of each sensor by itself. Sensors measure every second;
            where the frame of now is lost, that of the second before is used if it arrived.
        sigma_m: standard deviation of the error, metres, of the distance between the stop line and the first vehicle of
            each lane, as in CoordLight (Zhang et al., 2025). All sensors see the vehicle moved along its heading, so
            none can correct another; a distance cannot fall below 0.
        detection: probability that a modality notices a vehicle at all (Azfar et al., arXiv 2412.03925, count what a
            detector of 72 % finds). What one modality misses, another may see.

    Raises:
        BadInput: for an unknown modality, a share outside 0 to 1, or a negative `sigma_m`.
    """

    dead: tuple[str, ...] = ()
    lost: float = 0.0
    sigma_m: float = 0.0
    detection: float = 1.0

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.dead) - SENSORS.keys()):
            raise BadInput("SensorFaults.dead", expected=f"names among {', '.join(SENSORS)}",
                           got=", ".join(unknown), fix="name sensors of the street")  # fmt: skip
        for name, most in (("lost", 1.0), ("detection", 1.0), ("sigma_m", np.inf)):
            if not 0.0 <= getattr(self, name) <= most:
                raise BadInput(f"SensorFaults.{name}", expected=f"0 to {most:g}", got=f"{getattr(self, name)}",
                               fix="correct it")  # fmt: skip

    def sense(
        self,
        rig: SensorRig,
        plan: SignalPlan,
        snapshots: Sequence[Snapshot],
        rng: np.random.Generator,
        modalities: Sequence[str],
    ) -> dict[str, list[SensorFrame]]:
        """What arrives of what the rig measures; without faults exactly what `SensorRig.sense` returns."""
        if self.sigma_m > 0.0:
            snapshots = misplaced(snapshots, plan, self.sigma_m, rng)
        frames: dict[str, list[SensorFrame]] = {}
        for modality in (name for name in modalities if name not in self.dead):
            seen = detected(snapshots, self.detection, rng) if self.detection < 1.0 else snapshots
            frames |= rig.sense(seen, rng, (modality,))
            if self.lost > 0.0:
                earlier = rig.sense(seen[:-1], rng, (modality,))[modality] if len(seen) > 1 else []
                frames[modality] = arrived(frames[modality] + earlier, self.lost, rng)
        return frames


def arrived(frames: Sequence[SensorFrame], lost: float, rng: np.random.Generator) -> list[SensorFrame]:
    """The frames that are not lost; a second frame of the same sensor and instant does not count."""
    once = {(frame.sensor, frame.t_ns): frame for frame in reversed(frames)}
    return [frame for frame in once.values() if rng.random() >= lost]


def detected(snapshots: Sequence[Snapshot], detection: float, rng: np.random.Generator) -> list[Snapshot]:
    """The snapshots with those vehicles alone that are noticed."""
    known = np.unique(np.concatenate([shot.boxes.id_N for shot in snapshots]))
    noticed = known[rng.random(len(known)) < detection]
    return [replace(shot, boxes=shot.boxes.where(np.isin(shot.boxes.id_N, noticed))) for shot in snapshots]


def misplaced(
    snapshots: Sequence[Snapshot], plan: SignalPlan, sigma_m: float, rng: np.random.Generator
) -> list[Snapshot]:
    """The snapshots with the first vehicle of each lane, as of now, moved along its heading."""
    now = snapshots[-1].boxes
    first, distance_m = first_in_lanes(now, plan)
    forward_m = np.minimum(sigma_m * rng.standard_normal(len(first)), distance_m)
    return [replace(shot, boxes=_moved(shot.boxes, now.id_N[first], forward_m)) for shot in snapshots]


def _moved(boxes: Boxes, ids: NDArray[np.uint32], forward_m: NDArray[np.float64]) -> Boxes:
    """The boxes with some vehicles moved along their headings."""
    forward_N = ((boxes.id_N[:, None] == ids) * forward_m).sum(axis=1)
    direction_N2 = np.stack([np.cos(boxes.heading_N), np.sin(boxes.heading_N)], axis=1)
    return replace(boxes, centre_N2=(boxes.centre_N2 + forward_N[:, None] * direction_N2).astype(np.float32))


def first_in_lanes(boxes: Boxes, plan: SignalPlan) -> tuple[NDArray[np.intp], Floats]:
    """The vehicle nearest to the stop line of each lane that has one: its index, and the metres it has to go."""
    back_H = np.arange(0.0, REACH_M + STEP_M, STEP_M, dtype=np.float32)
    points_KH2 = plan.points_back(back_H)
    ahead_KH2 = -np.gradient(points_KH2, axis=1)
    ahead_KH2 /= np.maximum(np.linalg.norm(ahead_KH2, axis=2, keepdims=True), 1e-6)
    direction_N2 = np.stack([np.cos(boxes.heading_N), np.sin(boxes.heading_N)], axis=1)
    front_N2 = boxes.centre_N2 + direction_N2 * boxes.size_N3[:, :1] / 2.0
    away_NKH = np.linalg.norm(front_N2[:, None, None] - points_KH2, axis=3)
    away_NKH[np.einsum("ni,khi->nkh", direction_N2, ahead_KH2) < 0.5] = np.inf  # it drives another way
    lane_N, step_N = np.divmod(away_NKH.reshape(len(boxes), points_KH2[..., 0].size).argmin(axis=1), len(back_H))
    on_a_lane_N = away_NKH.min(axis=(1, 2), initial=np.inf) < LANE_HALF_WIDTH_M
    nearest = [
        min(np.flatnonzero(on_a_lane_N & (lane_N == lane)), key=lambda n: float(back_H[step_N[n]]), default=-1)
        for lane in range(len(plan.lanes))
    ]
    first = np.array([n for n in nearest if n >= 0], np.intp)
    return first, back_H[step_N[first]]
