"""Windows of machines as samples to learn from: tokens of their sensors, the query, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from iotlam.contracts import SensorFrame
from iotlam.model import IotlamProcessor
from iotlam.training.shards import Sample
from iotlam_faults.query import FAULTS, machine_query
from iotlam_machine.machine import Machine
from iotlam_machine.simulate import simulate

ROI = 6.0
"""How far from the nearest line of a place a token may lie, steps of the plane of orders."""

PRESENT, SEVERITY = "present_P", "severity_P"
"""Targets: whether a fault is there, and how bad it is, 0 to 1."""

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
    severity_P = np.array([machine.fault(fault) for fault in FAULTS], np.float32)
    return sample_of(processor, frames, machine, known_hz, severity_P)


def sample_of(
    processor: IotlamProcessor,
    frames: Mapping[str, Sequence[SensorFrame]],
    machine: Machine,
    shaft_hz: float,
    severity_P: np.ndarray,
) -> Sample:
    """Tokens of a window and what should be said of it."""
    query = machine_query(machine.bearing.orders, shaft_hz)
    seen = {name: frames["vibration" if name.startswith("vibration") else name] for name in processor.plugins}
    tokens = processor.tokenize({name: window for name, window in seen.items() if window}, query)
    return Sample(tokens, query, {PRESENT: (severity_P > 0).astype(np.float32), SEVERITY: severity_P})
