"""`iotlam demo federated`: eight unequal devices learn one model of bearing faults over radio, ending in a page."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
import typer

from iotlam.contracts import BadInput, Json, check_writable
from iotlam.federated.central import central
from iotlam.federated.journal import read
from iotlam.federated.outcome import JOURNAL
from iotlam.federated.plan import DevicePlan, Plan
from iotlam.federated.planning import Radio
from iotlam.federated.rounds import Run
from iotlam.federated.runtimes import carry_out
from iotlam.model import IotlamModel
from iotlam.pages.page import check_page
from iotlam.training.parallel import run_parallel
from iotlam.training.progress import progress
from iotlam.training.shards import Sample
from iotlam_edge.fleet import Fleet, draw_fleet
from iotlam_faults.federated import Source, bearings, data, task, told_apart, unlearnt
from iotlam_faults.fleet.page import ALONE, CENTRAL, OURS, PADDED, write_page

DEVICES, RADIUS_M, BAND_HZ = 8, 400.0, 5e6
KINDS = ("sound", "inner", "outer", "ball")
"""What bearings a device has seen; each kind is known to two of them."""

MACHINES, TESTED = 40, 12
"""Simulated machines of a device, and of each kind to measure with."""

TEST_SEED = 90
PAGE, WORKERS = "federated.html", 2


@dataclass(frozen=True, slots=True)
class Learning:
    """One way to learn, in a process of its own.

    Attributes:
        method: rounds of ours, rounds as the source paper has them, one model on all data, or each device alone.
        plan: what to do.
        folder: of this demo.
    """

    method: str
    plan: Plan
    folder: Path

    @property
    def run(self) -> Path:
        """Folder of a federated run."""
        return self.folder / self.method


def demo(out: Path, seed: int = 0, quick: bool = False) -> Json:
    """Run the demo; returns scores, the page and the seconds it took.

    Args:
        out: folder of the page and the runs.
        seed: of machines, places and channels.
        quick: few machines and steps, to see that it works.
    """
    start = time.monotonic()
    check_writable("--out", out)
    check_page(out / PAGE)
    if (out / OURS / JOURNAL).exists():
        raise BadInput(str(out), expected="a folder without a demo", got="one", fix="name another --out, or delete it")
    fleet = draw_fleet(DEVICES, seed, RADIUS_M)
    typer.echo(f"{DEVICES} devices, each with one kind of bearing; four ways to learn", err=True)
    size = {"rounds": 2, "steps": 2} if quick else {"rounds": 7, "steps": 8}
    plan = plan_of(fleet, unlearnt(out / "unlearnt"), seed, MACHINES // 5 if quick else MACHINES, size)
    todo = [Learning(method, plan, out) for method in (OURS, PADDED, CENTRAL, ALONE)]
    with progress("Ways to learn", len(todo)) as step:
        found = dict(
            zip((one.method for one in todo), run_parallel(learn, todo, WORKERS, lambda _: step(1)), strict=True)
        )
    page = write_page(fleet, plan, found, out / PAGE, seed)
    typer.echo(f"page: {page}  ({time.monotonic() - start:.0f} s)", err=True)
    scores = {method: one["scores"] for method, one in found.items()}
    return {"page": str(page), "scores": scores, "seconds": round(time.monotonic() - start, 1)}


def plan_of(fleet: Fleet, base: Path, seed: int, machines: int, size: Json) -> Plan:
    """The plan that `iotlam federated run` would be given.

    Args:
        fleet: the devices.
        base: folder of the model that they begin with.
        seed: of machines and channels.
        machines: simulated, of each device.
        size: rounds, and steps of each.
    """
    devices = []
    for place, device in enumerate(fleet.devices):
        facts = {name: value for name, value in device.to_raw().items() if name != "name"}
        kind = KINDS[place * len(KINDS) // len(fleet.devices)]
        source = {"kind": "simulated", "machines": machines, "faults": [kind], "seed": 100 * seed + place}
        devices.append(DevicePlan(device.name, source, fleet.ranks[device.name], hardware=facts))
    return Plan("faults", tuple(devices), str(base), {**size, "seed": seed}, Radio(BAND_HZ, seed=seed, worth=2.0))


def learn(one: Learning) -> Json:
    """Learn in one way; returns scores by device, and by round where there are some."""
    torch.set_num_threads(1)
    return {OURS: _rounds, PADDED: _rounds, CENTRAL: _together, ALONE: _alone}[one.method](one)


def _rounds(one: Learning) -> Json:
    plan, curve, scores = one.plan, [], {}
    if one.method == PADDED:
        plan = plan.changed(rounds={**plan.rounds, "mode": "zero_pad", "eight_bits": False})

    def on_round(run: Run) -> None:
        curve.append(_score(run.model()))
        if run.finished:
            by_rank = cache(lambda rank: _score(run.held(rank)))
            scores.update({device.name: by_rank(device.rank) for device in plan.devices})

    carry_out(plan, one.run, on_round)
    records, _ = read(one.run / JOURNAL)
    return {
        "scores": scores,
        "curve": curve,
        "plans": [record["radio"] for record in records if record["kind"] == "plan"],
        "rounds": [record for record in records if record["kind"] == "round"],
    }


def _together(one: Learning) -> Json:
    learnt = [sample for device in one.plan.devices for sample in data(device.data).learnt]
    most = max(device.rank for device in one.plan.devices)
    score = _score(_trained(one.plan, learnt, most, len(one.plan.devices)))
    return {"scores": {device.name: score for device in one.plan.devices}}


def _alone(one: Learning) -> Json:
    return {
        "scores": {
            device.name: _score(_trained(one.plan, data(device.data).learnt, device.rank, 1))
            for device in one.plan.devices
        }
    }


def _trained(plan: Plan, learnt: Sequence[Sample], rank: int, devices: int) -> IotlamModel:
    """As many steps as the rounds have, of as many windows as so many devices take."""
    work, config = task(Path(plan.base)), plan.settings
    learning = replace(
        work.learning,
        steps=config.rounds * config.steps,
        learning_rate=config.learning_rate,
        batch=devices * work.learning.batch,
        seed=config.seed,
    )
    return central(replace(work, learning=learning), learnt, rank)


def _score(model: IotlamModel) -> float:
    return told_apart(model, _tested())


@cache
def _tested() -> list[Sample]:
    """Bearings of all kinds that no device has."""
    sources = [Source("simulated", machines=TESTED, faults=(kind,), seed=TEST_SEED) for kind in KINDS]
    return [sample for source in sources for bearing in bearings(source) for sample in bearing]
