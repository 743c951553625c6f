"""Windows of machines as samples to learn from: tokens of their sensors, the query, and what is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame
from iotlam.model import IotlamProcessor
from iotlam.training.shards import FACTS, PRESENT, Sample
from iotlam_faults.query import FAULTS, PLACES, machine_query
from iotlam_machine.machine import BEARING_FAULTS, Machine, when_sound
from iotlam_machine.simulate import simulate
from iotlam_waveform.vibration_residual.plugin import HEALTHY
from iotlam_waveform.vibration_residual.plugin import NAME as RESIDUAL

ROI = 6.0
"""How far from the nearest line of a place a token may lie, steps of the plane of orders."""

MISREAD = 0.004
"""How far the speed that is known may differ from the true one, as a share."""

SOUND_SEEDS = 1_000_000_000
"""The run of a machine while it was sound has its own seed: that of its window and this."""

HOUR_NS = 3600 * 10**9


def simulated(processor: IotlamProcessor, machine: Machine, seconds: int, seed: int) -> Sample:
    """A window of a simulated machine, its speed known as well as a nameplate says, and one of it when it was sound."""
    rng = np.random.default_rng((seed, 91))
    vibration, current, known_hz = _recorded(machine, seconds, seed, rng)
    healthy: list[SensorFrame] = []
    if RESIDUAL in processor.plugins:
        healthy, *_ = _recorded(when_sound(machine, seed), seconds, seed + SOUND_SEEDS, rng)
    query = machine_query(machine.bearing.orders, known_hz)
    tokens = processor.tokenize(by_modality(processor.plugins, vibration, healthy, current), query)
    present_P = np.array([machine.fault(fault) > 0.0 for fault in FAULTS], np.float32)
    return Sample(tokens, query, {PRESENT: present_P, FACTS: _severity(machine)})


def by_modality(
    modalities: Iterable[str],
    vibration: Sequence[SensorFrame],
    healthy: Sequence[SensorFrame] = (),
    current: Sequence[SensorFrame] = (),
) -> dict[str, list[SensorFrame]]:
    """What each modality is to read of a machine's window; those that nothing is there for are left out.

    Args:
        modalities: names of them.
        vibration: frames of its accelerometers.
        healthy: frames of the same while it was sound.
        current: frames of its motor's current.
    """
    found: dict[str, list[SensorFrame]] = {}
    for name in modalities:
        if name == RESIDUAL:
            found[name] = [*_as_past(healthy, vibration), *vibration] if healthy else []
        else:
            found[name] = list(vibration if name.startswith("vibration") else current)
    return {name: frames for name, frames in found.items() if frames}


def _as_past(healthy: Sequence[SensorFrame], now: Sequence[SensorFrame]) -> list[SensorFrame]:
    """Healthy frames, marked, an hour before those of today: when they were measured does not matter."""
    later_ns = HOUR_NS + max(frame.t_ns for frame in healthy) - min(frame.t_ns for frame in now)
    return [replace(one, t_ns=one.t_ns - later_ns, meta={**one.meta, HEALTHY: True}) for one in healthy]


def _recorded(
    machine: Machine, seconds: int, seed: int, rng: np.random.Generator
) -> tuple[list[SensorFrame], list[SensorFrame], float]:
    """Frames of vibration and of current of a run, and the speed that is known of it, hertz."""
    run = simulate(machine, seconds, seed)
    known_hz = float(run.speed_hz.mean() * (1.0 + rng.uniform(-MISREAD, MISREAD)))
    vibration, current = [], []
    for frame in run.frames():
        if frame.sensor == "bearing":
            vibration.append(replace(frame, meta={**frame.meta, "shaft_hz": known_hz}))
        else:
            current.append(frame)
    return vibration, current, known_hz


def _severity(machine: Machine) -> NDArray[np.float32]:
    """How bad the damage at each place is, (K, 1); of those that no one fault belongs to, 0."""
    by_place = {"shaft": max(machine.fault("imbalance"), machine.fault("misalignment"))}
    by_place |= {fault: machine.fault(fault) for fault in BEARING_FAULTS}
    return np.array([[by_place.get(place, 0.0)] for place in PLACES], np.float32)
