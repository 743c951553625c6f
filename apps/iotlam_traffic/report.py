"""The page in which a run ends: one HTML file that says who won, and shows one decision from its sensors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import pairwise
from operator import attrgetter
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
from markupsafe import Markup

import iotlam
from iotlam.contracts import BadInput, SensorFrame
from iotlam.pages.drawing import gradient
from iotlam.pages.page import write_html
from iotlam_street.junction import SignalRules
from iotlam_street.metrics import TripMetrics
from iotlam_street.plan import SignalPlan
from iotlam_street.scenarios import Scenario
from iotlam_street.scene import Boxes
from iotlam_street.scenery import SCENE_RADIUS_M
from iotlam_traffic import pictures
from iotlam_traffic.controller import Look
from iotlam_traffic.evaluate import OURS
from iotlam_traffic.junction_map import HEIGHTS_M, JunctionMap, in_force, phase_icon, winds
from iotlam_traffic.queues import Queues
from iotlam_traffic.rules import RULES

TEMPLATE = Path(__file__).with_name("page.html.j2")
SENSOR_WORDS = {"lidar": "LiDAR", "radar": "Radar", "video": "Cameras"}
NO_BREAK = "\N{NO-BREAK SPACE}"
COLUMNS = {
    "delay_s": ("mean delay", "s per vehicle"),
    "waiting_s": ("mean waiting", "s"),
    "trip_s": ("mean trip", "s"),
    "vehicles": ("vehicles", "scheduled"),
    "unfinished": ("unfinished", "at the end"),
    "never_departed": ("never", "departed"),
}
"""Columns of the table and their two lines of title."""
FURTHER = {
    "priority.waiting_s": ("priority vehicles", "waiting, s"),
    "priority.delay_s": ("priority vehicles", "delay, s"),
    "others.delay_s": ("other vehicles", "delay, s"),
    "people.waiting_s": ("on foot", "waiting, s"),
    "people.delay_s": ("on foot", "delay, s"),
}
"""Columns of a second table, of those who are there."""


@dataclass(frozen=True)
class PageData:
    """What the page is made from; times are seconds of simulated time on the scenario's clock.

    Attributes:
        scenario: net, demand and hour.
        plan: lanes and phases of the junction whose decision is shown.
        signals: how many signals are controlled.
        seed: SUMO's seed of the run.
        rules: the action rules.
        trips: by controller, what its episode cost; `iotlam` is ours.
        look: one decision of ours, or None.
        truth: the vehicles that were really there at that moment, for the reader only.
        decision_ms: wall time from frames to phase of each decision of ours, milliseconds.
        bits_over_time: per decision, time and the bits that each modality contributed.
        phases_over_time: per decision, time and index of the phase shown.
        queues: by controller, per decision, time and the vehicles that stand on each approach of the junction.
        facts: what else is to be said of the model, by name.
        commands: what was typed to make the page.
        quick: whether the run was cut short for a quick look.
    """

    scenario: Scenario
    plan: SignalPlan
    signals: int
    seed: int
    rules: SignalRules
    trips: dict[str, TripMetrics]
    look: Look | None
    truth: Boxes | None
    decision_ms: list[float]
    bits_over_time: list[tuple[float, dict[str, float]]]
    phases_over_time: list[tuple[float, int]]
    queues: dict[str, Queues]
    facts: dict[str, str]
    commands: list[str]
    quick: bool


LEVEL = 0.01
"""A difference below this share is no win: another seed turns it."""


def write_page(data: PageData, path: Path) -> Path:
    """Write the page; the file appears whole or not at all, and refers to nothing outside itself.

    Raises:
        BadInput: if there is no episode to report, or the file cannot be written.
    """
    if not data.trips:
        raise BadInput("Page", expected="at least one episode", got="none", fix="run a controller first")
    return write_html(TEMPLATE, _contents(data), path)


def headline(trips: Mapping[str, TripMetrics]) -> str:
    """Who had the least mean delay, and how ours did against `fixed` and against its best rival, in one sentence.

    Delays that the table shows alike are a tie, those within `LEVEL` are level; percentages are those of the delays it
    shows.
    """
    delay_s = {name: round(one.delay_s, 2) for name, one in trips.items()}
    rivals = [name for name in RULES if name in trips]
    if OURS not in trips or not rivals:
        return f"Mean delay per vehicle: {', '.join(f'{name} {seconds:.2f} s' for name, seconds in delay_s.items())}."
    best = min(rivals, key=lambda name: delay_s[name])
    against = list(dict.fromkeys(name for name in ("fixed", best) if name in rivals))
    parts = [f"{_compared(delay_s[OURS], delay_s[name])} {name}" for name in against]
    mixed = len({np.sign(delay_s[OURS] - delay_s[name]) for name in against}) > 1
    said = f"{OURS}’s mean delay was {(', but ' if mixed else ' and ').join(parts)}"
    if delay_s[OURS] == delay_s[best]:
        return f"{OURS} and {best} tied on this seed: {said}."
    if abs(delay_s[OURS] - delay_s[best]) < LEVEL * delay_s[best]:
        return f"{OURS} and {best} were level on this seed: {said}."
    if delay_s[OURS] < delay_s[best]:
        return f"{OURS} won on this seed: {said}, its best rival."
    place = 1 + sum(delay_s[name] < delay_s[OURS] for name in rivals)
    return f"{best} won on this seed and {OURS} came {_ordinal(place)} of {1 + len(rivals)}: {said}."


def _compared(ours_s: float, other_s: float) -> str:
    """Such as `57 % below`."""
    if ours_s == other_s:
        return "equal to that of"
    word = "below" if ours_s < other_s else "above"
    if other_s == 0.0:
        return f"{ours_s:.2f}{NO_BREAK}s {word}"
    percent = 100.0 * abs(ours_s / other_s - 1.0)
    return f"{percent:.{0 if percent >= 10.0 else 1}f}{NO_BREAK}% {word}"


def _ordinal(place: int) -> str:
    return {1: "first", 2: "second", 3: "third", 4: "fourth", 5: "fifth"}.get(place, f"{place}th")


def phase_name(phase: int) -> str:
    """A, B, C, ... for phases, and their numbers after Z."""
    return ascii_uppercase[phase] if phase < len(ascii_uppercase) else str(phase + 1)


def _contents(data: PageData) -> dict[str, Any]:
    scenario, look = data.scenario, data.look
    names = [phase_name(phase) for phase in range(len(data.plan.green_states))]
    episode = None
    if data.bits_over_time:
        moment_s = None if look is None else look.time_s
        episode = pictures.episode_chart(
            data.bits_over_time, data.phases_over_time, names, scenario.begin_s, scenario.end_s, moment_s
        )
    return {
        "ours": OURS,
        "competes": OURS in data.trips,
        "scenario": scenario,
        "hours": f"{pictures.clock(scenario.begin_s)} to {pictures.clock(scenario.end_s)}",
        "minutes": f"{scenario.duration_s / 60.0:.0f}",
        "seed": data.seed,
        "quick": data.quick,
        "signal": data.plan.signal,
        "signals": data.signals,
        "headline": headline(data.trips),
        "columns": list(COLUMNS.values()),
        "rows": _rows(data.trips, list(COLUMNS)),
        "further_columns": [FURTHER[column] for column in _met(data.trips)],
        "further_rows": _rows(data.trips, _met(data.trips)),
        "priority": _most(data.trips, "priority"),
        "people": _most(data.trips, "people"),
        "crossings": len(data.plan.crossings),
        "delay_chart": pictures.delay_chart(data.trips, scenario.begin_s, scenario.duration_s),
        "bin_minutes": f"{pictures.BIN_S / 60.0:.0f}",
        "queue_chart": _queue_chart(data),
        "episode_chart": episode,
        "moment": None if look is None else _moment(data, look),
        "sensors": {name: _sensor(name) for name in _modalities(data)},
        "milliseconds": _milliseconds(data.decision_ms),
        "rules": data.rules,
        "facts": data.facts,
        "commands": data.commands,
        "versions": {"iotlam": iotlam.__version__, "SUMO": version("libsumo")},
    }


def _modalities(data: PageData) -> list[str]:
    """Every modality that is spoken of, each once."""
    spoken = [name for _, bits in data.bits_over_time for name in bits]
    return list(dict.fromkeys([*(data.look.decision.bits if data.look else ()), *spoken]))


def _sensor(modality: str) -> dict[str, str]:
    return {"word": SENSOR_WORDS.get(modality, modality), "paint": pictures.modality_paint(modality)}


def _rows(trips: Mapping[str, TripMetrics], columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of the table, as shown; the least of each column that counts something bad is marked."""
    shown = {name: {column: _shown(one, column) for column in columns} for name, one in trips.items()}
    worse = [column for column in columns if column != "vehicles"]
    least = {column: _shown(min(trips.values(), key=lambda one: _value(one, column)), column) for column in worse}
    longest_s = max(max(one.delay_s for one in trips.values()), 1e-9)
    return [
        {
            "name": name,
            "paint": (paint := pictures.controller_paint(name)),
            "dash": pictures.DASHES[paint],
            "bar": 100.0 * trips[name].delay_s / longest_s,
            "cells": [(column, cell, len(trips) > 1 and cell == least.get(column)) for column, cell in cells.items()],
        }
        for name, cells in shown.items()
    ]


def _met(trips: Mapping[str, TripMetrics]) -> list[str]:
    """The further columns, of kinds that every controller met."""
    return [column for column in FURTHER if all(getattr(one, column.partition(".")[0]) for one in trips.values())]


def _value(trips: TripMetrics, column: str) -> float:
    return float(attrgetter(column)(trips))


def _shown(trips: TripMetrics, column: str) -> str:
    return f"{trips.delay_s:.2f}" if column == "delay_s" else f"{_value(trips, column):,.{int(column[-2:] == '_s')}f}"


def _most(trips: Mapping[str, TripMetrics], kind: str) -> int:
    """How many of a kind there were, under the controller that met most."""
    return max(group.count if (group := getattr(one, kind)) else 0 for one in trips.values())


def _queue_chart(data: PageData) -> Markup | None:
    scenario = data.scenario
    if not any(data.queues.values()):
        return None
    return pictures.queue_chart(data.queues, winds(data.plan.approaches), scenario.begin_s, scenario.end_s)


def _milliseconds(decision_ms: Sequence[float]) -> dict[str, str] | None:
    if not decision_ms:
        return None
    return {name: f"{np.percentile(decision_ms, rank):.0f}" for name, rank in (("p50", 50), ("p95", 95))}


def _moment(data: PageData, look: Look) -> dict[str, Any]:
    """One decision: what was measured, what it was worth in bits, and what was chosen."""
    chart = JunctionMap(data.scenario, data.plan, look, data.truth)
    heights = [f"{low} to {high}" for low, high in pairwise(HEIGHTS_M)]
    return {
        "clock": pictures.clock(look.time_s, seconds=True),
        "vehicles": None if data.truth is None else len(data.truth),
        "radius_m": f"{SCENE_RADIUS_M:.0f}",
        "in_force": phase_name(in_force(look)),
        "chosen": phase_name(look.phase),
        "milliseconds": f"{1000.0 * look.seconds:.0f}",
        "map": chart.scene(),
        "returns": "lidar" in look.frames,
        "heights": [*heights, f"over {HEIGHTS_M[-1]}"],
        "cameras": [(frame.sensor, pictures.photograph(frame)) for frame in _newest(look.frames.get("video", ()))],
        "radars": [(frame.sensor, pictures.radar_picture(frame)) for frame in _newest(look.frames.get("radar", ()))],
        "decibels": f"{pictures.RADAR_DB:.0f}",
        "gradient": gradient("magma"),
        "bits": _bits(look, chart),
        "candidates": _candidates(data.plan, look),
    }


def _newest(frames: Sequence[SensorFrame]) -> list[SensorFrame]:
    """The last frame of every sensor."""
    return list({frame.sensor: frame for frame in sorted(frames, key=lambda frame: frame.t_ns)}.values())


def _bits(look: Look, chart: JunctionMap) -> list[dict[str, Any]]:
    total = {name: float(bits_BT.sum()) for name, bits_BT in look.decision.bits.items()}
    whole, most = max(sum(total.values()), 1e-9), max(*total.values(), 1e-9)
    return [
        {
            "name": name,
            "bits": f"{bits:,.0f}",
            "share": f"{100.0 * bits / whole:.0f}",
            "bar": 100.0 * bits / most,
            "tokens": f"{int(look.tokens[name].mask_BT.sum()):,}",
            "map": chart.tokens(name),
        }
        for name, bits in total.items()
    ]


def _candidates(plan: SignalPlan, look: Look) -> list[dict[str, Any]]:
    probability_P = look.decision.logits_BP[0].softmax(0).tolist()
    return [
        {
            "name": phase_name(phase),
            "icon": phase_icon(plan, phase),
            "serves": _serves(plan, phase),
            "state": state,
            "percent": f"{100.0 * probability_P[phase]:.1f}",
            "bar": 100.0 * probability_P[phase],
            "in_force": phase == in_force(look),
            "allowed": bool(look.query.allowed_P[phase]),
            "chosen": phase == look.phase,
        }
        for phase, state in enumerate(plan.green_states)
    ]


def _serves(plan: SignalPlan, phase: int) -> str:
    """Where the traffic that a phase serves comes from, and on how many lanes."""
    parts = []
    for approach, wind in zip(plan.approaches, winds(plan.approaches), strict=True):
        lanes = [index for index, lane in enumerate(plan.lanes) if lane.edge == approach.name]
        served, yielding = (int(table_PK[phase, lanes].sum()) for table_PK in (plan.serves_PK, plan.yields_PK))
        if served:
            note = f" ({yielding} yielding)" if yielding else ""
            parts.append(f"{wind}, {served} of {len(lanes)} {'lane' if len(lanes) == 1 else 'lanes'}{note}")
    return " · ".join(parts)
