"""A small policy on lane state: what the simulator knows of each lane, at any junction.

It sees what no sensor gives for nothing, so it is no rival of the policy on sensors: it is its teacher, and shows what
the sensors cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from iotlam.contracts import BadInput, whole_file
from iotlam_street.junction import HALTING_MPS, Junction
from iotlam_street.programs import NativeProgram
from iotlam_street.street import Street
from iotlam_traffic.together import Scores, agree

EDGES_M = np.array([0.0, 7.5, 15.0, 25.0, 37.5, 52.5, 70.0, 95.0], dtype=np.float32)
"""Where the bins of the distance to the stop line begin; the last ends at `REACH_M`."""

REACH_M = 125.0
COMING_S = 10.0
"""Vehicles that reach the stop line at their present speed within this time are counted as coming."""

CAR_M = 7.5
"""Room that a standing vehicle takes."""

COUNTS = 2 * len(EDGES_M)
"""The first features of a lane: vehicles and standing vehicles in each bin."""

LANE_FEATURES = COUNTS + 15
PHASE_FEATURES = 6
CAP_S = 180.0
"""Times are cut to this."""

WEIGHTS = "lanes.safetensors"
"""File of the weights in a run's folder."""

SHIPPED = Path(__file__).parent / "weights" / "lanes"
"""The lane policy that comes with iotlam."""


@dataclass(frozen=True, slots=True)
class LaneView:
    """What is known of one junction before a decision; K lanes, P phases.

    Attributes:
        lanes_KF: by lane, scaled to about 1: vehicles and standing vehicles in each bin of distance, waiting (sum and
            longest), mean speed, vehicles coming, all vehicles, those further away, time since served, whether it has
            green and whether it must yield now, vehicles it has sent into the junction and that are still there (all,
            standing: those can block the crossing traffic), how full its exits are (standing vehicles, share of
            their length), and the signals that come next (`Junction.onward`).
        phases_PF: by phase: in force, its green time, share of its lanes that have green now, lanes, share of them that
            must yield, longest time since one of them was served.
        serves_PK: 1 where the phase gives the lane a green of its own, 0.5 where it must yield.
        allowed_P: what the rules allow, but phases that another exceeds (`Junction.offered_P`).
    """

    lanes_KF: NDArray[np.float32]
    phases_PF: NDArray[np.float32]
    serves_PK: NDArray[np.float32]
    allowed_P: NDArray[np.bool_]


def lane_view(junction: Junction) -> LaneView:
    """Look at a junction as the simulator knows it."""
    plan = junction.plan
    served_K, yields_K = plan.serves_PK[junction.phase], plan.yields_PK[junction.phase]
    red_s_K = np.minimum(junction.time_s - junction.served_at_s_K, CAP_S)
    own_K3 = np.stack([red_s_K / 60.0, served_K, yields_K], axis=1)
    beyond = (junction.inside() / 2.0, _exits(junction), junction.onward())
    lanes_KF = np.concatenate([_vehicle_features(junction), own_K3, *beyond], axis=1)

    in_force_P = np.arange(len(plan.green_states)) == junction.phase
    lanes_P = np.maximum(plan.serves_PK.sum(axis=1), 1)  # a phase may serve pedestrians alone
    phases_PF = np.stack(
        [
            in_force_P,
            in_force_P * min(junction.time_s - junction.green_since_s, CAP_S) / 60.0,
            plan.serves_PK @ served_K / lanes_P,
            lanes_P / 8.0,
            plan.yields_PK.sum(axis=1) / lanes_P,
            np.where(plan.serves_PK, red_s_K, 0.0).max(axis=1) / 60.0,
        ],
        axis=1,
    )
    serves_PK = np.where(plan.yields_PK, 0.5, plan.serves_PK)
    return LaneView(
        lanes_KF.astype(np.float32), phases_PF.astype(np.float32), serves_PK.astype(np.float32), junction.offered_P
    )


def _vehicle_features(junction: Junction) -> NDArray[np.floating]:
    """Features of the vehicles that approach each lane, (K, 2 bins + 6)."""
    rows, ends = junction.vehicles()
    lanes, bins = len(ends), len(EDGES_M)
    lane_N = np.repeat(np.arange(lanes), np.diff(ends, prepend=0))
    near_N = rows[:, 0] < REACH_M
    far_K = np.bincount(lane_N[~near_N], minlength=lanes)
    lane_N, (distance_N, speed_N, waiting_N, _) = lane_N[near_N], rows[near_N].T
    slot_N = lane_N * bins + np.maximum(np.searchsorted(EDGES_M, distance_N, side="right") - 1, 0)
    standing_N = speed_N < HALTING_MPS
    vehicles_K = np.bincount(lane_N, minlength=lanes)
    longest_s_K = np.zeros(lanes, dtype=np.float32)
    np.maximum.at(longest_s_K, lane_N, waiting_N)
    return np.column_stack(
        [
            np.bincount(slot_N, minlength=lanes * bins).reshape(lanes, bins) / 2.0,
            np.bincount(slot_N[standing_N], minlength=lanes * bins).reshape(lanes, bins) / 2.0,
            np.bincount(lane_N, weights=waiting_N, minlength=lanes) / 120.0,
            longest_s_K / 60.0,
            np.bincount(lane_N, weights=speed_N, minlength=lanes) / np.maximum(vehicles_K, 1) / 10.0,
            np.bincount(lane_N[distance_N < COMING_S * speed_N], minlength=lanes) / 4.0,
            vehicles_K / 8.0,
            far_K / 8.0,
        ]
    )


def _exits(junction: Junction) -> NDArray[np.floating]:
    """Standing vehicles on the exits of each lane, and the share of their length that these take, (K, 2)."""
    standing, room_m = junction.exits()
    names = [lane.outgoing for lane in junction.plan.lanes]
    return np.array(
        [
            (
                sum(standing[name] for name in lane) / max(len(lane), 1) / 5.0,
                max((CAR_M * standing[name] / room_m[name] for name in lane), default=0.0),
            )
            for lane in names
        ]
    )


class LaneNet(nn.Module):
    """Scores phases by the lanes they serve: any number of lanes and phases, in any order.

    Args:
        width: of all hidden layers.
    """

    def __init__(self, width: int = 64) -> None:
        super().__init__()
        self.lane = _layers(LANE_FEATURES, width, width)
        self.phase = _layers(3 * width + PHASE_FEATURES, width, width)
        self.score = nn.Sequential(_layers(2 * width, width), nn.Linear(width, 1))
        self.value = nn.Sequential(_layers(2 * width, width), nn.Linear(width, 1))
        for parameter in self.score[1].parameters():
            nn.init.zeros_(parameter)  # at first every phase is as good as any

    def forward(self, views: LaneViews) -> tuple[Tensor, Tensor]:
        """Scores (B, P), -1e9 where a phase is not allowed, and values (B,) in units of reward."""
        lanes_BKW = self.lane(views.lanes_BKF) * views.lane_mask_BK[..., None]
        all_B1W = lanes_BKW.sum(1, keepdim=True)
        free_BPW = (views.serves_BPK == 1.0).float() @ lanes_BKW
        yielding_BPW = (views.serves_BPK == 0.5).float() @ lanes_BKW
        rest_BPW = all_B1W - free_BPW - yielding_BPW
        served = torch.cat([free_BPW / 2, yielding_BPW / 2, rest_BPW / 4, views.phases_BPF], dim=-1)
        phases_BPW = self.phase(served) * views.phase_mask_BP[..., None]
        mean_B1W = phases_BPW.sum(1, keepdim=True) / views.phase_mask_BP.sum(1)[:, None, None]
        scores_BP = self.score(torch.cat([phases_BPW, mean_B1W.expand_as(phases_BPW)], dim=-1))[..., 0]
        values_B = self.value(torch.cat([mean_B1W, all_B1W / 4], dim=-1))[:, 0, 0]
        return scores_BP.masked_fill(~views.allowed_BP, -1e9), values_B


def _layers(*sizes: int) -> nn.Sequential:
    pairs = zip(sizes[:-1], sizes[1:], strict=True)
    return nn.Sequential(*[layer for pair in pairs for layer in (nn.Linear(*pair), nn.SiLU())])


@dataclass(frozen=True, slots=True)
class LaneViews:
    """A batch of views, padded; attributes as in `LaneView`, masks are 1 where there is a lane or a phase."""

    lanes_BKF: Tensor
    phases_BPF: Tensor
    serves_BPK: Tensor
    allowed_BP: Tensor
    lane_mask_BK: Tensor
    phase_mask_BP: Tensor

    @classmethod
    def of(cls, views: Sequence[LaneView]) -> LaneViews:
        """Pad and stack."""
        shapes = [view.serves_PK.shape for view in views]
        size = len(views)
        phases, lanes = (max((shape[axis] for shape in shapes), default=0) for axis in (0, 1))
        lanes_BKF = np.zeros((size, lanes, LANE_FEATURES), np.float32)
        phases_BPF = np.zeros((size, phases, PHASE_FEATURES), np.float32)
        serves_BPK, allowed_BP = np.zeros((size, phases, lanes), np.float32), np.zeros((size, phases), bool)
        lane_mask_BK, phase_mask_BP = np.zeros((size, lanes), np.float32), np.zeros((size, phases), np.float32)
        for row, (view, (p, k)) in enumerate(zip(views, shapes, strict=True)):
            lanes_BKF[row, :k], phases_BPF[row, :p] = view.lanes_KF, view.phases_PF
            serves_BPK[row, :p, :k], allowed_BP[row, :p] = view.serves_PK, view.allowed_P
            lane_mask_BK[row, :k] = phase_mask_BP[row, :p] = 1.0
        arrays = (lanes_BKF, phases_BPF, serves_BPK, allowed_BP, lane_mask_BK, phase_mask_BP)
        return cls(*map(torch.from_numpy, arrays))

    def __getitem__(self, rows: Tensor) -> LaneViews:
        """The views of these rows."""
        return LaneViews(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    def __len__(self) -> int:
        return int(self.lanes_BKF.shape[0])


@torch.no_grad()
def phase_scores(net: LaneNet, views: Sequence[LaneView]) -> list[Scores]:
    """Of each junction the scores of its phases, (P,)."""
    scores_BP = net(LaneViews.of(views))[0].numpy()
    return [scores_P[: len(view.allowed_P)] for scores_P, view in zip(scores_BP, views, strict=True)]


def best_phases(net: LaneNet, junctions: Sequence[Junction]) -> list[int]:
    """The phase that each junction of a street chooses."""
    return agree(junctions, phase_scores(net, [lane_view(junction) for junction in junctions]))


def fill(street: Street, net: LaneNet, until_s: float) -> None:
    """Let the policy act until then: streets are empty at first, and jams take their time to grow."""
    while street.time_s < until_s:
        street.advance(best_phases(net, street.junctions))


class LanePolicy:
    """The lane policy in charge.

    Args:
        net: its network.
    """

    name = "lanes"
    native: NativeProgram | None = None

    def __init__(self, net: LaneNet) -> None:
        self.net = net.eval()

    def choose(self, junctions: Sequence[Junction]) -> list[int]:
        """For each junction, index of the green phase to show."""
        return best_phases(self.net, junctions)


def save_lanes(net: LaneNet, path: Path) -> None:
    """Write the weights; the file appears whole or not at all."""
    with whole_file(path) as partial:
        save_file(net.state_dict(), partial)


def load_lanes(path: Path) -> LaneNet:
    """Read what `save_lanes` wrote.

    Raises:
        BadInput: if the file is missing or holds something else.
    """
    net = LaneNet()
    try:
        net.load_state_dict(load_file(path))
    except Exception as error:  # safetensors and torch raise their own types
        got = str(error).splitlines()[-1].strip(" \t.:") if path.exists() else "no such file"
        fix = "train one with: iotlam traffic train-lanes"
        raise BadInput(str(path), expected="weights of a lane policy", got=got, fix=fix) from error
    return net.eval()
