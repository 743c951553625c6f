"""One episode of one controller at one junction."""

from __future__ import annotations

from collections.abc import Callable

from iotlam_street.junction import Junction
from iotlam_street.metrics import TripMetrics
from iotlam_street.scenarios import Scenario
from iotlam_traffic.rules import Controller


def run_episode(
    controller: Controller,
    scenario: Scenario,
    seed: int,
    on_decision: Callable[[Junction], None] | None = None,
) -> TripMetrics:
    """Run a controller through the scenario's hour.

    Args:
        controller: whoever decides.
        scenario: net, demand and hour.
        seed: SUMO's random seed.
        on_decision: called after each decision has been carried out.

    Returns:
        Trip metrics over all vehicles.
    """
    with Junction(scenario, seed, native=controller.native) as junction:
        while not junction.done:
            junction.advance(controller.choose(junction))
            if on_decision:
                on_decision(junction)
        return junction.finish()
