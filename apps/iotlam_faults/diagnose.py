"""One recording, one answer: what is wrong with the bearing, what that rests on, and why to doubt it.

Where the speed or the geometry is not known, no fault can be told by its lines; what can be said without is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from iotlam.contracts import BadInput
from iotlam_faults.advice import IMPULSIVE
from iotlam_faults.answer import Answer, Before, Other
from iotlam_faults.baseline import CHANGED, Baseline, near_speed, profile
from iotlam_faults.checks import SAME_RATE, mended
from iotlam_faults.evidence import levels
from iotlam_faults.physics.kurtogram import kurtogram
from iotlam_faults.physics.sidebands import CurrentLines, current_lines
from iotlam_faults.physics.speed import WITHIN, of_mains
from iotlam_faults.physics.velocity import velocity_rms_mm_s
from iotlam_faults.second_opinion import with_opinion
from iotlam_faults.signals import Signal, alike
from iotlam_faults.verdict import FEWEST_TURNS, WORDS, Verdict, by_cage, judge, unfit
from iotlam_waveform.envelope import Bands, modulation, squared_envelopes, surroundings

if TYPE_CHECKING:  # it loads the model's libraries, which takes longer than a diagnosis
    from iotlam_faults.trained import Trained

LONGEST_S = 20.0
"""Of a longer recording the first seconds count, and as many as a slow shaft's fewest turns take."""

WINDOW_S = 1.0
"""Of a baseline's windows."""

HIGHEST_MAINS_HZ = 130.0
"""Below which the supply's lines lie that shake a motor: its frequency, and twice it."""

MOST_LINES = 5
LINES_HZ = (2.0, 500.0)


@dataclass(frozen=True, slots=True)
class Heard:
    """What a recording tells by itself.

    Attributes:
        signal: the part of it that is judged, gaps bridged.
        verdict: of the bearing; None where it cannot be judged.
        kurtosis: of its samples.
        bridged: what was bridged, in words.
        flaws: what is wrong with its samples, in words.
        unexplained: what else may hide damage, in words.
    """

    signal: Signal
    verdict: Verdict | None
    kurtosis: float
    bridged: tuple[str, ...]
    flaws: tuple[str, ...]
    unexplained: tuple[str, ...]

    @property
    def hidden(self) -> tuple[str, ...]:
        """Why damage may be there and not show."""
        return (*self.flaws, *self.unexplained)

    @property
    def shaft_hz(self) -> float | None:
        """The shaft's speed as its lines tell it, or as stated."""
        return self.verdict.speed.hz if self.verdict else self.signal.shaft_hz


@dataclass(frozen=True, slots=True)
class Past:
    """What the machine's healthy recordings tell of it.

    Attributes:
        change: how far it is from them; None where they cannot tell.
        before: how deep its lines were.
        near: those that are a baseline, of about its speed.
        doubts: what is odd about them.
    """

    change: float | None = None
    before: tuple[Before, ...] = ()
    near: tuple[Heard, ...] = ()
    doubts: tuple[str, ...] = ()


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
    now = _heard(signal, f"Recording '{signal.source}', channel '{signal.channel}'")
    signal, verdict = now.signal, now.verdict
    samples_N = torch.from_numpy(signal.values_N)
    past = _past(now, healthy) if healthy else Past()
    lines, current_doubts = _current(signal, verdict, *current) if current else (None, [])
    answer = Answer(
        signal=signal,
        recorded_s=recorded_s,
        verdict=verdict,
        doubts=(*now.bridged, *_doubts(signal, verdict), *now.hidden, *past.doubts, *current_doubts),
        flaws=now.flaws,
        unexplained=now.unexplained,
        rms_m_s2=float((samples_N - samples_N.mean()).square().mean().sqrt()),
        kurtosis=now.kurtosis,
        velocity_mm_s=float(velocity_rms_mm_s(samples_N[None], signal.rate_hz, signal.shaft_hz)),
        kurtogram=kurtogram(samples_N, signal.rate_hz),
        lines_hz=_strongest_lines(samples_N, signal.rate_hz),
        change=past.change,
        before=past.before,
        current=lines,
    )
    if trained is None:
        return answer
    return with_opinion(answer, trained, [(one.signal, one.verdict) for one in past.near])


def strongest(
    signals: Sequence[Signal],
    healthy: Sequence[Sequence[Signal]] = (),
    trained: Trained | None = None,
    current: tuple[NDArray[np.float32], float] | None = None,
) -> Answer:
    """Diagnose channels of one machine; that whose verdict is the strongest answers, and tells of the others.

    Args:
        signals: the channels, one or more.
        healthy: recordings of the same sensors while the machine was sound, each with all its channels.
        trained: as of `diagnose`.
        current: as of `diagnose`.

    Raises:
        BadInput: if no channel can be judged, as of `diagnose`; if a healthy recording lacks them all.
    """
    pasts_RS = [alike(recording, signals) for recording in healthy]
    answers: list[Answer] = []
    refused: list[tuple[Signal, BadInput]] = []
    for at, signal in enumerate(signals):
        lacking = [
            _lacking(recording, signal) for recording, past_S in zip(healthy, pasts_RS, strict=True) if not past_S[at]
        ]
        try:
            answer = diagnose(signal, [found for past_S in pasts_RS if (found := past_S[at])], trained, current)
        except BadInput as error:  # a dead axis leaves the others to be judged
            refused.append((signal, error))
        else:
            answers.append(replace(answer, doubts=(*answer.doubts, *lacking)))
    if not answers:
        raise refused[0][1]
    first = max(answers, key=lambda answer: answer.strength)
    others = [answer.in_brief for answer in answers if answer is not first]
    others += [Other(one.channel, f"not judged, expected {error.expected}, got {error.got}") for one, error in refused]
    return replace(first, others=tuple(others), doubts=(*first.doubts, *_against(first, others)))


def _lacking(recording: Sequence[Signal], signal: Signal) -> str:
    """That a healthy recording has no such channel, in words."""
    return f"in {recording[0].source} there is no channel like {signal.channel}: it tells no change of it"


def _against(answer: Answer, others: Sequence[Other]) -> list[str]:
    """Channels that name other faults than the answer, in words."""
    return [
        f"the channels disagree: {one.channel} names the {' and the '.join(WORDS[name] for name in one.faults)}"
        for one in others
        if one.faults and not set(one.faults) & set(answer.faults)
    ]


def _heard(signal: Signal, subject: str) -> Heard:
    """What the part of a recording that is judged tells, gaps bridged."""
    signal = signal.first(LONGEST_S, FEWEST_TURNS + 1.0)
    found = mended(signal.values_N, signal.rate_hz, subject)
    signal = replace(signal, values_N=found.values_N)
    samples_N = torch.from_numpy(signal.values_N)
    centred_N = samples_N - samples_N.mean()
    kurtosis = float((centred_N / centred_N.std()).pow(4).mean())
    verdict = _verdict(signal)
    return Heard(signal, verdict, kurtosis, found.bridged, found.flaws, _unexplained(signal, verdict, kurtosis))


def _past(now: Heard, healthy: Sequence[Signal]) -> Past:
    """How the machine's healthy recordings compare with it; those that are no baseline are told and left out."""
    signal = now.signal
    if odd := [one for one in healthy if abs(one.rate_hz / signal.rate_hz - 1.0) > SAME_RATE]:
        expected, got = f"the same sample rate, {signal.rate_hz:g} Hz", f"{odd[0].rate_hz:g} Hz in {odd[0].source}"
        raise BadInput("--healthy", expected=expected, got=got, fix="record alike")
    doubts: list[str] = []
    sound: list[Heard] = []
    for one in healthy:
        heard = _heard(_at_speed(one.at_rate(signal.rate_hz), signal), f"--healthy, recording '{one.source}'")
        reasons = (*heard.hidden, *_damage(heard.verdict))
        doubts += [f"in {one.source}, {bridged}" for bridged in heard.bridged]
        doubts += [f"in {one.source}, {reason}: it is no baseline" for reason in reasons]
        sound += [] if reasons else [heard]
    near = [one for one in sound if _near(one, now)]
    doubts += [_elsewhere(one, now) for one in sound if not _near(one, now)]
    if now.flaws:
        doubts.append("from such samples it cannot be told how far the machine has changed")
    elif not near:
        doubts.append("no healthy recording is left that tells how far the machine has changed")
    change = None if now.flaws or not near else _change(signal, [one.signal for one in near])
    if change is not None and change >= CHANGED and len(near) == 1 and not _damage(now.verdict):
        doubts.append(
            "the change is from one healthy recording alone: another load, mounting or recorder changes as much"
        )
    before = tuple(lines for one in sound if (lines := _before(one)))
    return Past(change, before, tuple(near), tuple(doubts))


def _at_speed(healthy: Signal, signal: Signal) -> Signal:
    """A healthy recording with the bearing of the signal, and its speed unless its own is known."""
    return replace(healthy, shaft_hz=healthy.shaft_hz or signal.shaft_hz, bearing=signal.bearing)


def _damage(verdict: Verdict | None) -> list[str]:
    """The damage that a recording shows which is given as healthy, in words."""
    return [f"damage of the {WORDS[name]} shows" for name in (verdict.faults if verdict else ())]


def _near(one: Heard, now: Heard) -> bool:
    """Whether both were recorded at about one speed, as far as is known."""
    return one.shaft_hz is None or now.shaft_hz is None or near_speed(one.shaft_hz, now.shaft_hz, now.shaft_hz)


def _elsewhere(one: Heard, now: Heard) -> str:
    """That a healthy recording is of another speed, in words."""
    was_rpm, is_rpm = (60.0 * (heard.shaft_hz or 0.0) for heard in (one, now))
    return f"in {one.signal.source} the shaft turns at {was_rpm:.0f} rpm, not {is_rpm:.0f}: it tells no change"


def _before(one: Heard) -> Before | None:
    """How deep the lines of a healthy recording were; None where it cannot be judged."""
    if one.verdict is None:
        return None
    return Before(one.signal.source, {name: found.depth for name, found in one.verdict.findings.items()})


def _current(
    signal: Signal, verdict: Verdict | None, current_NP: NDArray[np.float32], rate_hz: float
) -> tuple[CurrentLines | None, list[str]]:
    """Lines of the motor's current, at the speed that the vibration tells, and why to doubt them or have none."""
    shaft_hz = verdict.speed.hz if verdict else signal.shaft_hz
    if shaft_hz is None:
        return None, ["the motor's current is not read: the speed of the shaft is not known"]
    phases = [mended(phase_N, rate_hz, f"--current, phase {index}") for index, phase_N in enumerate(current_NP.T, 1)]
    doubts = [
        f"in phase {index} of the current, {doubt}" for index, one in enumerate(phases, 1) for doubt in one.doubts
    ]
    current_NP = np.stack([phase.values_N for phase in phases], 1)
    return current_lines(torch.from_numpy(current_NP), rate_hz, shaft_hz, signal.orders), doubts


def _change(signal: Signal, healthy: Sequence[Signal]) -> float:
    """How far the signal is from healthy ones, window by window, on average."""
    sound = np.concatenate([_profiles(one) for one in healthy])
    return float(Baseline.fit(sound).change(_profiles(signal)).mean())


def _profiles(signal: Signal) -> NDArray[np.float64]:
    """Profiles of windows of a second."""
    values_N = signal.values_N
    size = round(min(WINDOW_S * signal.rate_hz, len(values_N)))
    count = len(values_N) // size
    values_WN = torch.from_numpy(np.ascontiguousarray(values_N[: count * size])).reshape(count, size)
    return profile(levels(values_WN, signal.rate_hz), values_WN)


def _verdict(signal: Signal) -> Verdict | None:
    """What physics says; None where speed or bearing is not known, or the recording does not hold the lines."""
    orders, shaft_hz = signal.orders, signal.shaft_hz
    if shaft_hz is None or orders is None or unfit(len(signal.values_N), signal.rate_hz, shaft_hz, orders):
        return None
    measured_N = None if signal.speed_N is None else torch.from_numpy(signal.speed_N)
    return judge(torch.from_numpy(signal.values_N), signal.rate_hz, shaft_hz, orders, measured_N)


def _unexplained(signal: Signal, verdict: Verdict | None, kurtosis: float) -> tuple[str, ...]:
    """Another speed than was stated, by its trace or its lines, and impacts that no named fault makes, in words."""
    found = tuple(said for said in (_off_trace(signal), _off_lines(signal, verdict)) if said)
    if verdict is None or verdict.faults or kurtosis < IMPULSIVE:
        return found
    impacts = f"there are impacts (kurtosis {kurtosis:.1f}) that no fault's lines explain: check speed and bearing"
    return (*found, impacts)


def _off_trace(signal: Signal) -> str:
    """How the speed that is stated differs from the trace that was recorded, in words; empty where it does not."""
    traced_hz, stated_hz = signal.shaft_hz, signal.stated_hz
    if traced_hz is None or stated_hz is None or abs(traced_hz / stated_hz - 1.0) <= WITHIN:
        return ""
    said = f"the speed was given as {60.0 * stated_hz:.0f} rpm, but the recording's tachometer says "
    said += f"{60.0 * traced_hz:.0f} on average: that was used"
    pulses = round(traced_hz / stated_hz)
    many = pulses > 1 and abs(traced_hz / stated_hz / pulses - 1.0) <= WITHIN
    return f"{said}; if it gives {pulses} pulses a turn, state pulses_per_turn" if many else said


def _off_lines(signal: Signal, verdict: Verdict | None) -> str:
    """That the shaft's own lines say another speed than was stated, in words; empty where not, or a trace tells it."""
    if verdict is None or not verdict.speed.contradicted or signal.speed_N is not None:
        return ""
    said = f"the speed was given as {60 * verdict.speed.stated_hz:.0f} rpm, but the shaft's own lines say "
    return f"{said}{60 * verdict.speed.hz:.0f}: that was used"


def _at_mains(signal: Signal, verdict: Verdict) -> list[str]:
    """Which faults are named by lines where the supply draws its own, in words."""
    step_hz = signal.rate_hz / len(signal.values_N)
    named = [verdict.findings[name] for name in verdict.faults]
    return [
        f"the {WORDS[one.name]}'s first line is at {one.hz:.1f} Hz, where the supply draws lines too: at another speed "
        "they part"
        for one in named
        if one.hz < HIGHEST_MAINS_HZ and bool(of_mains(torch.tensor([one.hz]), step_hz)[0])
    ]


def _doubts(signal: Signal, verdict: Verdict | None) -> list[str]:
    """Reasons to doubt the verdict, or why there is none."""
    found = [signal.doubt] if signal.doubt else []
    orders, shaft_hz = signal.orders, signal.shaft_hz
    if shaft_hz is None or orders is None:
        what, verb = " and the ".join(signal.lacking), "are" if len(signal.lacking) > 1 else "is"
        return [*found, f"the {what} of the machine {verb} not known: no fault can be told by its lines"]
    if verdict is None:
        return [*found, unfit(len(signal.values_N), signal.rate_hz, shaft_hz, orders)]
    if verdict.speed.contradicted and signal.speed_N is not None:
        found.append(
            f"the tachometer says {60 * verdict.speed.hz:.0f} rpm, but lines of another speed are clearer, "
            "as a machine beside it draws them: the tachometer's speed was used"
        )
    found += _at_mains(signal, verdict)
    if by_cage(verdict):
        cage = verdict.findings["cage"]
        found.append(
            f"no line of the rolling elements is clear, and another shaft at {cage.hz:.1f} Hz would swell it alike"
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
