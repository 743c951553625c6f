"""Controllers side by side: the same junction, the same seeds, the same rules of action."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from iotlam.contracts import BadInput, Json
from iotlam.training.parallel import run_parallel
from iotlam_street.faults import SensorFaults
from iotlam_street.junction import SignalRules
from iotlam_street.metrics import TripGroup, TripMetrics
from iotlam_street.plan import read_plans
from iotlam_street.scenarios import Scenario
from iotlam_street.street import Street
from iotlam_street.weather import CLEAR, Weather
from iotlam_traffic.controller import SensorController
from iotlam_traffic.discharge import Discharge
from iotlam_traffic.episode import run_episode
from iotlam_traffic.lanes import SHIPPED, WEIGHTS, LanePolicy, load_lanes
from iotlam_traffic.policy import load_policy
from iotlam_traffic.rivals.agent import ALGORITHMS, load_agent
from iotlam_traffic.rules import RULES, Controller

OURS = "iotlam"
CONTROLLERS = (OURS, *RULES, *ALGORITHMS, Discharge.name, LanePolicy.name)
"""Everybody who can be put in charge; the lane policy sees the simulator's state and is no rival."""

TRAINING = {OURS: "train", LanePolicy.name: "train-lanes", **dict.fromkeys(ALGORITHMS, "train-agent")}
"""Commands that make the weights of those who have some."""

GROUPS = ("priority", "others", "people")
"""Those who travel, by kind, as `TripMetrics` names them."""

GRIDLOCK_FIXED, GRIDLOCK_SHARE = 3.0, 0.01
"""Traffic has broken down above so many times the fixed program's delay, or with so many more kept out."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One episode to run.

    Attributes:
        controller: one of `CONTROLLERS`.
        scenario: net, demand and hour.
        seed: SUMO's seed and that of the sensors' noise.
        weights: folder of a trained policy; None for the shipped one.
        modalities: sensors that ours may use; empty for all.
        tripinfo: where to leave SUMO's own list of trips.
        gui: run in SUMO's window.
        list_trips: have the metrics list every vehicle.
        rules: the action rules.
        faults: what is wrong with our sensors.
        weather: what is in their way.
    """

    controller: str
    scenario: Scenario
    seed: int
    weights: Path | None = None
    modalities: tuple[str, ...] = ()
    tripinfo: Path | None = None
    gui: bool = False
    list_trips: bool = False
    rules: SignalRules = SignalRules()
    faults: SensorFaults = SensorFaults()
    weather: Weather = CLEAR


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a trial; `decision_ms` is the wall time from frames to phase of each decision of ours."""

    trial: Trial
    trips: TripMetrics
    decision_ms: list[float] = field(default_factory=list)

    def as_json(self) -> Json:
        """The outcome as one row."""
        trips = self.trips
        return {
            "scenario": self.trial.scenario.name,
            "controller": self.trial.controller,
            "seed": self.trial.seed,
            "delay_s": round(trips.delay_s, 2),
            "waiting_s": round(trips.waiting_s, 2),
            "trip_s": round(trips.trip_s, 2),
            "vehicles": trips.vehicles,
            "unfinished": trips.unfinished,
            "never_departed": trips.never_departed,
            **{name: value for group in GROUPS for name, value in _group(group, trips).items()},
        }


def _group(name: str, trips: TripMetrics) -> dict[str, float]:
    """Those of one kind, where there are any: how many, their mean delay and waiting."""
    group: TripGroup | None = getattr(trips, name)
    if group is None:
        return {}
    return {
        name: group.count,
        f"{name}_delay_s": round(group.delay_s, 2),
        f"{name}_waiting_s": round(group.waiting_s, 2),
    }


def make_controller(trial: Trial) -> Controller:
    """Who is in charge of a trial.

    Raises:
        BadInput: for a controller, policy or modality that does not exist.
    """
    name = trial.controller
    if name not in CONTROLLERS:
        known = ", ".join(CONTROLLERS)
        raise BadInput(f"Controller '{name}'", expected=f"one of {known}", got=f"'{name}'", fix="name one of them")
    if name not in TRAINING:
        if trial.weights is not None:
            fix = f"name it without '={trial.weights}'"
            raise BadInput(f"Controller '{name}'", expected="no weights: it is a rule", got="a folder", fix=fix)
        return Discharge() if name == Discharge.name else RULES[name]()
    if name == OURS:
        sensors = trial.modalities or None
        return SensorController(load_policy(trial.weights), sensors, trial.seed, trial.faults, trial.weather)
    if name == LanePolicy.name:
        return LanePolicy(load_lanes((trial.weights or SHIPPED) / WEIGHTS))
    if trial.weights is None:
        fix = f"name it, as in {name}=FOLDER; train one with: iotlam traffic {TRAINING[name]}"
        raise BadInput(f"Controller '{name}'", expected="the folder of its weights", got="none", fix=fix)
    return load_agent(trial.weights, name)


def run_trial(trial: Trial, on_decision: Callable[[Street], None] | None = None) -> Outcome:
    """Run one episode in this process; `on_decision` is called after each decision."""
    torch.set_num_threads(1)
    controller = make_controller(trial)
    where = trial.scenario, trial.seed
    trips = run_episode(controller, *where, on_decision, trial.tripinfo, trial.gui, trial.list_trips, trial.rules)
    seconds = controller.seconds if isinstance(controller, SensorController) else []
    return Outcome(trial, trips, [1000.0 * second for second in seconds])


def run_trials(trials: Sequence[Trial], workers: int, on_done: Callable[[Outcome], None]) -> list[Outcome]:
    """Run episodes in parallel processes, the long ones first; outcomes in the order of the trials."""
    for trial in {(trial.controller, trial.weights): trial for trial in trials}.values():
        make_controller(trial)  # wrong names are said before anything runs
    order = sorted(range(len(trials)), key=lambda i: -_length(trials[i]))
    done = run_parallel(run_trial, [trials[i] for i in order], workers, on_done)
    return [done[order.index(i)] for i in range(len(trials))]


def _length(trial: Trial) -> float:
    """How long a trial takes, more or less: signals times seconds, and much more with sensors."""
    signals = len(read_plans(trial.scenario.net))
    return signals * trial.scenario.duration_s * (30.0 if trial.controller == OURS else 1.0)


def gridlocked(outcome: Outcome, others: Sequence[Outcome]) -> bool:
    """Whether traffic broke down: much worse than the fixed program, or many more than elsewhere never got in.

    Args:
        outcome: the one that is judged.
        others: outcomes of other controllers on the same map and seed; those of `fixed` are among them, or it is judged
            by those who never departed alone.

    Returns:
        Whether its delay is above `GRIDLOCK_FIXED` times that of `fixed`, or its share of vehicles that never departed
        more than `GRIDLOCK_SHARE` above the least of the others.
    """
    fixed = [one.trips.delay_s for one in others if one.trial.controller == "fixed"]
    slow = any(outcome.trips.delay_s > GRIDLOCK_FIXED * delay_s for delay_s in fixed)
    least = min((_kept_out(one) for one in others), default=0.0)
    return slow or _kept_out(outcome) > least + GRIDLOCK_SHARE


def _kept_out(outcome: Outcome) -> float:
    return outcome.trips.never_departed / outcome.trips.vehicles


def summarise(outcomes: Sequence[Outcome]) -> list[Json]:
    """Per scenario and controller: median and worst delay over the seeds, in order of first appearance."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.trial.scenario.name, outcome.trial.controller), []).append(outcome)
    return [
        {
            "scenario": scenario,
            "controller": controller,
            "seeds": len(group),
            "delay_s_median": round(float(np.median([o.trips.delay_s for o in group])), 2),
            "delay_s_worst": round(max(o.trips.delay_s for o in group), 2),
            "waiting_s_median": round(float(np.median([o.trips.waiting_s for o in group])), 2),
            "never_departed": sum(o.trips.never_departed for o in group),
        }
        for (scenario, controller), group in groups.items()
    ]
