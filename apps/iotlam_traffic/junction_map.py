"""The junction from above: roads, signals, vehicles, LiDAR returns, and where the bits come from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame
from iotlam.pages.drawing import drawn, light
from iotlam_street.plan import SignalPlan
from iotlam_street.scenarios import Scenario, parse_xml
from iotlam_street.scene import Approach, Boxes
from iotlam_traffic.controller import Look
from iotlam_traffic.pictures import modality_paint

Floats = NDArray[np.floating[Any]]
REACH_M = 86.0
"""Half the edge of the map."""
LANE_M = 3.2
ABOVE_GROUND_M = 0.4
HEIGHTS_M = (0.4, 0.9, 1.4, 2.0, 3.0)
"""Lower bounds of the classes of height in which LiDAR returns are coloured."""
CIRCLE_M = 3.0
"""Diameter of the circle of the token with most bits."""
WORD_M = np.array([40.0, 46.0], dtype=np.float32)
"""How far from the stop line an approach's name stands, and a point behind that gives the road's direction."""
CLASSES = 8
"""Sizes that circles are rounded to, so that each is stored once."""
_WINDS = ("east", "north-east", "north", "north-west", "west", "south-west", "south", "south-east")


@dataclass(frozen=True)
class JunctionMap:
    """Draws the junction at one moment.

    Attributes:
        scenario: its net gives the roads.
        plan: lanes and what each phase serves.
        look: the moment.
        truth: the vehicles that were really there, or None.
    """

    scenario: Scenario
    plan: SignalPlan
    look: Look
    truth: Boxes | None

    def scene(self) -> Markup:
        """Roads, the signal in force, true vehicles, LiDAR returns above ground, and where the sensors hang."""

        def draw(axes: Axes) -> None:
            self._centrelines(axes)
            self._vehicles(axes, 0.8, below=True)
            self._returns(axes)
            self._stop_lines(axes)
            self._masts(axes)
            self._words(axes)

        return self._drawn(6.0, "The junction from above, with vehicles and LiDAR returns", draw)

    def tokens(self, modality: str) -> Markup | None:
        """Tokens of one modality as circles whose area is proportional to their bits; None if they have no places."""
        batch = self.look.tokens[modality]
        if batch.position_BTX is None:
            return None
        keep_T = batch.mask_BT[0].numpy()
        place_NX = batch.position_BTX[0].numpy()[keep_T]
        bits_N = self.look.decision.bits[modality][0].numpy()[keep_T]
        most = max((float(bits.max()) for bits in self.look.decision.bits.values() if bits.numel()), default=0.0)
        class_N = np.ceil(CLASSES * bits_N / most) if most > 0.0 else np.zeros(len(bits_N))

        def draw(axes: Axes) -> None:
            self._vehicles(axes, 0.7, below=False)
            for size in range(1, CLASSES + 1):
                diameter_m = CIRCLE_M * (size / CLASSES) ** 0.5
                _dots(axes, place_NX[class_N == size], modality_paint(modality), diameter_m, 0.5)

        return self._drawn(2.9, f"Tokens of {modality} on the map, sized by bits", draw)

    def _drawn(self, edge_in: float, label: str, draw: Callable[[Axes], None]) -> Markup:
        roads = _roads(self.scenario, self.plan)

        def fill(figure: Figure) -> None:
            axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
            axes.set(xlim=(-REACH_M, REACH_M), ylim=(-REACH_M, REACH_M), aspect="equal")
            axes.set_axis_off()
            width = LANE_M * _points_per_m(axes)
            _lines(axes, roads, "wash", width, zorder=0.0, capstyle="round")
            draw(axes)

        return drawn(edge_in, edge_in, label, fill)

    def _centrelines(self, axes: Axes) -> None:
        lines = [lane.centreline_N2 for lane in self.plan.lanes]
        _lines(axes, lines, "grey", 0.5, zorder=1.0, linestyles=[(0, (6, 4))])

    def _stop_lines(self, axes: Axes) -> None:
        served_K = self.look.query.serves_PK[in_force(self.look)] > 0.0
        for paint, chosen_K in (("stop", ~served_K), ("go", served_K)):
            ends = [_stop_line(lane.centreline_N2) for lane, one in zip(self.plan.lanes, chosen_K, strict=True) if one]
            _lines(axes, ends, paint, 3.6 if paint == "go" else 2.0, zorder=2.0)

    def _vehicles(self, axes: Axes, width: float, below: bool) -> None:
        if self.truth is not None:
            outlines = footprints(self.truth)
            closed = list(np.concatenate([outlines, outlines[:, :1]], axis=1))
            _lines(axes, closed, "muted", width, zorder=1.5 if below else 3.0)

    def _returns(self, axes: Axes) -> None:
        for frame in self.look.frames.get("lidar", ()):
            place_N3 = returns_above_ground(frame)
            class_N = np.digitize(place_N3[:, 2], HEIGHTS_M) - 1
            for number in range(len(HEIGHTS_M)):
                _dots(axes, place_N3[class_N == number, :2], f"height{number}", 1.05, 1.0)

    def _masts(self, axes: Axes) -> None:
        every = [frame for frames in self.look.frames.values() for frame in frames]
        place_N2 = np.unique(np.round([frame.pose_site[:2, 3] for frame in every], 1), axis=0)
        axes.plot(*place_N2.T, linestyle="", marker="^", markersize=6.5, color=light("ink"), markeredgewidth=0.0)

    def _words(self, axes: Axes) -> None:
        for approach, wind in zip(self.plan.approaches, winds(self.plan.approaches), strict=True):
            lanes = [index for index, lane in enumerate(self.plan.lanes) if lane.edge == approach.name]
            ahead_2, behind_2 = self.plan.points_back(WORD_M)[lanes].mean(axis=0)
            east, north = (ahead_2 - behind_2) / np.hypot(*(ahead_2 - behind_2))
            right_2 = np.array([north, -east])
            x, y = ahead_2 + (approach.width / 2.0 + 4.0) * right_2
            axes.text(x, y, f"from the {wind}", ha=_side(right_2[0], "left", "right"), color=light("muted"),
                      va=_side(right_2[1], "bottom", "top"), fontsize=10.5)  # fmt: skip
        left, low = 2.0 - REACH_M, 3.5 - REACH_M
        axes.plot([left, left + 20.0], [low, low], color=light("ink"), linewidth=1.6)
        axes.text(left + 10.0, low + 1.5, "20 m", ha="center", va="bottom")
        axes.annotate("N", (REACH_M - 5.0, REACH_M - 2.0), (REACH_M - 5.0, REACH_M - 15.0), ha="center",
                      arrowprops={"arrowstyle": "->", "color": light("ink")}, va="center")  # fmt: skip


def in_force(look: Look) -> int:
    """Index of the phase that was shown when the question was asked: the first feature of a phase."""
    return int(look.query.features_PF[:, 0].argmax())


def winds(approaches: Sequence[Approach]) -> list[str]:
    """Where the traffic of each approach comes from, in words; those from one direction are numbered."""
    octants = [round((approach.heading + np.pi) / (np.pi / 4.0)) % 8 for approach in approaches]
    words = [_WINDS[octant] for octant in octants]
    number = [words[: index + 1].count(word) for index, word in enumerate(words)]
    return [f"{word} ({n})" if words.count(word) > 1 else word for word, n in zip(words, number, strict=True)]


def phase_icon(plan: SignalPlan, phase: int) -> Markup:
    """A small picture of the junction's lanes with an arrow on those that a phase serves, dashed where they yield."""
    back_m = np.linspace(3.0, 30.0, 6, dtype=np.float32)
    lines = []
    for lane, line_H2 in enumerate(plan.points_back(back_m)):
        kind = ("yields" if plan.yields_PK[phase, lane] else "goes") if plan.serves_PK[phase, lane] else "waits"
        points = " ".join(f"{x:.1f},{-y:.1f}" for x, y in line_H2[::-1])
        lines.append((kind != "waits", Markup('<polyline class="{}" points="{}"/>').format(kind, points)))
    return Markup('<svg class="icon" viewBox="-42 -42 84 84" aria-hidden="true">{}</svg>').format(
        Markup("").join(line for _, line in sorted(lines, key=lambda item: item[0]))
    )


def footprints(boxes: Boxes) -> Floats:
    """Outlines of the vehicles from above, pointed at the front: (N, 5, 2), metres."""
    local_52 = np.array([[-0.5, -0.5], [0.3, -0.5], [0.5, 0.0], [0.3, 0.5], [-0.5, 0.5]])
    cos_N, sin_N = np.cos(boxes.heading_N), np.sin(boxes.heading_N)
    axes_N22 = np.stack([cos_N, sin_N, -sin_N, cos_N], axis=1).reshape(-1, 2, 2)
    scaled_N52 = local_52 * boxes.size_N3[:, None, :2]
    return np.asarray(boxes.centre_N2[:, None] + np.einsum("npi,nij->npj", scaled_N52, axes_N22))


def returns_above_ground(frame: SensorFrame) -> Floats:
    """Places (N, 3) in site coordinates, metres, of the LiDAR returns more than 0.4 m above the ground."""
    pose = frame.pose_site
    place_N3 = frame.data[:, :3] @ pose[:3, :3].T + pose[:3, 3]
    return np.asarray(place_N3[place_N3[:, 2] > ABOVE_GROUND_M])


def _roads(scenario: Scenario, plan: SignalPlan) -> list[Floats]:
    """Centrelines of the net's lanes near the junction, site coordinates, metres."""
    found: list[Floats] = []
    for lane in parse_xml(scenario.net, "a SUMO net").iter("lane"):
        shape = [point.split(",")[:2] for point in lane.get("shape", "").split()]
        line_N2 = np.asarray(shape, dtype=np.float64) - plan.origin_2[:2]
        low_2, high_2 = line_N2.min(axis=0), line_N2.max(axis=0)
        if (low_2 < REACH_M).all() and (high_2 > -REACH_M).all():
            found.append(line_N2)
    return found


def _stop_line(centreline_N2: Floats) -> Floats:
    """Ends (2, 2) of the line across a lane where it stops."""
    along_2 = centreline_N2[1] - centreline_N2[0]
    across_2 = np.array([-along_2[1], along_2[0]]) / max(float(np.hypot(*along_2)), 1e-6)
    return np.asarray(centreline_N2[0] + LANE_M / 2.0 * np.array([[-1.0], [1.0]]) * across_2)


def _side(towards: float, positive: str, negative: str) -> str:
    """Alignment of a word that stands beside a road, away from it."""
    return "center" if abs(towards) < 0.35 else positive if towards > 0.0 else negative


def _points_per_m(axes: Axes) -> float:
    return float(axes.figure.get_figwidth()) * 72.0 / (2.0 * REACH_M)  # type: ignore[union-attr]


def _lines(axes: Axes, lines: list[Floats], paint: str, width: float, zorder: float, **style: Any) -> None:
    axes.add_collection(LineCollection(lines, colors=light(paint), linewidths=width, zorder=zorder, **style))


def _dots(axes: Axes, place_N2: Floats, paint: str, diameter_m: float, alpha: float) -> None:
    inside_N = (np.abs(place_N2) < REACH_M).all(axis=1)
    axes.plot(*place_N2[inside_N].T, linestyle="", marker="o", markersize=diameter_m * _points_per_m(axes),
              color=light(paint), alpha=alpha, markeredgewidth=0.0)  # fmt: skip
