"""One episode of one controller on a street."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from iotlam_street.junction import SignalRules
from iotlam_street.metrics import TripMetrics
from iotlam_street.scenarios import Scenario
from iotlam_street.street import Street
from iotlam_street.sumo import Engine
from iotlam_traffic.rules import Controller


def run_episode(
    controller: Controller,
    scenario: Scenario,
    seed: int,
    on_decision: Callable[[Street], None] | None = None,
    tripinfo: Path | None = None,
    gui: bool = False,
    list_trips: bool = False,
    rules: SignalRules | None = None,
) -> TripMetrics:
    """Run a controller through the scenario's hour.

    Args:
        controller: whoever decides.
        scenario: net, demand and hour.
        seed: SUMO's random seed.
        on_decision: called after each decision has been carried out.
        tripinfo: where to leave SUMO's own list of trips.
        gui: run in SUMO's window.
        list_trips: have the metrics list every vehicle, which costs a seventh of SUMO's time.
        rules: the action rules.

    Returns:
        Trip metrics over all vehicles.
    """
    engine: Engine = "traci" if gui else "libsumo"
    listed = list_trips or tripinfo is not None
    with Street(scenario, seed, rules, controller.native, engine=engine, gui=gui, list_trips=listed) as street:
        while not street.done:
            street.advance(controller.choose(street.junctions))
            if on_decision:
                on_decision(street)
        return street.finish(tripinfo)
