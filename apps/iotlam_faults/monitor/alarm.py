"""One sensor's alarms: a baseline while it is learnt, then debounce and hysteresis.

An alarm needs some changed windows in a row, so that a knock does not raise it; and it stays until some in a row are
clearly back, so that it does not flutter. A sensor that says nothing any more is alarmed of in the same way.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray

from iotlam_faults.baseline import CHANGED, Baseline, near_speed

Doubles = NDArray[np.float64]


SHOWN = 0.25
"""Share of a baseline's windows which a fault is named in, from which the machine was damaged while it was learnt: of
sound ones hardly any is, and damage that begins while a baseline is learnt is in a part of it."""


class Rules(msgspec.Struct, frozen=True):
    """When an alarm is raised and when it ends.

    Attributes:
        learning: windows from which the baseline is learnt.
        raise_at: change from which a window counts as changed.
        clear_at: change below which one counts as back.
        raise_after: changed or dead windows in a row that raise an alarm.
        clear_after: windows in a row that end it.
    """

    learning: int = 20
    raise_at: float = CHANGED
    clear_at: float = 0.7 * CHANGED
    raise_after: int = 2
    clear_after: int = 5


class Latch(msgspec.Struct):
    """Whether an alarm of one kind stands.

    Attributes:
        stands: whether it does.
        streak: windows in a row that speak for a turn.
    """

    stands: bool = False
    streak: int = 0

    def turn(self, raises: bool, clears: bool, rules: Rules) -> bool:
        """Count a window; whether the alarm has just been raised or has just ended."""
        self.streak = self.streak + 1 if (clears if self.stands else raises) else 0
        if self.streak < (rules.clear_after if self.stands else rules.raise_after):
            return False
        self.stands, self.streak = not self.stands, 0
        return True


class Sensor(msgspec.Struct):
    """What is known of a sensor of a machine, from its first window on; each channel at each rate is one.

    Attributes:
        learnt: profiles of the windows of the baseline.
        settled: whether these are all: then nothing is added, whatever the rules of a later monitor.
        speeds_hz: least and greatest speed of the shaft among them, None where none was measured.
        shown: in how many of them physics names which fault.
        changed: the alarm of a machine that sounds otherwise than it did.
        dead: the alarm of a sensor that says nothing.
        unjudged: windows at other speeds than the baseline's since one was judged.
        taken_ns: when its newest window was taken, by the monitor's clock.
    """

    learnt: list[list[float]] = []
    settled: bool = False
    speeds_hz: tuple[float, float] | None = None
    shown: dict[str, int] = {}
    changed: Latch = msgspec.field(default_factory=Latch)
    dead: Latch = msgspec.field(default_factory=Latch)
    unjudged: int = 0
    taken_ns: int = 0

    @property
    def learnt_fault(self) -> str:
        """What enough windows of its whole baseline name, joined by +: it was learnt while damaged; empty if sound."""
        enough = [fault for fault, count in self.shown.items() if count >= SHOWN * len(self.learnt)]
        return "+".join(enough) if self.settled else ""

    @property
    def standing(self) -> tuple[str, ...]:
        """Kinds of the alarms that stand."""
        stands = {"changed": self.changed.stands, "dead": self.dead.stands, "damaged": bool(self.learnt_fault)}
        return tuple(kind for kind, does in stands.items() if does)

    @property
    def alarmed(self) -> bool:
        """Whether an alarm of any kind stands."""
        return bool(self.standing)

    def settle(self, rules: Rules) -> bool:
        """Whether its baseline is learnt, from now on or since long."""
        self.settled = self.settled or len(self.learnt) >= rules.learning
        return self.settled

    def learn(self, profile_C: Doubles, shaft_hz: float | None, faults: Sequence[str]) -> None:
        """Add a window to the baseline, and the faults that physics names in it."""
        self.learnt.append([round(float(value), 6) for value in profile_C])
        for fault in faults:
            self.shown[fault] = self.shown.get(fault, 0) + 1
        if shaft_hz is not None:
            low, high = self.speeds_hz or (shaft_hz, shaft_hz)
            self.speeds_hz = min(low, shaft_hz), max(high, shaft_hz)

    def stood(self, shaft_hz: float | None) -> bool:
        """Whether a first speed shows that all of the baseline is of a machine that stood, or was taken as if."""
        return shaft_hz is not None and self.speeds_hz is None and bool(self.learnt)

    def anew(self) -> None:
        """Throw the baseline away, to learn it from the next windows."""
        self.learnt, self.shown, self.settled, self.unjudged = [], {}, False, 0

    def at_speed(self, shaft_hz: float | None) -> bool:
        """Whether the baseline was learnt at about this speed; if not, a change says nothing."""
        if shaft_hz is None or self.speeds_hz is None:
            return shaft_hz is None and self.speeds_hz is None
        return near_speed(shaft_hz, *self.speeds_hz)

    def baseline(self) -> Baseline:
        """How it is while sound."""
        return Baseline.fit(np.array(self.learnt))
