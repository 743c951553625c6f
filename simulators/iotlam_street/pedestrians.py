"""People at signalled crossings: who waits, since when the button is pressed, and when they may walk.

A crossing gets green within a phase that serves it when somebody has pressed the button: at the beginning of the time
until the next decision, and it is red again so early that a change at that decision leaves people the net's own time to
clear the crossing. Phases without a call run as if there were no crossing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from iotlam_street.crossings import all_red
from iotlam_street.plan import SignalPlan
from iotlam_street.sumo import Sumo

if TYPE_CHECKING:
    from iotlam_street.junction import Junction

MIN_WALK_S = 4
"""Least green of a crossing."""


class Buttons:
    """The push buttons of a junction's C crossings.

    Attributes:
        waiting_C: people who stand at each crossing, as of the last `read`.
        called_at_s_C: when each button was pressed since people last walked there; NaN where it was not.
        red_since_s: when a crossing last turned red.
    """

    def __init__(self, plan: SignalPlan, sumo: Sumo) -> None:
        self._plan, self._sumo = plan, sumo
        self._crosses_PC = plan.crosses_PC
        self._served_C = self._crosses_PC.any(axis=0)
        self.waiting_C = np.zeros(len(plan.crossings), dtype=np.int64)
        self.called_at_s_C = np.full(len(plan.crossings), np.nan)
        self.red_since_s = -np.inf
        self._resting = tuple(all_red(state, plan.crossings) for state in plan.green_states)

    @property
    def waited_s_C(self) -> NDArray[np.float64]:
        """Seconds since each button was pressed; 0 where it was not, or where no phase serves the crossing."""
        return np.where(self._served_C, np.nan_to_num(self._sumo.time_s - self.called_at_s_C), 0.0)

    def read(self) -> int:
        """See who waits; returns how many people that are."""
        person, on_edge = self._sumo.api.person, self._sumo.api.edge.getLastStepPersonIDs
        for column, crossing in enumerate(self._plan.crossings):
            waiting = sum(
                person.getNextEdge(name) == crossing.id and person.getSpeed(name) < 0.1
                for kerb in crossing.kerbs
                for name in on_edge(kerb)
            )
            self.waiting_C[column] = waiting
            if waiting and np.isnan(self.called_at_s_C[column]):
                self.called_at_s_C[column] = self._sumo.time_s
        return int(self.waiting_C.sum())

    def resting(self, phase: int) -> str:
        """Link states of a phase in which nobody walks."""
        return self._resting[phase]

    def walking(self, phase: int) -> str | None:
        """Link states of a phase with green for the crossings that are called; None if none is."""
        called_C = self._crosses_PC[phase] & ~np.isnan(self.called_at_s_C)
        if not called_C.any():
            return None
        self.called_at_s_C[called_C] = np.nan
        green, state = self._plan.green_states[phase], list(self._resting[phase])
        for column in np.flatnonzero(called_C):
            for link in self._plan.crossings[column].links:
                state[link] = green[link]
        return "".join(state)


def let_walk(junctions: Sequence[Junction], budget_s: int, run: Callable[[int], None]) -> int:
    """Give the called crossings of the phases in force their green, then red again; returns the seconds it took.

    Args:
        junctions: those with crossings.
        budget_s: seconds until the next decision.
        run: simulates so many seconds.
    """
    if budget_s <= 0:
        return 0
    called = [(j, j.buttons, j.buttons.walking(j.phase)) for j in junctions if j.buttons]
    walking = [(junction, buttons, state) for junction, buttons, state in called if state]
    if not walking:
        return 0
    for junction, _, state in walking:
        junction.show(state)
    left_s = max(int(np.ceil(j.plan.clearance_s)) - j.rules.yellow_s - j.rules.all_red_s for j, _, _ in walking)
    walk_s = min(budget_s, max(MIN_WALK_S, budget_s - max(left_s, 0)))
    run(walk_s)
    for junction, buttons, _ in walking:
        junction.show(junction.resting(junction.phase))
        buttons.red_since_s = junction.time_s
    return walk_s


def count_waiting(junctions: Sequence[Junction], every_s: float, lost_s_J: NDArray[np.float64]) -> None:
    """Add the seconds that people at the crossings lose, each as much as a vehicle that stands."""
    for row, junction in enumerate(junctions):
        if junction.buttons:
            lost_s_J[row] += every_s * junction.buttons.read()
