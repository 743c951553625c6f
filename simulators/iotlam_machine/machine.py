"""A machine: a motor that turns a shaft in a bearing, with what may be wrong with it."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from msgspec import Meta

from iotlam.contracts.records import Record
from iotlam_machine.bearings import Bearing
from iotlam_machine.strikes import LoadZone

Kind = Literal["inner", "outer", "ball", "imbalance", "misalignment", "winding"]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Hertz = Annotated[float, Meta(gt=0.0, le=2e5)]


class Fault(Record, frozen=True):
    """One fault.

    Attributes:
        kind: what is damaged.
        severity: 0 can hardly be measured, 1 drowns all else.
        place: where on its race a bearing's defect is, turns; of the outer race, from the load: it shows nothing where
            no element is loaded, and elsewhere what its severity says.
        rough: how much of it is roughness that hisses as elements roll over it, rather than an edge that they strike.
    """

    kind: Kind
    severity: Share = 0.5
    place: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    rough: Share = 0.0


class Machine(Record, frozen=True):
    """What a simulated machine is made of.

    Attributes:
        name: of the machine.
        bearing: the bearing whose housing carries the accelerometer.
        faults: what is wrong; none for a sound machine.
        speed_hz: turns of the shaft a second.
        load: share of the rated load.
        slip: share by which the cage turns faster than the geometry says.
        unsteady: standard deviation of the speed, as a share.
        zone_spread: Stribeck's epsilon of the load zone.
        structure: seed of the housing's modes; machines of one kind share it.
        mounting: seed of what has shifted in them when the machine was last opened; 0 for as it was built.
        noise_m_s2: root mean square of what the bearing sounds like when it is sound, at half of the rated load.
        roughness: how strongly races and load zone modulate the noise of the sound bearing.
        play: how strongly the noise swells once a turn, by looseness, rubbing and eccentricity.
        gear_teeth: of a gear on the shaft, 0 for none.
        axes: of the accelerometer.
        vibration_rate_hz: its sample rate.
        current_rate_hz: sample rate of the three phase currents.
        pole_pairs: of the motor.
        current_a: amplitude of a phase at rated load.
        ambient_c: temperature of the air.
        drift_ppm: by how much the sensors' clock runs fast.
    """

    name: str = "machine"
    bearing: Bearing = Bearing(balls=9, ball_mm=7.94, pitch_mm=39.04)
    faults: tuple[Fault, ...] = ()
    speed_hz: Annotated[float, Meta(gt=0.1, le=1000.0)] = 29.5
    load: Share = 0.5
    slip: Annotated[float, Meta(ge=-0.02, le=0.02)] = 0.004
    unsteady: Share = 0.001
    zone_spread: Annotated[float, Meta(gt=0.0, le=5.0)] = 0.6
    structure: Annotated[int, Meta(ge=0)] = 0
    mounting: Annotated[int, Meta(ge=0)] = 0
    noise_m_s2: Annotated[float, Meta(gt=0.0, le=1e3)] = 0.5
    roughness: Share = 0.1
    play: Share = 0.1
    gear_teeth: Annotated[int, Meta(ge=0, le=500)] = 0
    axes: Annotated[int, Meta(ge=1, le=3)] = 1
    vibration_rate_hz: Hertz = 12_000.0
    current_rate_hz: Hertz = 5_000.0
    pole_pairs: Annotated[int, Meta(ge=1, le=12)] = 2
    current_a: Annotated[float, Meta(gt=0.0)] = 5.0
    ambient_c: Annotated[float, Meta(ge=-60.0, le=100.0)] = 22.0
    drift_ppm: Annotated[float, Meta(ge=-1000.0, le=1000.0)] = 0.0

    def fault(self, kind: Kind) -> float:
        """Severity of a fault, 0 where it is not there."""
        return max((fault.severity for fault in self.faults if fault.kind == kind), default=0.0)


RATES_HZ = (12_000.0, 20_000.0, 25_600.0, 48_000.0, 51_200.0)
BEARING_FAULTS: tuple[Kind, ...] = ("inner", "outer", "ball")
ELSEWHERE: tuple[Kind, ...] = ("imbalance", "misalignment", "winding")


def random_machine(seed: int) -> Machine:
    """A machine drawn at random: half of them have a fault in the bearing, a third one elsewhere."""
    rng = np.random.default_rng((seed, 81))
    balls = int(rng.integers(7, 17))
    share = rng.uniform(0.12, min(0.33, 0.9 * np.pi / balls))
    pitch_mm = float(rng.uniform(25.0, 120.0))
    kinds: list[Kind] = []
    if rng.uniform() < 0.5:
        kinds += rng.choice(BEARING_FAULTS, 1 + int(rng.uniform() < 0.15), replace=False).tolist()
    if rng.uniform() < 0.33:
        kinds.append(ELSEWHERE[rng.integers(len(ELSEWHERE))])
    faults = [Fault(kind, *(float(x) for x in rng.uniform((0.1, 0.0, 0.0), 1.0))) for kind in kinds]
    machine = Machine(
        name=f"machine{seed}",
        bearing=Bearing(balls=balls, ball_mm=float(share * pitch_mm), pitch_mm=pitch_mm),
        speed_hz=float(np.exp(rng.uniform(np.log(8.0), np.log(60.0)))),
        load=float(rng.uniform(0.1, 1.0)),
        slip=float(rng.uniform(-0.01, 0.01)),
        unsteady=float(10.0 ** rng.uniform(-4.0, -2.5)),
        zone_spread=float(rng.uniform(0.3, 1.2)),
        structure=seed,
        roughness=float(rng.uniform(0.0, 0.5)),
        play=float(rng.uniform(0.0, 0.6)),
        gear_teeth=int(rng.integers(15, 60)) * int(rng.uniform() < 0.33),
        vibration_rate_hz=float(rng.choice(RATES_HZ)),
        pole_pairs=int(rng.integers(1, 4)),
        current_a=float(np.exp(rng.uniform(0.0, 4.0))),
        drift_ppm=float(rng.normal(0.0, 50.0)),
        noise_m_s2=float(rng.lognormal(-0.7, 0.8)),
    )
    zone = LoadZone(spread=machine.zone_spread)
    return machine.changed(faults=tuple(_loaded(fault, zone) for fault in faults))


def when_sound(machine: Machine, seed: int) -> Machine:
    """The machine before anything was wrong with it: at another load, about the speed, and mounted otherwise.

    Load and speed change what a housing passes on, too: that is in how it was mounted.

    Args:
        machine: as it is now.
        seed: of what was otherwise.
    """
    rng = np.random.default_rng((seed, 85))
    return machine.changed(
        faults=(),
        load=float(rng.uniform(0.1, 1.0)),
        speed_hz=machine.speed_hz * float(rng.uniform(0.9, 1.1)),
        slip=float(rng.uniform(-0.01, 0.01)),
        noise_m_s2=machine.noise_m_s2 * float(rng.lognormal(0.0, 0.4)),
        roughness=min(machine.roughness * float(rng.lognormal(0.0, 0.3)), 1.0),
        play=min(machine.play * float(rng.lognormal(0.0, 0.3)), 1.0),
        mounting=seed + 1,
    )


def _loaded(fault: Fault, zone: LoadZone) -> Fault:
    """The fault where load makes it: an outer race wears in its load zone."""
    return fault.changed(place=zone.inside(fault.place)) if fault.kind == "outer" else fault
