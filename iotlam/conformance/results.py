"""What the checks found, and the tier that follows from it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import msgspec

from iotlam.conformance.catalog import TIERS, Tier
from iotlam.contracts import Json, Record

Status = Literal["passed", "failed", "not applicable", "blocked"]


class Result(Record, frozen=True):
    """What one check found.

    Attributes:
        check: its name.
        area: what it is about.
        tier: the first tier that asks for it.
        status: `blocked` if it was not run because a check that it needs did not pass.
        reason: one sentence, "" where it passed.
        facts: figures that it measured, by name with unit.
        seconds: wall time.
    """

    check: str
    area: str
    tier: Tier
    status: Status
    reason: str = ""
    facts: dict[str, float] = {}
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Report:
    """What all checks found of one modality.

    Attributes:
        modality: its name.
        results: one for each check, in the order in which they ran.
        seconds: wall time of all, start of the worker included.
    """

    modality: str
    results: tuple[Result, ...]
    seconds: float

    @property
    def failed(self) -> tuple[Result, ...]:
        """The checks that failed."""
        return tuple(result for result in self.results if result.status == "failed")

    @property
    def facts(self) -> dict[str, float]:
        """All figures that were measured."""
        return {name: value for result in self.results for name, value in result.facts.items()}

    @property
    def tier(self) -> Tier | None:
        """The highest tier that is reached together with all below it; None where not even bronze is."""
        reached = None
        for tier in TIERS:
            if self.missing(tier):
                break
            reached = tier
        return reached

    @property
    def next_tier(self) -> Tier | None:
        """The first tier that is not reached, None at platinum."""
        return next((tier for tier in TIERS if self.missing(tier)), None)

    def missing(self, tier: Tier) -> list[Result]:
        """The checks of a tier that stand in its way.

        What does not apply is no hindrance, but on platinum: there a modality learns and reads files.
        """
        held = ("passed",) if tier == "platinum" else ("passed", "not applicable")
        return [result for result in self.results if result.tier == tier and result.status not in held]

    def count(self) -> Counter[str]:
        """How many checks have each status."""
        return Counter(result.status for result in self.results)

    def to_raw(self) -> Json:
        """The report for programs."""
        raw: Json = msgspec.to_builtins(self)
        return {**raw, "tier": self.tier, "next_tier": self.next_tier, "facts": self.facts}
