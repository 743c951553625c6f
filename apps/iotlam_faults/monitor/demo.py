"""A small plant of simulated machines, of which one wears out, sending over a transport as a gateway would."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import numpy as np

from iotlam.streams.envelope import block_of
from iotlam.streams.outbox import Outbox
from iotlam_machine.machine import BEARING_FAULTS, Fault, Machine
from iotlam_machine.simulate import simulate

MACHINES = 6
BEARING = "6205"
RATE_HZ = 12_000.0
SOUND = 30
"""Windows before the wear begins."""

WEAR = 0.025
"""By which the defect grows with each window."""

WORST = 0.9


def plant(windows: int, seed: int) -> Iterator[list[tuple[str, bytes]]]:
    """What the machines send, window after window: machine and waveform.

    Args:
        windows: how many, a second each.
        seed: of which machine wears out and how, and of the noise.
    """
    rng = np.random.default_rng((seed, 7))
    worn, kind = int(rng.integers(MACHINES)), BEARING_FAULTS[int(rng.integers(len(BEARING_FAULTS)))]
    start_ns = time.time_ns()
    for window in range(windows):
        batch = []
        for index in range(MACHINES):
            severity = min(WEAR * (window - SOUND), WORST) if index == worn else 0.0
            faults = (Fault(kind, severity, 0.05),) if severity > 0.0 else ()
            machine = Machine(structure=seed * MACHINES + index, vibration_rate_hz=RATE_HZ, faults=faults)
            run = simulate(machine, 1.0, (seed * MACHINES + index) * 10_000 + window)
            block = block_of(
                run.vibration_NA[:, :1].astype(np.float32),
                RATE_HZ,
                start_ns + window * 1_000_000_000,
                shaft_hz=float(run.speed_hz.mean()),
                bearing=BEARING,
            )
            batch.append((f"pump-{index + 1}", block.pack()))
        yield batch


def send(
    outbox: Outbox,
    batches: Iterator[list[tuple[str, bytes]]],
    pace_s: float,
    step: Callable[[int], None],
    check: Callable[[], None],
) -> None:
    """Send batches at a pace, and wait until all is confirmed; `check` raises where that cannot come about."""
    due = time.monotonic()
    for batch in batches:
        outbox.put(batch)
        step(1)
        due += pace_s
        time.sleep(max(due - time.monotonic(), 0.0))
    while outbox.waiting():
        check()
        time.sleep(0.05)
