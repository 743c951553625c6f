"""One episode of one controller at one junction."""

from __future__ import annotations

from collections.abc import Callable

from iotlam_street.junction import Junction, SignalRules
from iotlam_street.metrics import TripMetrics
from iotlam_street.plan import SignalPlan
from iotlam_street.scenarios import Scenario
from iotlam_traffic.rules import Controller


def run_episode(
    controller: Controller,
    scenario: Scenario,
    seed: int,
    rules: SignalRules | None = None,
    plan: SignalPlan | None = None,
    on_decision: Callable[[Junction], None] | None = None,
) -> TripMetrics:
    """Run a controller through the scenario's hour.

    Args:
        controller: whoever decides.
        scenario: net, demand and hour.
        seed: SUMO's random seed.
        rules: the action rules, the same for every controller.
        plan: the net's signal plan, if already read.
        on_decision: called after each decision has been carried out.

    Returns:
        Trip metrics over all vehicles.
    """
    with Junction(scenario, seed, rules, controller.native, plan) as junction:
        while not junction.done:
            junction.advance(controller.choose(junction))
            if on_decision:
                on_decision(junction)
        return junction.finish()
