"""What mutual distillation gives devices of unlike sensors, ranks and faults; a part of suite `fed-quality`.

Eight devices, each with sixteen simulated machines (CWRU has ten and twelve bearings at its places) and only of some
kinds, learn on the embedding module of the shipped model; adapter, projector and heads begin as drawn. Each is measured
on machines that none has met, of all kinds, through its own sensors: what may come to it tomorrow, which is more than
it has learnt on; and apart on those of its own kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from numpy.typing import NDArray

from iotlam.bench.kept import run_kept
from iotlam.bench.statistics import mean_ci95
from iotlam.bench.suite import Metric, Progress, figure
from iotlam.contracts import Json
from iotlam.federated.adapter import RoundModel
from iotlam.federated.central import central
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.distillation import Distillation
from iotlam.federated.local import Local, LocalData, Task, own_model
from iotlam.federated.rounds import Run
from iotlam.model import IotlamModel, IotlamProcessor, save_pretrained
from iotlam.training.shards import Sample
from iotlam_faults.federated import SENSOR, Source, logits_of, mean_auroc, seen_by, task
from iotlam_faults.model import load_model
from iotlam_faults.windows import ROI, simulated
from iotlam_machine.machine import BEARING_FAULTS, random_machine

Sensors = tuple[str, ...]

VIBRATION: Sensors = (SENSOR,)
CURRENT: Sensors = ("current",)
BOTH: Sensors = (*VIBRATION, *CURRENT)

FIRST_MACHINE, PER_SEED, PER_DEVICE = 50_000_000, 1_000_000, 100_000
"""Where numbers of machines begin: neither the shipped model nor another suite has met these."""

SEEDS, ABLATED = 5, 2
"""How many, and how many of them for the arms that are only there to be compared."""

WORKERS = 2

MACHINES, UNMET = 16, 200
"""Of a device, and to measure with."""

ROUNDS, STEPS, RATE, CHECKPOINTS = 4, 10, 2e-3, 2

ARMS: Mapping[str, Distillation | None] = {
    "both ways": Distillation(),
    "none": None,
    "to own only": Distillation(shared=0.0),
    "to shared only": Distillation(own=0.0),
}
MAIN = ("both ways", "none")
"""The others are only measured on some seeds."""


@dataclass(frozen=True, slots=True)
class Device:
    """One of the fleet.

    Attributes:
        name: its own.
        rank: of its adapter.
        sensors: that it has.
        faults: of its machines' bearings, or `sound`; empty for any.
    """

    name: str
    rank: int
    sensors: Sensors
    faults: tuple[str, ...]


FLEET = (
    Device("press", 4, VIBRATION, ("sound", "inner")),
    Device("fan", 8, VIBRATION, ("sound", "outer")),
    Device("pump", 2, CURRENT, ("sound", "inner")),
    Device("drive", 4, CURRENT, ("sound", "outer", "ball")),
    Device("mill", 16, BOTH, ("sound", "ball")),
    Device("lathe", 8, BOTH, ()),
    Device("roller", 2, VIBRATION, ("sound", "ball")),
    Device("crane", 4, BOTH, ("sound", "inner", "outer")),
)


@dataclass(frozen=True, slots=True)
class Fleet:
    """Windows of one seed.

    Attributes:
        learnt: of each device, by name.
        unmet: the same machines through each set of sensors.
        kinds_N: faults of their bearings, or `sound`.
    """

    learnt: Mapping[str, list[Sample]]
    unmet: Mapping[Sensors, list[Sample]]
    kinds_N: tuple[frozenset[str], ...]

    @property
    def pooled(self) -> list[Sample]:
        """The unmet machines, each through one of the sets of sensors in turn."""
        sensors = list(self.unmet)
        return [self.unmet[sensors[place % len(sensors)]][place] for place in range(len(self.kinds_N))]

    def scores(self, device: Device, *models: IotlamModel) -> dict[str, float]:
        """Of models that answer together, on unmet machines of all kinds, and on those of the device's own."""
        samples = self.unmet[device.sensors]
        logits_NP = np.mean([logits_of(model, samples) for model in models], 0)
        own = [row for row, kinds in enumerate(self.kinds_N) if not device.faults or kinds & set(device.faults)]
        return {
            "score": mean_auroc(logits_NP, samples),
            "own_kinds": mean_auroc(logits_NP[own], [samples[row] for row in own]),
        }


@dataclass(frozen=True, slots=True)
class Piece:
    """What is measured on the machines of one seed, in a process of its own.

    Attributes:
        seed: of machines and training.
        arms: that federated rounds are run with.
        base: folder of the model that devices begin with.
        machines: of a device.
        unmet: machines to measure with.
        rounds: how many.
        steps: of a round.
    """

    seed: int
    arms: tuple[str, ...]
    base: Path
    machines: int = MACHINES
    unmet: int = UNMET
    rounds: int = ROUNDS
    steps: int = STEPS


def measure(quick: bool, progress: Progress) -> list[Json]:
    """Scores of every module of every arm; one flat row each.

    Args:
        quick: one seed, few machines and steps, to see that it works.
        progress: draws the progress of a piece of work.
    """
    with TemporaryDirectory() as folder:
        base = _base(Path(folder) / "base")
        if quick:
            todo = {"own modules, quick": Piece(0, MAIN, base, 5, 20, 1, 2)}
        else:
            todo = {
                f"own modules, seed {seed}": Piece(seed, tuple(ARMS) if seed < ABLATED else MAIN, base)
                for seed in range(SEEDS)
            }
        with progress("Distillation", len(todo)) as step:
            found = run_kept("fed-quality", measured, todo, WORKERS, step)
        return [row for one in found for row in one["rows"]]


def measured(piece: Piece) -> Json:
    """Rows of one seed: each device alone, all data in one place, and the arms."""
    torch.set_num_threads(1)
    what, fleet, seed = task(piece.base), drawn(piece.seed, piece.machines, piece.unmet), piece.seed
    steps = piece.rounds * piece.steps
    rows = [*_alone(what, fleet, steps, seed), *_central(what, fleet, steps, seed)]
    for arm in piece.arms:
        with TemporaryDirectory() as folder:
            rows += _federated(what, fleet, arm, piece.rounds, piece.steps, seed, Path(folder) / "run")
    return {"rows": rows}


def figures(rows: Sequence[Json]) -> dict[str, Metric]:
    """Of the devices' own modules against learning alone, and of the shared one against all data in one place."""
    seeds = len({row["seed"] for row in rows})
    central = _by_seed(rows, "central", "central")
    shared = _by_seed(rows, "both ways", "pooled")
    gain_DS = _gains(rows, "both ways", "own", "score")
    mean, ci95 = _mean(gain_DS.mean(0))
    found = {
        "distillation_devices_that_lose": figure(int((gain_DS.mean(1) < 0).sum()), len(FLEET), most=0),
        "distillation_mean_gain_points": figure(mean, seeds, least=5.0, unit="points", ci95=ci95, anchor=_anchor(rows)),
        "distillation_shared_over_central": figure(
            float((shared / central).mean()), seeds, least=0.99, anchor=f"all data in one place {central.mean():.3f}"
        ),
        "distillation_runs_that_lose": figure(int((gain_DS < 0).sum()), gain_DS.size),
        "distillation_worst_device_gain_points": figure(float(gain_DS.mean(1).min()), seeds, unit="points"),
    }
    for name, module, score in (
        ("own_kinds_gain", "own", "own_kinds"),
        ("gain_over_best_checkpoint", "own", "best"),
        ("shared_gain", "shared", "score"),
        ("together_gain", "together", "score"),
    ):
        mean, ci95 = _mean(_gains(rows, "both ways", module, score).mean(0))
        found[f"distillation_{name}_points"] = figure(mean, seeds, unit="points", ci95=ci95)
    for arm in ARMS:
        if some := [row for row in rows if row["arm"] == arm]:
            there = [one for one in rows if one["seed"] in {row["seed"] for row in some}]
            for module in ("own", "shared"):
                if any(row["module"] == module for row in some):
                    gain = float(_gains(there, arm, module, "score").mean())
                    name = f"distillation_{arm.replace(' ', '_')}_{module}_gain_points"
                    found[name] = figure(gain, len({row["seed"] for row in some}), unit="points")
    return found


def drawn(seed: int, machines: int, unmet: int) -> Fleet:
    """Simulate a fleet's machines and those to measure with."""
    first = FIRST_MACHINE + PER_SEED * seed
    learnt = {
        device.name: [
            seen_by(window, device.sensors)
            for window, _ in _windows(first + PER_DEVICE * place, machines, device.faults)
        ]
        for place, device in enumerate(FLEET)
    }
    others = list(_windows(first + PER_DEVICE * len(FLEET), unmet, ()))
    seen = {sensors: [seen_by(window, sensors) for window, _ in others] for sensors in (BOTH, VIBRATION, CURRENT)}
    return Fleet(learnt, seen, tuple(kinds for _, kinds in others))


def _windows(first: int, machines: int, faults: tuple[str, ...]) -> list[tuple[Sample, frozenset[str]]]:
    """A window of one second of each machine, and the faults of its bearing."""
    processor, wanted = IotlamProcessor(BOTH, ROI), Source("simulated", faults=faults)
    drawn = ((number, random_machine(number)) for number in count(first))
    named = ((n, one, [f for f in BEARING_FAULTS if one.fault(f) > 0.0]) for n, one in drawn)
    fitting = islice(((n, one, found) for n, one, found in named if wanted.wants(found)), machines)
    return [(simulated(processor, one, 1, n), frozenset(found or ("sound",))) for n, one, found in fitting]


def _base(folder: Path) -> Path:
    """A model with the shipped embedding module, and all else as drawn."""
    shipped = load_model(None)
    model = IotlamModel(shipped.config, seed=1)
    model.fusion.load_state_dict(shipped.fusion.state_dict())
    save_pretrained(model, folder)
    return folder


def _alone(what: Task, fleet: Fleet, steps: int, seed: int) -> list[Json]:
    """Each device by itself, on all its machines; besides the end, the best moment as the unmet machines tell it."""
    rows: list[Json] = []
    for device in FLEET:
        curve = _trained(
            what,
            device.rank,
            fleet.learnt[device.name],
            what.learning.batch,
            steps,
            seed,
            lambda model, device=device: fleet.scores(device, model),  # type: ignore[misc]
        )
        best = max(one["score"] for one in curve)
        facts = {"seed": seed, "arm": "alone", "module": "alone", "device": device.name}
        last = curve[-1] if curve[-1]["score"] >= curve[0]["score"] else curve[0]  # never worse than untrained
        rows.append({**facts, **last, "best": best})
    return rows


def _central(what: Task, fleet: Fleet, steps: int, seed: int) -> list[Json]:
    """All data in one place, as many examples a step as all devices have together; its best moment counts."""
    pooled = fleet.pooled
    learnt = [sample for samples in fleet.learnt.values() for sample in samples]
    rank, batch = max(device.rank for device in FLEET), what.learning.batch * len(FLEET)
    curve = _trained(
        what, rank, learnt, batch, steps, seed, lambda model: {"score": mean_auroc(logits_of(model, pooled), pooled)}
    )
    best = max(one["score"] for one in curve)
    facts = {"seed": seed, "arm": "central", "module": "central", "device": "all"}
    return [{**facts, "score": best, "last": curve[-1]["score"]}]


def _federated(what: Task, fleet: Fleet, arm: str, rounds: int, steps: int, seed: int, folder: Path) -> list[Json]:
    """Rounds; both modules of each device, and the shared one on the pooled machines."""
    enrolled = tuple(Enrolled(one.name, one.rank, len(fleet.learnt[one.name])) for one in FLEET)
    config = RunConfig(enrolled, rounds=rounds, steps=steps, learning_rate=RATE, seed=seed, distil=ARMS[arm])
    run, models = Run(folder, what.base, config), dict[int, RoundModel]()
    devices = {
        name: Local(name, what, LocalData(samples, []), folder / f"{name}.safetensors", models)
        for name, samples in fleet.learnt.items()
    }
    while not run.finished:
        for order, arrays in run.orders():
            run.take(order.device, run.number, *devices[order.device].work(order, arrays))
        run.close({})
    shared, facts = run.model(), {"seed": seed, "arm": arm}
    run.leave()
    pooled = mean_auroc(logits_of(shared, fleet.pooled), fleet.pooled)
    rows: list[Json] = [{**facts, "module": "pooled", "device": "all", "score": pooled}]
    for device in FLEET:
        rows.append({**facts, "module": "shared", "device": device.name, **fleet.scores(device, shared)})
        if ARMS[arm]:
            own = own_model(what.base, folder / f"{device.name}.safetensors")
            rows.append({**facts, "module": "own", "device": device.name, **fleet.scores(device, own)})
            rows.append({**facts, "module": "together", "device": device.name, **fleet.scores(device, own, shared)})
    return rows


def _trained(
    what: Task,
    rank: int,
    learnt: Sequence[Sample],
    batch: int,
    steps: int,
    seed: int,
    score: Callable[[IotlamModel], dict[str, float]],
) -> list[dict[str, float]]:
    """Scores of a model untrained and at some moments of its training, the last at the end."""
    learning = replace(what.learning, steps=steps, learning_rate=RATE, seed=seed, batch=batch)
    curve = [score(RoundModel(what.base, rank, seed).model)]
    every = max(steps // CHECKPOINTS, 1)

    def on_step(number: int, model: IotlamModel) -> None:
        if number % every == 0 or number == steps:
            curve.append(score(model))

    central(replace(what, learning=learning), learnt, rank, on_step)
    return curve


def _by_seed(rows: Sequence[Json], arm: str, module: str) -> NDArray[np.float64]:
    some = sorted((row["seed"], row["score"]) for row in rows if (row["arm"], row["module"]) == (arm, module))
    return np.array([score for _, score in some])


def _gains(rows: Sequence[Json], arm: str, module: str, score: str) -> NDArray[np.float64]:
    """Points by which a module is above the device alone, by device and seed; `best` is against its best moment."""
    seeds = sorted({row["seed"] for row in rows if row["arm"] == arm})
    found = {(row["arm"], row["module"], row["device"], row["seed"]): row for row in rows}
    mine = "score" if score == "best" else score
    return np.array(
        [
            [
                100.0 * (found[arm, module, one.name, seed][mine] - found["alone", "alone", one.name, seed][score])
                for seed in seeds
            ]
            for one in FLEET
        ]
    )


def _anchor(rows: Sequence[Json]) -> str:
    alone = np.mean([row["score"] for row in rows if row["arm"] == "alone"])
    return f"each device alone {alone:.3f}; FedMKT +0.2 to +10 (its paper)"


def _mean(gain_S: NDArray[np.float64]) -> tuple[float, tuple[float, float] | None]:
    return mean_ci95(gain_S.tolist()) if len(gain_S) > 1 else (float(gain_S[0]), None)
