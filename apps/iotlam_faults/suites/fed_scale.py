"""Suite `fed-scale`: a federated run against a plain loop, a thousand devices, and the same run on three runtimes."""

from __future__ import annotations

import hashlib
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from iotlam.bench.statistics import median_ci95
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import IotlamError, Json
from iotlam.federated.adapter import RoundModel
from iotlam.federated.leading import rounds_left
from iotlam.federated.local import LocalData, Task
from iotlam.federated.plan import DevicePlan, Plan
from iotlam.federated.processes import free_ports
from iotlam.federated.runtimes import carry_out
from iotlam.federated.trial import Trial
from iotlam.model import IotlamModel, from_pretrained, save_pretrained
from iotlam.training.imitation import Part, shuffle
from iotlam.training.loop import optimise
from iotlam_faults.federated import data
from iotlam_faults.model import SHIPPED

REPETITIONS, ROUNDS, STEPS = 6, 2, 5
"""Of the comparison with a plain loop: half the default number of steps, so that what is not training counts more."""

RANKS = (2, 4, 8, 16)
MACHINES = 8
"""Of a device, up to two of them held out."""

THOUSAND, MANY_ROUNDS, MANY_RANKS, MANY_MACHINES = 1000, 10, (2, 4, 8), 2
WIDTH, FUSION = 32, 16
"""Of the small model whose adapter each of a thousand devices trains: a decoder of one layer, all else as shipped."""

TRIAL_S = 900.0


def scale(quick: bool, progress: Progress) -> SuiteResult:
    """Overhead of a run in this process, time and memory of a thousand devices, weights from three runtimes.

    Args:
        quick: few devices and repetitions, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start, rows = time.monotonic(), list[Json]()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        repetitions = 2 if quick else REPETITIONS
        with progress("A run against a plain loop", repetitions) as step:
            for number in range(repetitions):
                rows += compared(eight(1, 1) if quick else eight(ROUNDS, STEPS), Path(folder) / f"run-{number}", number)
                step(1)
        with progress("A thousand devices", 1) as step:
            rows.append(thousand(20 if quick else THOUSAND, 2 if quick else MANY_ROUNDS, Path(folder) / "thousand"))
            step(1)
        with progress("One run on three runtimes", 3) as step:
            for name, play in RUNTIMES.items():
                rows.append(on(name, play, Path(folder) / name))
                step(1)
    return SuiteResult("fed-scale", rows, figures(rows), time.monotonic() - start)


def figures(rows: list[Json]) -> dict[str, Metric]:
    """Ratios of CPU seconds, the thousand devices' time and memory, and how many runtimes gave the same weights."""
    ours, plain = ([row for row in rows if row["kind"] == kind] for kind in ("run", "plain"))
    over = [one["cpu_s"] / other["cpu_s"] - 1 for one, other in zip(ours, plain, strict=True)]
    wall = [one["seconds"] / other["seconds"] - 1 for one, other in zip(ours, plain, strict=True)]
    (many,) = (row for row in rows if row["kind"] == "thousand")
    on_each = {row["runtime"]: row for row in rows if row["kind"] == "runtime"}
    same = sum(row["weights"] == on_each["process"]["weights"] for row in on_each.values())
    starts = ", ".join(f"{name} {row['first_round_s']:.0f} s" for name, row in on_each.items() if row["weights"])
    return {
        "overhead_over_plain_loop": figure(
            median(row["cpu_s"] for row in ours) / median(row["cpu_s"] for row in plain) - 1,
            len(over),
            most=0.15,
            anchor=f"plain loop {median(row['cpu_s'] for row in plain):.1f} s of CPU",
            ci95=median_ci95(over)[1],
        ),
        "overhead_in_wall_time": figure(median(wall), len(wall), ci95=median_ci95(wall)[1]),
        "thousand_devices_ten_rounds_s": figure(
            many["seconds"], 1, most=300, unit="s", anchor=f"CPU {many['cpu_s']:.0f} s"
        ),
        "thousand_devices_memory_gib": figure(
            many["gib"], 1, most=2.0, unit="GiB", anchor=f"before the run {many['before_gib']:.2f} GiB"
        ),
        "runtimes_with_same_weights": figure(same, 1, least=3, anchor=f"to the end of round 1: {starts}"),
    }


def eight(rounds: int, steps: int) -> Plan:
    """Eight devices of four ranks with machines of their own, and the shipped model."""
    devices = tuple(
        DevicePlan(name=f"device-{n}", rank=RANKS[n % 4], data={"kind": "simulated", "machines": MACHINES, "seed": n})
        for n in range(8)
    )
    return Plan(app="faults", devices=devices, rounds={"rounds": rounds, "steps": steps, "deadline_s": 3600.0})


def compared(plan: Plan, folder: Path, number: int) -> list[Json]:
    """A run and a plain loop, one after the other; who is first changes."""
    work = {"run": lambda: carry_out(plan, folder), "plain": lambda: plain(plan)}
    names = ("run", "plain") if number % 2 else ("plain", "run")
    rows = {name: {"kind": name, "repetition": number, **_timed(work[name])} for name in names}
    return [rows["run"], rows["plain"]]


def plain(plan: Plan) -> dict[str, Tensor]:
    """What the run does, as one would write it by hand: no messages, no journal, no eight bits, nothing on disk.

    Devices train in turn; what they have learnt is padded with zeros and averaged.

    Returns:
        The weights that learn, by name, after the last round.
    """
    config, what = plan.settings, plan.task()
    owned = {device.name: (device.rank, data(device.data)) for device in sorted(plan.devices, key=lambda one: one.name)}
    models = {rank: _model(what, rank) for rank, _ in owned.values()}
    shared = _learning(models[max(models)])
    learnt = sum(len(own.learnt) for _, own in owned.values())
    for number in range(config.rounds):
        mean = {name: torch.zeros_like(tensor) for name, tensor in shared.items()}
        for place, (rank, own) in enumerate(owned.values()):
            model = models[rank]
            with torch.no_grad():
                for name, parameter in _parameters(model).items():
                    parameter.copy_(shared[name][tuple(slice(size) for size in parameter.shape)])
            if own.held_out:
                what.score(model.eval(), own.held_out)
            _train(what, model, own, (config.seed * 1_000_003 + place, number), config.steps, config.learning_rate)
            for name, tensor in _learning(model).items():
                mean[name][tuple(slice(size) for size in tensor.shape)] += len(own.learnt) / learnt * tensor
        shared = mean
    return shared


def _model(what: Task, rank: int) -> IotlamModel:
    model = RoundModel(what.base, rank)
    model.learns(("a", "b"), others=True)
    return model.model


def _train(
    what: Task, model: IotlamModel, own: LocalData, seed: tuple[int, int], steps: int, learning_rate: float
) -> None:
    learning = replace(what.learning, steps=steps, learning_rate=learning_rate, seed=seed[0])

    def loss_at(step: int) -> Tensor:
        rng = np.random.default_rng((*seed, step))
        samples = [shuffle(own.learnt[row], rng) for row in rng.integers(len(own.learnt), size=learning.batch)]
        return what.loss(learning, model, Part(samples, 1.0, 1.0, int(rng.integers(2**62))))

    optimise(model, loss_at, steps=steps, learning_rate=learning_rate)


def _parameters(model: IotlamModel) -> dict[str, torch.nn.Parameter]:
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def _learning(model: IotlamModel) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in _parameters(model).items()}


def thousand(devices: int, rounds: int, folder: Path) -> Json:
    """Many devices for some rounds, in a process of their own, whose memory is measured."""
    plan = Plan(
        app="faults",
        base=str(small_model(folder)),
        rounds={"rounds": rounds, "steps": 1, "others": False, "deadline_s": 3600.0},
        devices=tuple(
            DevicePlan(
                name=f"device-{n:04}",
                rank=MANY_RANKS[n % len(MANY_RANKS)],
                examples=MANY_MACHINES,
                data={"kind": "simulated", "machines": MANY_MACHINES, "seed": n},
            )
            for n in range(devices)
        ),
    )
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        row = pool.apply(_many, (plan.to_json(), folder / "run"))
    return {"kind": "thousand", "devices": devices, "rounds": rounds, **row}


def _many(plan: str, folder: Path) -> Json:
    torch.set_num_threads(1)
    before, answers = _peak_gib(), list[int]()
    row = _timed(
        lambda: carry_out(
            Plan.from_json(plan, "plan"), folder, lambda run: answers.append(len(run.outcomes[-1].shares))
        )
    )
    return {**row, "before_gib": before, "gib": _peak_gib(), "answers": sum(answers)}


def small_model(folder: Path) -> Path:
    """A new model of machine faults, as the shipped one in all but size, with the moments of some machines."""
    sizes = LlamaConfig(
        hidden_size=WIDTH, num_hidden_layers=1, num_attention_heads=4, intermediate_size=2 * WIDTH, vocab_size=16
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(sizes).save_pretrained(folder / "decoder")
    config = from_pretrained(SHIPPED).config
    fusion = config.fusion.changed(d_fusion=FUSION)
    model = IotlamModel(config.changed(decoder=str(folder / "decoder"), decoder_sha256="", fusion=fusion), 0)
    for sample in data({"kind": "simulated", "machines": MACHINES}).learnt:
        model.fusion.learn_moments(sample.tokens)
    model.fusion.freeze_whitening()
    save_pretrained(model, folder / "model")
    return folder / "model"


Play = Callable[[Plan, Path, Callable[[], object]], object]
"""Carries out a plan in a folder; calls when the first round has ended, or each."""


def on(name: str, play: Play, folder: Path) -> Json:
    """Two devices of unequal rank for two rounds on a runtime; no weights where it is not installed."""
    devices = tuple(
        DevicePlan(name=f"device-{n}", rank=1 + 2 * n, examples=4, data={"kind": "simulated", "machines": 4, "seed": n})
        for n in range(2)
    )
    plan = Plan(app="faults", devices=devices, rounds={"rounds": 2, "steps": 2, "deadline_s": TRIAL_S / 2})
    if name == "ray" and find_spec("ray") is None:
        return {"kind": "runtime", "runtime": name, "weights": "", "first_round_s": 0.0, "seconds": 0.0}
    start, ends = time.monotonic(), list[float]()
    play(plan, folder, lambda: ends.append(time.monotonic() - start))
    seconds = time.monotonic() - start
    files = b"".join(path.read_bytes() for path in sorted((folder / "model").glob("*.safetensors")))
    weights = hashlib.sha256(files).hexdigest()
    return {"kind": "runtime", "runtime": name, "weights": weights, "first_round_s": ends[0], "seconds": seconds}


def _on_servers(plan: Plan, folder: Path, ended: Callable[[], object]) -> None:
    """A SuperLink and SuperNodes on this machine, with TLS and node keys.

    Raises:
        IotlamError: if they do not end.
    """
    trial, deadline = Trial(folder, free_ports(1 + len(plan.devices))), time.monotonic() + TRIAL_S
    try:
        trial.up(plan)
        _wait(lambda: rounds_left(plan, folder) < plan.settings.rounds, deadline)
        ended()
        _wait((folder / "model" / "config.json").exists, deadline)
    finally:
        trial.down()


def _wait(there: Callable[[], bool], deadline: float) -> None:
    while not there():
        if time.monotonic() > deadline:
            raise IotlamError(f"SuperLink: expected a model within {TRIAL_S:.0f} s, got none; see its logs.")
        time.sleep(0.1)


RUNTIMES: Mapping[str, Play] = {
    "process": lambda plan, folder, ended: carry_out(plan, folder, lambda _: ended()),
    "ray": lambda plan, folder, ended: carry_out(plan, folder, lambda _: ended(), "ray"),
    "superlink": _on_servers,
}


def _timed(work: Callable[[], object]) -> Json:
    cpu, wall = time.process_time(), time.monotonic()
    work()
    return {"cpu_s": time.process_time() - cpu, "seconds": time.monotonic() - wall}


def _peak_gib() -> float:
    """Of this process alone: `getrusage` counts what its parent had when it was started."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**20
