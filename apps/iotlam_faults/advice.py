"""What to do next: sentences from a template, each grounded in a field of the answer and no more."""

from __future__ import annotations

from iotlam_faults.answer import Answer
from iotlam_faults.physics.velocity import Group, zones
from iotlam_faults.verdict import WORDS, beyond_combs

SUPPORT: Group = "2 rigid"
IMPULSIVE = 5.0
"""Kurtosis from which impacts dominate: damage is local, and has not worn the whole raceway."""

DEEP = 1.0
"""Modulation from which the impacts are most of the signal in their band."""

UNEVEN = 0.07
"""Share from which phases are told as uneven: sound motors, simulated (0.01) and real (0.053), stay below."""

MONTH, WEEK = "within a month", "within a week"


def advice(answer: Answer) -> tuple[str, ...]:
    """What a maintenance engineer should do, and when to look again."""
    found = [*_of_bearing(answer), *_of_housing(answer), *_of_motor(answer)]
    if not found:
        return ("Nothing is to be done; keep this recording as the machine's healthy baseline (--healthy).",)
    if answer.doubts and answer.damaged:
        found.append("Before the bearing is opened, measure once more: there are reasons to doubt this.")
    return tuple(found)


def _of_bearing(answer: Answer) -> list[str]:
    named = answer.signal.bearing_name
    bearing = f"bearing {named}" if named else "the bearing"
    if answer.faults:
        parts = " and ".join(WORDS[name] for name in answer.faults)
        when = WEEK if _depth(answer) >= DEEP or answer.kurtosis >= IMPULSIVE else MONTH
        return [
            f"Order {bearing} and plan to replace it: {parts}. Until then measure again {when}, at this speed and load."
        ]
    if answer.changed:
        return [f"The machine has changed much since it was sound: measure again {WEEK}, and look at {bearing} first."]
    if answer.damaged:
        return [
            f"Physics and the trained head contradict each other: measure again {WEEK}, and look at {bearing} first."
        ]
    if lacking := answer.signal.lacking:
        what = {"speed": "the speed of the shaft", "bearing": "the number of the bearing"}
        told = " and ".join(what[one] for one in lacking)
        return [f"Find out {told}: with {'them' if len(lacking) > 1 else 'it'} the bearing's faults can be told apart."]
    if answer.signal.orders and beyond_combs(answer.signal.orders):
        return [f"Compare with healthy recordings (--healthy): the lines of {bearing} lie too high to be told apart."]
    if answer.verdict is None:
        return ["Record anew, for longer or at a higher sample rate: this one cannot tell the bearing's faults apart."]
    if answer.verdict.unclear:
        return [f"Measure again {MONTH}, for ten seconds or longer, with the sensor as near to {bearing} as it goes."]
    if answer.blind:
        return [
            f"Set right what is doubted and measure again {WEEK}: this recording does not tell that {bearing} is sound."
        ]
    return []


def _of_housing(answer: Answer) -> list[str]:
    letter = zones(answer.velocity_mm_s, answer.signal.rate_hz, answer.signal.shaft_hz).get(SUPPORT)
    if letter not in ("C", "D") or answer.flaws:
        return []
    return [
        f"The housing moves hard ({answer.velocity_mm_s:.1f} mm/s, zone {letter} of group {SUPPORT}): "
        "look at balance, alignment and mounting."
    ]


def _of_motor(answer: Answer) -> list[str]:
    if answer.current is None or answer.current.uneven < UNEVEN:
        return []
    return [
        f"The phases of the motor's current are uneven by {answer.current.uneven:.0%}, as shorted turns make them: "
        "look at its windings, its connections and its supply."
    ]


def _depth(answer: Answer) -> float:
    if answer.verdict is None:
        return 0.0
    return max((answer.verdict.findings[name].depth for name in answer.faults), default=0.0)
