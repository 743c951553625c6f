"""Windows of machines as samples to learn from: tokens of their sensors, the query, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame
from iotlam.model import IotlamProcessor
from iotlam.training.shards import FACTS, PRESENT, Sample
from iotlam_faults.query import FAULTS, PLACES, machine_query
from iotlam_machine.machine import BEARING_FAULTS, Machine
from iotlam_machine.simulate import simulate

ROI = 6.0
"""How far from the nearest line of a place a token may lie, steps of the plane of orders."""

MISREAD = 0.004
"""How far the speed that is known may differ from the true one, as a share."""


def simulated(processor: IotlamProcessor, machine: Machine, seconds: int, seed: int) -> Sample:
    """A window of a simulated machine, its speed known as well as a nameplate says."""
    rng = np.random.default_rng((seed, 91))
    run = simulate(machine, seconds, seed)
    frames: dict[str, list[SensorFrame]] = {"vibration": [], "current": []}
    known_hz = float(run.speed_hz.mean() * (1.0 + rng.uniform(-MISREAD, MISREAD)))
    for frame in run.frames():
        if frame.sensor == "bearing":
            meta = {**frame.meta, "shaft_hz": known_hz}
            frames["vibration"].append(SensorFrame(frame.t_ns, frame.data, meta=meta))
        else:
            frames["current"].append(frame)
    return sample_of(processor, frames, machine, known_hz)


def sample_of(
    processor: IotlamProcessor, frames: Mapping[str, Sequence[SensorFrame]], machine: Machine, shaft_hz: float
) -> Sample:
    """Tokens of a window of a machine, and what should be said of it."""
    query = machine_query(machine.bearing.orders, shaft_hz)
    seen = {name: frames["vibration" if name.startswith("vibration") else name] for name in processor.plugins}
    tokens = processor.tokenize({name: window for name, window in seen.items() if window}, query)
    present_P = np.array([machine.fault(fault) > 0.0 for fault in FAULTS], np.float32)
    return Sample(tokens, query, {PRESENT: present_P, FACTS: _severity(machine)})


def _severity(machine: Machine) -> NDArray[np.float32]:
    """How bad the damage at each place is, (K, 1); of those that no one fault belongs to, 0."""
    by_place = {"shaft": max(machine.fault("imbalance"), machine.fault("misalignment"))}
    by_place |= {fault: machine.fault(fault) for fault in BEARING_FAULTS}
    return np.array([[by_place.get(place, 0.0)] for place in PLACES], np.float32)
