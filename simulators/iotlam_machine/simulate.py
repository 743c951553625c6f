"""From a machine to what its sensors deliver: vibration, current and temperature on one clock."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import SensorFrame
from iotlam_machine.bearings import FaultOrders
from iotlam_machine.current import current
from iotlam_machine.machine import BEARING_FAULTS, Machine
from iotlam_machine.shaft import Turning, turning
from iotlam_machine.vibration import vibration

Doubles = NDArray[np.float64]

FRAME_S = 1.0
TEMPERATURE_RATE_HZ = 1.0
SPEEDS = 17
"""How often a frame states the speed, from its first sample to its last."""

WARMING_S = 900.0
"""Time constant of the housing."""


@dataclass(frozen=True, slots=True)
class Run:
    """What a machine's sensors measured in a stretch of time, and how it turned.

    Attributes:
        vibration_NA: m/s2, at the machine's vibration rate.
        current_NP: ampere, at its current rate.
        temperature_N: degrees Celsius, one a second.
        speed_hz: the shaft's true speed at every sample of the vibration.
        orders: of the bearing's faults as they were in this run, slip included.
        machine: the machine, which is the truth.
    """

    vibration_NA: Doubles
    current_NP: Doubles
    temperature_N: Doubles
    speed_hz: Doubles
    orders: FaultOrders
    machine: Machine

    def frames(self, start_ns: int = 0) -> Iterator[SensorFrame]:
        """Frames of a second, stamped by their last sample: of vibration, then of current, second by second.

        The sensors' clock drifts by the machine's `drift_ppm`.
        """
        machine, second = self.machine, 1e9 * (1.0 + self.machine.drift_ppm * 1e-6)
        for index in range(len(self.temperature_N)):
            t_ns = start_ns + round((index + 1) * second)
            speed = _part(self.speed_hz, index, machine.vibration_rate_hz)
            for sensor, values, rate_hz, meta in (
                (
                    "bearing",
                    self.vibration_NA,
                    machine.vibration_rate_hz,
                    {"shaft_hz": speed[np.linspace(0, len(speed) - 1, SPEEDS).round().astype(int)]},
                ),
                ("motor", self.current_NP, machine.current_rate_hz, {}),
            ):
                data = _part(values, index, rate_hz).astype(np.float32)
                yield SensorFrame(t_ns=t_ns, data=data, meta={"sensor": sensor, "rate_hz": rate_hz, **meta})


def simulate(
    machine: Machine,
    duration_s: float = 1.0,
    seed: int = 0,
    speed_hz: Callable[[Doubles], Doubles] | None = None,
) -> Run:
    """Let a machine run.

    Args:
        machine: what it is made of, and what is wrong with it.
        duration_s: how long, whole seconds; temperature has settled before.
        seed: of all that is random in the run.
        speed_hz: speed of the shaft at given seconds; default: the machine's.
    """
    seconds = max(round(duration_s), 1)
    profile = speed_hz or (lambda time_s: np.full(len(time_s), machine.speed_hz))
    turn = _turning(machine, seconds, seed, machine.vibration_rate_hz, profile)
    slow = _at_rate(turn, machine.current_rate_hz, seconds)
    rng = np.random.default_rng((seed, 83))
    return Run(
        vibration(rng, machine, turn),
        current(rng, machine, slow),
        _temperature(rng, machine, seconds),
        np.gradient(turn.shaft, turn.time_s),
        _orders(turn),
        machine,
    )


def _orders(turn: Turning) -> FaultOrders:
    turns = turn.shaft[-1] - turn.shaft[0]
    cage, balls = float((turn.cage[-1] - turn.cage[0]) / turns), len(turn.pocket_B)
    ball = float((turn.spin[-1] - turn.spin[0]) / turns)
    return FaultOrders(outer=balls * cage, inner=balls * (1.0 - cage), cage=cage, ball=ball)


def _turning(
    machine: Machine, seconds: int, seed: int, rate_hz: float, profile: Callable[[Doubles], Doubles]
) -> Turning:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    rng = np.random.default_rng((seed, 84))
    return turning(rng, machine.bearing, profile(time_s), rate_hz, machine.slip, machine.unsteady)


def _at_rate(turn: Turning, rate_hz: float, seconds: int) -> Turning:
    """The same turning at other instants."""
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    shaft, cage, spin = (np.interp(time_s, turn.time_s, angle) for angle in (turn.shaft, turn.cage, turn.spin))
    return Turning(time_s, shaft, cage, spin, turn.pocket_B, turn.share_B)


def _temperature(rng: np.random.Generator, machine: Machine, seconds: int) -> Doubles:
    """Of the housing: friction grows with load and speed, and with damage."""
    worst = max((machine.fault(kind) for kind in BEARING_FAULTS), default=0.0)
    rise = (8.0 + 25.0 * machine.load) * (machine.speed_hz / 30.0) ** 0.7 * (1.0 + 0.8 * worst**2)
    walk = np.cumsum(rng.normal(0.0, 0.05, seconds)) * np.exp(-np.arange(seconds) / WARMING_S)
    return np.asarray(machine.ambient_c + rise + walk + rng.normal(0.0, 0.1, seconds))


def _part(values: Doubles, index: int, rate_hz: float) -> Doubles:
    size = round(FRAME_S * rate_hz)
    return values[index * size : (index + 1) * size]
