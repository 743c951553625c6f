"""What a diagnosis found of one recording."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iotlam_faults.baseline import CHANGED
from iotlam_faults.physics.kurtogram import Kurtogram
from iotlam_faults.physics.sidebands import CurrentLines
from iotlam_faults.signals import Signal
from iotlam_faults.verdict import WORDS, Verdict

if TYPE_CHECKING:  # it loads the model's libraries, which takes longer than a diagnosis
    from iotlam_faults.trained import Opinion

CLEAR_NATS = 2.0
"""From which a pair of sidebands of the current is clear."""


@dataclass(frozen=True, slots=True)
class Before:
    """What a healthy recording of the machine had.

    Attributes:
        source: the recording.
        depth: how deep the lines of each fault were, by its name.
    """

    source: str
    depth: dict[str, float]


@dataclass(frozen=True, slots=True)
class Other:
    """What another channel of the recording says.

    Attributes:
        channel: its name.
        verdict: in a sentence, or why there is none.
        faults: what is named.
        damaged: whether it shows damage; None where it could not be judged.
        sigmas: how clear its clearest lines are; None without lines.
    """

    channel: str
    verdict: str
    faults: tuple[str, ...] = ()
    damaged: bool | None = None
    sigmas: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found.

    Attributes:
        signal: what was diagnosed, gaps bridged.
        recorded_s: how long the recording is, of which the signal is the first part.
        verdict: of the bearing; None where speed or geometry is not known.
        doubts: reasons to doubt it, and what could not be said.
        flaws: of these, what is wrong with the samples, so that damage may be there and not show.
        unexplained: of these, what may hide damage in sound samples: an odd speed, impacts without lines.
        rms_m_s2: root mean square of the acceleration.
        kurtosis: 3 for noise, more where there are impacts.
        velocity_mm_s: root mean square of the velocity, in the band of ISO 20816-3.
        kurtogram: where it rings.
        lines_hz: the strongest lines of the envelope, hertz, and how deep they are.
        change: how far it is from the machine's healthy baseline; None where there is none.
        before: what its healthy recordings had, in the order given.
        opinion: of a head that was trained on recordings; None where none was asked.
        current: lines of the motor's current; None where it was not measured.
        others: what the recording's other channels say, which say less.
    """

    signal: Signal
    recorded_s: float
    verdict: Verdict | None
    doubts: tuple[str, ...]
    flaws: tuple[str, ...]
    unexplained: tuple[str, ...]
    rms_m_s2: float
    kurtosis: float
    velocity_mm_s: float
    kurtogram: Kurtogram
    lines_hz: tuple[tuple[float, float], ...]
    change: float | None = None
    before: tuple[Before, ...] = ()
    opinion: Opinion | None = None
    current: CurrentLines | None = None
    others: tuple[Other, ...] = ()

    @property
    def strength(self) -> tuple[bool, bool, bool, bool, float]:
        """By which answers are compared: a named fault, damage, something unclear, a judgement, clear lines."""
        judged = self.verdict is not None
        return bool(self.faults), self.damaged, judged and self.unclear, judged, self.sigmas or 0.0

    @property
    def sigmas(self) -> float | None:
        """How clear the lines are of what is named, else the clearest; None where no lines can be told."""
        if self.verdict is None:
            return None
        findings = self.verdict.findings
        return max(findings[name].sigmas for name in self.faults or findings)

    @property
    def in_brief(self) -> Other:
        """The answer as that of another channel."""
        return Other(self.signal.channel, self.headline, self.faults, self.damaged, self.sigmas)

    @property
    def among(self) -> str:
        """Which of several channels this is and what the others say, in words; empty where there is but one."""
        if not self.others:
            return ""
        said = "; ".join(f"{one.channel}: {one.verdict.rstrip('.')}" for one in self.others)
        return f"channel {self.signal.channel} says most; {said}"

    @property
    def confirmed_by_current(self) -> tuple[str, ...]:
        """Those of the named faults whose sidebands are clear in the motor's current."""
        lines = {} if self.current is None else self.current.lines
        return tuple(name for name in self.faults if name in lines and lines[name].nats >= CLEAR_NATS)

    @property
    def changed(self) -> bool:
        """Whether the machine has changed much since it was sound."""
        return self.change is not None and self.change >= CHANGED

    @property
    def damaged(self) -> bool:
        """Whether physics names a fault, or the machine has changed much since it was sound."""
        return bool(self.verdict and self.verdict.faults) or self.changed

    @property
    def faults(self) -> tuple[str, ...]:
        """What is named: what physics names, else what the trained head is sure of; nothing where they contradict."""
        by_physics = self.verdict.faults if self.verdict else ()
        if self.opinion is None or not self.damaged:
            return by_physics
        if self.contradicted:
            return ()
        return by_physics or ((self.opinion.named,) if self.opinion.named else ())

    @property
    def contradicted(self) -> bool:
        """Whether the trained head names another fault than those whose lines physics sees."""
        if self.verdict is None or self.opinion is None or not self.opinion.named:
            return False
        seen = self.verdict.faults or self.verdict.suspects
        return bool(seen) and self.opinion.named not in seen

    @property
    def because(self) -> tuple[str, ...]:
        """Why it is answered so: by the lines, by the machine's past, by the trained head, by the motor's current."""
        by_lines = self.verdict.because if self.verdict else ()
        confirmed = (
            f"the motor's current has the sidebands of the {WORDS[one]} too" for one in self.confirmed_by_current
        )
        return (*by_lines, *self._by_change(), *self._by_head(), *confirmed)

    def _by_change(self) -> tuple[str, ...]:
        """That the machine has changed much, in words."""
        if not self.changed:
            return ()
        return (f"the machine has changed by {self.change:.1f} since it was sound: {CHANGED:g} and more is much",)

    def _by_head(self) -> tuple[str, ...]:
        """What the trained head says and whether it alone names the fault, in words."""
        if self.opinion is None:
            return ()
        shares = ", ".join(f"{WORDS[name]} {share:.0%}" for name, share in self.opinion.probability.items())
        alone = self.faults and self.verdict and not self.verdict.faults
        says = f"alone names the {WORDS[self.opinion.named]}" if alone else "says"
        return (f"the trained head {says}: if the bearing is damaged, {shares}",)

    @property
    def severity(self) -> dict[str, float]:
        """Of what is named, as the trained head says; empty without one, and where nothing is damaged."""
        return {} if self.opinion is None else {name: self.opinion.severity[name] for name in self.faults}

    @property
    def unclear(self) -> bool:
        """Whether the bearing can be called neither damaged in some part nor sound."""
        return not self.faults and (self.damaged or self.verdict is None or self.verdict.unclear or self.blind)

    @property
    def blind(self) -> bool:
        """Whether damage may be there and not show."""
        return bool(self.flaws or self.unexplained)

    @property
    def cut(self) -> str:
        """What part of the recording was judged, in words; empty where it was all."""
        seconds = len(self.signal.values_N) / self.signal.rate_hz
        return f"the first {seconds:.3g} s of {self.recorded_s:.3g} s" if seconds < self.recorded_s else ""

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        verdict = self.verdict
        if self.faults:
            parts = " and ".join(WORDS[name] for name in self.faults)
            return f"Damage of the {parts}."
        if self.damaged:
            return "Damage, but its type is unclear."
        if verdict is None:
            return "Not enough is known to judge the bearing."
        if verdict.unclear:
            return "Something is there, but it is unclear what."
        if self.blind:
            return "No damage of the bearing shows, but this recording cannot tell whether it is sound."
        return "No damage of the bearing shows."
