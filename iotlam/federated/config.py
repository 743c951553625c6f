"""What decides a federated run, but for the devices' data."""

from __future__ import annotations

import math

from iotlam.contracts import BadInput, Record
from iotlam.federated.aggregation import MODES
from iotlam.federated.distillation import Distillation
from iotlam.federated.robust import LEAVING_OUT, RULES, least


class Enrolled(Record, frozen=True):
    """A device that may take part.

    Attributes:
        name: its own, unique.
        rank: greatest rank of LoRA that it can train.
        examples: no more than it can have learnt from.
    """

    name: str
    rank: int
    examples: int


class RunConfig(Record, frozen=True):
    """What decides a run, but for the devices' data.

    Attributes:
        devices: who may take part.
        mode: how updates are put together.
        rule: how much each device counts: by its examples (`mean`), or robustly, one device, one vote.
        attackers: how many devices the rule should stand.
        rounds: how many.
        steps: optimiser steps of a device in a round.
        learning_rate: their peak.
        others: whether weights outside the decoder are trained, too.
        eight_bits: whether changes are sent in eight bits.
        at_least: answers that make a round; with fewer it changes nothing.
        enough: answers after which a round ends, whoever is still awaited; 0 for all of them. Which come first is then
            a matter of time, and so are the weights.
        deadline_s: seconds after which a round ends without those who have not answered.
        seed: of everything.
        distil: how each device's own module and the shared one teach each other; None for devices without one.
    """

    devices: tuple[Enrolled, ...]
    mode: str = "product_svd"
    rule: str = "mean"
    attackers: int = 0
    rounds: int = 20
    steps: int = 10
    learning_rate: float = 2e-3
    others: bool = True
    eight_bits: bool = True
    at_least: int = 1
    enough: int = 0
    deadline_s: float = 300.0
    seed: int = 0
    distil: Distillation | None = None

    def __post_init__(self) -> None:
        names = [device.name for device in self.devices]
        if not names or len(set(names)) < len(names):
            raise _bad("devices", "one or more, each once", ", ".join(names) or "none", "list each device once")
        if self.mode not in MODES:
            raise _bad("mode", ", ".join(MODES), self.mode, "name one of them")
        self._check_rule()
        if not 1 <= self.at_least <= len(names):
            raise _bad("at_least", f"1 to {len(names)}", str(self.at_least), "correct it")
        if self.enough and not self.needed <= self.enough <= len(names):
            raise _bad("enough", f"0, or {self.needed} to {len(names)}", str(self.enough), "correct it")
        if any(device.rank < 1 or device.examples < 1 for device in self.devices):
            raise _bad("devices", "positive ranks and examples", "others", "correct them")
        for name in ("rounds", "steps", "learning_rate", "deadline_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise _bad(name, "a positive number", str(getattr(self, name)), "correct it")
        if not 0 <= self.seed < 2**31:
            raise _bad("seed", "0 to 2147483647", str(self.seed), "correct it")

    def _check_rule(self) -> None:
        if self.rule not in ("mean", *RULES):
            raise _bad("rule", ", ".join(("mean", *RULES)), self.rule, "name one of them")
        if self.attackers < 0:
            raise _bad("attackers", "0 or more", str(self.attackers), "correct it")
        if self.attackers and self.rule == "mean":
            raise _bad("rule", "one that stands attackers", "'mean'", "name median, trimmed_mean or multi_krum")
        if (needed := least(self.rule, self.attackers)) > len(self.devices):
            got = f"{len(self.devices)} for '{self.rule}' and {self.attackers} attackers"
            raise _bad("devices", f"{needed} or more", got, "enrol more devices")
        if self.rule != "mean" and not MODES[self.mode].robust:
            fit = ", ".join(name for name, mode in MODES.items() if mode.robust)
            fix = "name one of them: others average factors, which the rule cannot judge"
            raise _bad("mode", f"{fit} with rule '{self.rule}'", f"'{self.mode}'", fix)
        if not self.attackers and self.rule in LEAVING_OUT:
            raise _bad("attackers", f"1 or more for '{self.rule}'", "0", "say how many it should stand")

    def check_counts(self, now: RunConfig) -> None:
        """Refuse to go on with a run, if devices of the same names and ranks have more or fewer examples than it had.

        Raises:
            BadInput: naming the first such device.
        """
        for before, after in zip(self.devices, now.devices, strict=False):
            if before != after == before.changed(examples=after.examples):
                expected = f"{before.examples:,} examples, as when the run began"
                fix = "bring its data to what they were, or begin another run with another --out"
                raise BadInput(f"Device '{after.name}'", expected=expected, got=f"{after.examples:,}", fix=fix)

    @property
    def needed(self) -> int:
        """Answers that make a round: `at_least`, and as many as the rule needs to stand its attackers."""
        return max(self.at_least, least(self.rule, self.attackers))


def _bad(name: str, expected: str, got: str, fix: str) -> BadInput:
    return BadInput(f"RunConfig.{name}", expected=expected, got=got, fix=fix)
