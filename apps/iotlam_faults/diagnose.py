"""One recording, one answer: what is wrong with the bearing, what that rests on, and why to doubt it.

Where the speed or the geometry is not known, no fault can be told by its lines; what can be said without is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from iotlam.contracts import BadInput, Json
from iotlam_faults.advice import IMPULSIVE, advice
from iotlam_faults.baseline import CHANGED, Baseline, profile
from iotlam_faults.checks import Mended, mended
from iotlam_faults.evidence import levels
from iotlam_faults.physics.kurtogram import Kurtogram, kurtogram
from iotlam_faults.physics.sidebands import CurrentLines, current_lines
from iotlam_faults.physics.velocity import EDITION, band_hz, velocity_rms_mm_s, zones
from iotlam_faults.signals import Signal
from iotlam_faults.verdict import FEWEST_TURNS, WORDS, Verdict, judge, unfit
from iotlam_machine.bearings import Bearing
from iotlam_waveform.envelope import Bands, modulation, squared_envelopes, surroundings

if TYPE_CHECKING:  # they load the model's libraries, which takes longer than a diagnosis
    from iotlam_faults.trained import Opinion, Trained

LONGEST_S = 20.0
"""Of a longer recording the first seconds count, and as many as a slow shaft's fewest turns take."""

WINDOW_S = 1.0
"""Of a baseline's windows."""

CLEAR_NATS = 2.0
"""From which a pair of sidebands of the current is clear."""

MOST_LINES = 5
LINES_HZ = (2.0, 500.0)


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
class Answer:
    """What was found.

    Attributes:
        signal: what was diagnosed, gaps bridged.
        recorded_s: how long the recording is, of which the signal is the first part.
        verdict: of the bearing; None where speed or geometry is not known.
        doubts: reasons to doubt it, and what could not be said.
        flaws: of these, why damage may be there and not show.
        rms_m_s2: root mean square of the acceleration.
        kurtosis: 3 for noise, more where there are impacts.
        velocity_mm_s: root mean square of the velocity, in the band of ISO 20816-3.
        kurtogram: where it rings.
        lines_hz: the strongest lines of the envelope, hertz, and how deep they are.
        change: how far it is from the machine's healthy baseline; None where there is none.
        before: what its healthy recordings had, in the order given.
        opinion: of a head that was trained on recordings; None where none was asked.
        current: lines of the motor's current; None where it was not measured.
    """

    signal: Signal
    recorded_s: float
    verdict: Verdict | None
    doubts: tuple[str, ...]
    flaws: tuple[str, ...]
    rms_m_s2: float
    kurtosis: float
    velocity_mm_s: float
    kurtogram: Kurtogram
    lines_hz: tuple[tuple[float, float], ...]
    change: float | None = None
    before: tuple[Before, ...] = ()
    opinion: Opinion | None = None
    current: CurrentLines | None = None

    @property
    def confirmed_by_current(self) -> tuple[str, ...]:
        """Those of the named faults whose sidebands are clear in the motor's current."""
        lines = {} if self.current is None else self.current.lines
        return tuple(name for name in self.faults if name in lines and lines[name].nats >= CLEAR_NATS)

    @property
    def damaged(self) -> bool:
        """Whether physics names a fault, or the machine has changed much since it was sound."""
        return bool(self.verdict and self.verdict.faults) or (self.change is not None and self.change >= CHANGED)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is named: what physics names unless the trained head contradicts it; else what that head is sure of."""
        by_physics = self.verdict.faults if self.verdict else ()
        if self.opinion is None or not self.damaged:
            return by_physics
        if by_physics:
            return by_physics if self.opinion.named in ("", *by_physics) else ()
        return (self.opinion.named,) if self.opinion.named else ()

    @property
    def unclear(self) -> bool:
        """Whether the bearing can be called neither damaged in some part nor sound."""
        return not self.faults and (self.damaged or self.verdict is None or self.verdict.unclear or bool(self.flaws))

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
        if self.flaws:
            return "No damage of the bearing shows, but this recording cannot tell whether it is sound."
        return "No damage of the bearing shows."

    def sentences(self) -> list[str]:
        """The answer for people: the verdict, why (-), what to doubt (?), what to do (>)."""
        confirmed = (
            f"the motor's current has the sidebands of the {WORDS[one]} too" for one in self.confirmed_by_current
        )
        return [
            self.headline,
            *(f"- {reason}" for reason in (*(self.verdict.because if self.verdict else ()), *confirmed)),
            *([f"- {self.cut} were judged"] if self.cut else []),
            *(f"? {doubt}" for doubt in self.doubts),
            *(f"> {sentence}" for sentence in advice(self)),
        ]

    def as_json(self) -> Json:
        """The answer for programs."""
        verdict, signal = self.verdict, self.signal
        found: Json = {
            "source": signal.source,
            "channel": signal.channel,
            "rate_hz": signal.rate_hz,
            "seconds": round(len(signal.values_N) / signal.rate_hz, 3),
            "recorded_seconds": round(self.recorded_s, 3),
            "verdict": self.headline,
            "faults": list(self.faults),
            "unclear": self.unclear,
            "change": None if self.change is None else round(self.change, 3),
            "probability": {} if self.opinion is None else self.opinion.probability,
            "severity": {} if self.opinion is None else self.opinion.severity,
            "advice": list(advice(self)),
            "confirmed_by_current": list(self.confirmed_by_current),
            "because": [] if verdict is None else list(verdict.because),
            "doubts": list(self.doubts),
            "rms_m_s2": round(self.rms_m_s2, 4),
            "kurtosis": round(self.kurtosis, 2),
            "velocity_mm_s": round(self.velocity_mm_s, 3),
            "velocity_band_hz": list(band_hz(signal.rate_hz, signal.shaft_hz)),
            "velocity_zone": zones(self.velocity_mm_s, signal.rate_hz, signal.shaft_hz),
            "velocity_zone_by": EDITION,
            "rings_hz": [round(hz, 1) for hz in self.kurtogram.best_hz],
            "envelope_lines_hz": [round(hz, 2) for hz, _ in self.lines_hz],
        }
        if self.current is not None:
            found["current"] = {
                "supply_hz": round(self.current.supply_hz, 3),
                "uneven": round(self.current.uneven, 4),
                "sidebands": {
                    name: {"hz": round(one.hz, 3), "depth": round(one.depth, 5), "nats": round(one.nats, 2)}
                    for name, one in self.current.lines.items()
                },
            }
        if verdict is not None:
            found["shaft_hz"] = round(verdict.speed.hz, 4)
            found["findings"] = {
                name: {
                    "order": round(one.order, 4),
                    "hz": round(one.hz, 2),
                    "sigmas": round(one.sigmas, 2),
                    "depth": round(one.depth, 4),
                    "band_hz": list(one.band_hz),
                }
                for name, one in verdict.findings.items()
            }
        return found


def diagnose(
    signal: Signal,
    healthy: Sequence[Signal] = (),
    trained: Trained | None = None,
    current: tuple[NDArray[np.float32], float] | None = None,
) -> Answer:
    """Diagnose one signal.

    Args:
        signal: what to diagnose.
        healthy: signals of the same sensor while the machine was sound.
        trained: a head that was trained on recordings, as a second opinion.
        current: of the motor meanwhile, ampere (N, phases), and its sample rate.

    Raises:
        BadInput: if it says nothing: too short, constant, or more gap than signal; or the others do not fit it.
    """
    recorded_s = len(signal.values_N) / signal.rate_hz
    signal, found = _ready(signal, f"Recording '{signal.source}', channel '{signal.channel}'")
    samples_N = torch.from_numpy(signal.values_N)
    centred_N = samples_N - samples_N.mean()
    kurtosis = float((centred_N / centred_N.std()).pow(4).mean())
    verdict = _verdict(signal)
    sound = [_ready(_at_speed(one, signal), f"--healthy, recording '{one.source}'") for one in healthy]
    flaws = (*found.flaws, *_unexplained(verdict, kurtosis))
    doubts = [*found.bridged, *_doubts(signal, verdict), *flaws]
    doubts += [f"in {one.source}, {doubt}" for one, more in sound for doubt in more.doubts]
    lines, current_doubts = _current(signal, verdict, *current) if current else (None, [])
    answer = Answer(
        signal=signal,
        recorded_s=recorded_s,
        verdict=verdict,
        doubts=(*doubts, *current_doubts),
        flaws=flaws,
        rms_m_s2=float(centred_N.square().mean().sqrt()),
        kurtosis=kurtosis,
        velocity_mm_s=float(velocity_rms_mm_s(samples_N[None], signal.rate_hz, signal.shaft_hz)),
        kurtogram=kurtogram(samples_N, signal.rate_hz),
        lines_hz=_strongest_lines(samples_N, signal.rate_hz),
        change=_change(signal, [one for one, _ in sound]) if sound else None,
        before=_before([one for one, _ in sound]),
        current=lines,
    )
    return answer if trained is None else _with_opinion(answer, trained)


def _ready(signal: Signal, subject: str) -> tuple[Signal, Mended]:
    """The part of a signal that is judged, gaps bridged, and what is wrong with it."""
    needed_s = (FEWEST_TURNS + 1.0) / signal.shaft_hz if signal.shaft_hz else 0.0
    signal = signal.first(max(LONGEST_S, needed_s))
    found = mended(signal.values_N, signal.rate_hz, subject)
    return replace(signal, values_N=found.values_N), found


def _at_speed(healthy: Signal, signal: Signal) -> Signal:
    """A healthy recording with the bearing of the signal, and its speed unless its own is known."""
    return replace(healthy, shaft_hz=healthy.shaft_hz or signal.shaft_hz, bearing=signal.bearing)


def _before(healthy: Sequence[Signal]) -> tuple[Before, ...]:
    """How deep lines were in healthy recordings that can be judged."""
    judged = [(one.source, _verdict(one)) for one in healthy]
    return tuple(
        Before(source, {name: found.depth for name, found in verdict.findings.items()})
        for source, verdict in judged
        if verdict is not None
    )


def _current(
    signal: Signal, verdict: Verdict | None, current_NP: NDArray[np.float32], rate_hz: float
) -> tuple[CurrentLines, list[str]]:
    """Lines of the motor's current, at the speed that the vibration tells, and reasons to doubt them."""
    shaft_hz = verdict.speed.hz if verdict else signal.shaft_hz
    if shaft_hz is None:
        raise BadInput("--current", expected="the speed of the shaft with it", got="none", fix="give --rpm")
    phases = [mended(phase_N, rate_hz, f"--current, phase {index}") for index, phase_N in enumerate(current_NP.T, 1)]
    doubts = [
        f"in phase {index} of the current, {doubt}" for index, one in enumerate(phases, 1) for doubt in one.doubts
    ]
    current_NP = np.stack([phase.values_N for phase in phases], 1)
    return current_lines(torch.from_numpy(current_NP), rate_hz, shaft_hz, signal.orders), doubts


def _change(signal: Signal, healthy: Sequence[Signal]) -> float:
    """How far the signal is from healthy ones, window by window, on average."""
    if odd := [one for one in healthy if one.rate_hz != signal.rate_hz]:
        got = f"{odd[0].rate_hz:g} Hz in {odd[0].source}"
        raise BadInput(
            "--healthy", expected=f"the same sample rate, {signal.rate_hz:g} Hz", got=got, fix="record alike"
        )
    sound = np.concatenate([_profiles(one) for one in healthy])
    return float(Baseline.fit(sound).change(_profiles(signal)).mean())


def _profiles(signal: Signal) -> NDArray[np.float64]:
    """Profiles of windows of a second."""
    values_N = signal.values_N
    size = round(min(WINDOW_S * signal.rate_hz, len(values_N)))
    count = len(values_N) // size
    values_WN = torch.from_numpy(np.ascontiguousarray(values_N[: count * size])).reshape(count, size)
    return profile(levels(values_WN, signal.rate_hz), values_WN)


def _with_opinion(answer: Answer, trained: Trained) -> Answer:
    """With what the trained head says and, where that counts, what of it is to be doubted."""
    from iotlam_faults.data.catalogue import Entry
    from iotlam_faults.data.reading import Waveform
    from iotlam_faults.recordings import cut

    signal, verdict = answer.signal, answer.verdict
    if verdict is None:
        return answer
    entry = Entry(
        set="own",
        file=signal.source,
        bearing="asked",
        rate_hz=signal.rate_hz,
        part=signal.part,
        rpm=60.0 * verdict.speed.hz,
        own_geometry=signal.bearing if isinstance(signal.bearing, Bearing) else None,
    )
    wave = Waveform(signal.values_N[:, None], entry, Path(signal.source))
    opinion = trained.judge(cut([wave], trained.facts.window_s, trained.facts.rate_hz))
    doubts = []
    if not opinion.named:
        doubts.append(
            f"the trained head's readings disagree: {WORDS[opinion.by_physics]} by physics, "
            f"{WORDS[opinion.by_encoder]} by the encoder"
        )
    elif verdict.faults and opinion.named not in verdict.faults:
        doubts.append(f"physics names the {WORDS[verdict.faults[0]]}, the trained head the {WORDS[opinion.named]}")
    if signal.part not in trained.facts.parts:
        known = ", ".join(trained.facts.parts) or "none"
        doubts.append(f"the trained head does not know how '{signal.part}' rings; it knows {known}")
    return replace(answer, opinion=opinion, doubts=(*answer.doubts, *(doubts if answer.damaged else ())))


def _verdict(signal: Signal) -> Verdict | None:
    """What physics says; None where speed or bearing is not known, or the recording does not hold the lines."""
    orders, shaft_hz = signal.orders, signal.shaft_hz
    if shaft_hz is None or orders is None or unfit(len(signal.values_N), signal.rate_hz, shaft_hz, orders):
        return None
    measured_N = None if signal.speed_N is None else torch.from_numpy(signal.speed_N)
    return judge(torch.from_numpy(signal.values_N), signal.rate_hz, shaft_hz, orders, measured_N)


def _unexplained(verdict: Verdict | None, kurtosis: float) -> list[str]:
    """Impacts that no named fault makes, in words."""
    if verdict is None or verdict.faults or kurtosis < IMPULSIVE:
        return []
    return [f"there are impacts (kurtosis {kurtosis:.1f}) that no fault's lines explain: check speed and bearing"]


def _doubts(signal: Signal, verdict: Verdict | None) -> list[str]:
    """Reasons to doubt the verdict, or why there is none."""
    found = [signal.doubt] if signal.doubt else []
    orders, shaft_hz = signal.orders, signal.shaft_hz
    if shaft_hz is None or orders is None:
        what, verb = " and the ".join(signal.lacking), "are" if len(signal.lacking) > 1 else "is"
        return [*found, f"the {what} of the machine {verb} not known: no fault can be told by its lines"]
    if verdict is None:
        return [*found, unfit(len(signal.values_N), signal.rate_hz, shaft_hz, orders)]
    if verdict.speed.contradicted:
        found.append(
            f"the speed was given as {60 * shaft_hz:.0f} rpm, but the shaft's own lines say "
            f"{60 * verdict.speed.hz:.0f}: that was used"
        )
    return found


def _strongest_lines(samples_N: torch.Tensor, rate_hz: float) -> tuple[tuple[float, float], ...]:
    """Of all bands' envelopes, whitened: what stands out most of its surroundings."""
    envelopes = squared_envelopes(samples_N[None], rate_hz, Bands.of_rate(rate_hz), whiten=True)
    depth_KF = modulation(envelopes.values_BKM)[0]
    line_hz = envelopes.rate_hz / envelopes.values_BKM.shape[-1]
    first, last = (min(round(hz / line_hz), depth_KF.shape[1]) for hz in LINES_HZ)
    power_KF = depth_KF.square()
    clear_F = (power_KF / surroundings(power_KF, round(20.0 / line_hz)))[:, first:last].amax(0)
    found: list[tuple[float, float]] = []
    while len(found) < MOST_LINES and clear_F.max() > 0.0:
        at = int(clear_F.argmax())
        found.append(((first + at) * line_hz, float(depth_KF[:, first + at].max())))
        clear_F[max(at - round(1.0 / line_hz) - 1, 0) : at + round(1.0 / line_hz) + 2] = 0.0
    return tuple(found)
