"""What a trained head says of a signal beside physics, and where the two part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from iotlam_faults.answer import Answer
from iotlam_faults.signals import Signal
from iotlam_faults.verdict import WORDS, Verdict
from iotlam_machine.bearings import Bearing
from iotlam_waveform.vibration_orders.lines import FEWEST_TURNS

if TYPE_CHECKING:  # they load the model's libraries, which takes longer than a diagnosis
    from iotlam_faults.recordings import Recordings, Vibration
    from iotlam_faults.trained import Facts, Trained


def with_opinion(answer: Answer, trained: Trained, healthy: Sequence[tuple[Signal, Verdict | None]]) -> Answer:
    """With what the trained head says and, where that counts, what of it is to be doubted; or why it says nothing.

    Args:
        answer: what physics says.
        trained: the head.
        healthy: signals of the same sensor while the machine was sound, and what physics says of each.
    """
    from iotlam_faults.pasts import nearest

    signal, verdict = answer.signal, answer.verdict
    reason = _unasked(signal, verdict, trained.facts)
    if verdict is None or reason:
        return replace(answer, doubts=(*answer.doubts, f"the trained head is not asked: {reason}"))
    past, unread = _past(healthy, trained.facts)
    opinion = trained.judge(_windows(signal, verdict, trained.facts), nearest(past, verdict.speed.hz))
    answer = replace(answer, opinion=opinion)
    doubts = [*unread]
    if not opinion.named:
        doubts.append(
            f"the trained head's readings disagree: {WORDS[opinion.by_physics]} by physics, "
            f"{WORDS[opinion.by_encoder]} by the encoder"
        )
    elif answer.contradicted:
        if verdict.faults:
            doubts.append(f"physics names the {WORDS[verdict.faults[0]]}, the trained head the {WORDS[opinion.named]}")
        else:
            seen = " and the ".join(WORDS[name] for name in verdict.suspects)
            doubts.append(
                f"the lines that are there are of the {seen}, the trained head names the {WORDS[opinion.named]}"
            )
    if signal.part not in trained.facts.parts:
        known = ", ".join(trained.facts.parts) or "none"
        doubts.append(f"the trained head does not know how '{signal.part}' rings; it knows {known}")
    return replace(answer, doubts=(*answer.doubts, *(doubts if answer.damaged else ())))


def _unasked(signal: Signal, verdict: Verdict | None, facts: Facts) -> str:
    """Why a trained head cannot say anything of a signal, in words; empty where it can."""
    if signal.lacking:
        return f"it needs the {' and the '.join(signal.lacking)} of the machine"
    if verdict is None:
        return "it reads the lines of the bearing, which this recording cannot tell"
    if verdict.speed.path_N is not None:
        return "it takes the speed as steady, which it is not"
    seconds = len(signal.values_N) / signal.rate_hz
    if seconds < facts.window_s:
        return f"it needs {facts.window_s:g} s, and the recording holds {seconds:.3g}"
    turns = facts.window_s * verdict.speed.hz
    if turns < FEWEST_TURNS:
        return f"it needs {FEWEST_TURNS:g} turns of the shaft in {facts.window_s:g} s, and there are {turns:.1f}"
    if signal.rate_hz < facts.rate_hz:
        return f"it needs {facts.rate_hz:g} Hz of sample rate, and the recording has {signal.rate_hz:g}"
    return ""


def _past(healthy: Sequence[tuple[Signal, Verdict | None]], facts: Facts) -> tuple[list[Vibration], list[str]]:
    """A window of each healthy recording, and which of them the head cannot read, in words."""
    past, unread = [], []
    for signal, verdict in healthy:
        reason = _unasked(signal, verdict, facts)
        if verdict is None or reason:
            unread.append(f"the trained head does not hold it against {signal.source}: {reason}")
        else:
            past.append(_windows(signal, verdict, facts).vibration(0))
    return past, unread


def _windows(signal: Signal, verdict: Verdict, facts: Facts) -> Recordings:
    """A signal cut as the head wants it."""
    from iotlam_faults.data.catalogue import Entry
    from iotlam_faults.data.reading import Waveform
    from iotlam_faults.recordings import cut

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
    return cut([wave], facts.window_s, facts.rate_hz)
