"""Time and memory, held against what the manifest says."""

from __future__ import annotations

import time

from iotlam.conformance.catalog import STEADY, Facts, Failed, NotApplicable, check
from iotlam.conformance.subject import Subject
from iotlam.conformance.watch import private_mb
from iotlam.conformance.windows import Frames, with_data

AREA = "budget"
REPEATS, PATIENCE_S = 7, 2.0
LEAK_SECONDS, LEAK_MB, LEAK_WINDOWS = 0.6, 16.0, 400


@check(AREA, "silver", needs=STEADY)
def latency_in_budget(subject: Subject) -> Facts:
    """A window is tokenised within latency_budget_ms on one thread; the best of a few, as the machine may be busy."""
    frames, budget_ms = subject.sample(0), subject.manifest.latency_budget_ms
    subject.tokenize(frames)
    took_ms = min(_milliseconds(subject, frames) for _ in range(REPEATS))
    end = time.perf_counter() + PATIENCE_S
    while took_ms > budget_ms and time.perf_counter() < end:
        took_ms = min(took_ms, _milliseconds(subject, frames))
    if took_ms > budget_ms:
        raise Failed(
            "latency_budget_ms",
            expected=f"at most {budget_ms:g} ms",
            got=f"{took_ms:.1f} ms",
            fix="make tokenize faster, or say how long it takes",
        )
    return {"latency_ms": took_ms}


def _milliseconds(subject: Subject, frames: Frames) -> float:
    start = time.perf_counter()
    subject.tokenize(frames)
    return 1e3 * (time.perf_counter() - start)


@check(AREA, "silver", needs=STEADY)
def memory_in_budget(subject: Subject) -> Facts:
    """Loading the plugin and one window add at most memory_budget_mb."""
    subject.raw_tokens  # noqa: B018
    if subject.added_mb is None:
        raise NotApplicable("memory can be measured on Linux only")
    budget_mb = subject.manifest.memory_budget_mb
    if subject.added_mb > budget_mb:
        raise Failed(
            "memory_budget_mb",
            expected=f"at most {budget_mb:g} MB",
            got=f"{subject.added_mb:.0f} MB",
            fix="use less memory, or say how much it takes",
        )
    return {"memory_mb": subject.added_mb}


@check(AREA, "silver", needs=(*STEADY, "latency-in-budget"))
def memory_does_not_grow(subject: Subject) -> Facts:
    """Windows that are done leave no memory behind."""
    frames = subject.sample(0)
    window_mb = sum(frame.data.nbytes for frame in frames) / 1e6
    _tokenize_copies(subject, frames, 5)
    before_mb = private_mb()
    if before_mb is None:
        raise NotApplicable("memory can be measured on Linux only")
    count = _tokenize_copies(subject, frames, min(LEAK_WINDOWS, max(10, round(LEAK_MB / window_mb))))
    grown_mb = (private_mb() or before_mb) - before_mb
    if grown_mb > max(0.5 * count * window_mb, 3.0):
        raise Failed(
            "tokenize",
            expected="no memory kept of windows that are done",
            got=f"{grown_mb:.1f} MB more after {count} windows of {window_mb:.2f} MB",
            fix="keep no frames and no list that grows",
        )
    return {"grown_mb": grown_mb}


def _tokenize_copies(subject: Subject, frames: Frames, count: int) -> int:
    """Tokenise fresh copies of a window, so many times or for less than a second; how many it were."""
    end = time.perf_counter() + LEAK_SECONDS
    for done in range(count):
        if time.perf_counter() > end:
            return done
        subject.tokenize([with_data(frame, frame.data.copy()) for frame in frames])
    return count
