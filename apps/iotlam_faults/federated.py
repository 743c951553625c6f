"""Machine faults as a task for federated rounds: each device has its own bearings, from files or simulated."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import count, islice, zip_longest
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import torch
from msgspec import Meta
from numpy.typing import NDArray

from iotlam.contracts import BadInput, Json, Record
from iotlam.federated.local import LocalData, Task
from iotlam.fusion.sanity import auroc
from iotlam.model import IotlamModel, IotlamProcessor, save_pretrained
from iotlam.training.imitation import label_loss
from iotlam.training.shards import FACTS, PRESENT, Sample
from iotlam_faults.data.catalogue import Entry
from iotlam_faults.data.folder import catalogue, own_waveforms
from iotlam_faults.data.reading import Waveform
from iotlam_faults.data.store import Store, default_root
from iotlam_faults.model import SHIPPED, load_model, new_config
from iotlam_faults.protocols import Window
from iotlam_faults.query import FAULTS, PLACES, machine_query
from iotlam_faults.recordings import Recordings, cut, entries_here, of_set
from iotlam_faults.splits import Split
from iotlam_faults.train import LEARNING
from iotlam_faults.windows import ROI, simulated
from iotlam_machine.machine import BEARING_FAULTS, Kind, Machine, random_machine

SENSOR = "vibration_orders"
TELLS: Mapping[str, tuple[Kind, ...]] = {
    SENSOR: (*BEARING_FAULTS, "imbalance", "misalignment"),
    "current": (*BEARING_FAULTS, "imbalance", "winding"),
}
"""Sensors that a device may have, and the faults that show in what each measures."""

HELD_OUT_EVERY = 4
"""One bearing in so many, rounded up, is kept from learning, where a device has as many."""

FIRST_MACHINE = 9_000_000
"""Simulated machines begin here: the model that is shipped has met none of them."""

BATCH = 64

STEP_FLOPS = 4.5e9
"""Of one optimiser step of the shipped model, counted by torch at ranks 2 (3.9e9) to 32 (4.9e9)."""


class Source(Record, frozen=True):
    """What one device has learnt its trade on.

    Attributes:
        kind: `simulated` machines, recordings of a published `set`, or a `folder` of one's own.
        name: of the set, or path of the folder.
        part: of a set, where in its machine the sensor sits; empty for all.
        faults: only bearings with one of these, or `sound`; empty for all.
        machines: simulated, how many.
        seconds: of a window.
        seed: of the simulated machines.
        sensors: what the device has of `TELLS`; recordings are of vibration.
    """

    kind: Literal["simulated", "set", "folder"]
    name: str = ""
    part: str = ""
    faults: tuple[str, ...] = ()
    machines: Annotated[int, Meta(gt=0)] = 20
    seconds: Annotated[float, Meta(gt=0.0)] = 1.0
    seed: Annotated[int, Meta(ge=0)] = 0
    sensors: tuple[str, ...] = (SENSOR,)

    def __post_init__(self) -> None:
        if not self.sensors or not set(self.sensors) <= set(TELLS):
            odd = [f"'{name}'" for name in self.sensors if name not in TELLS] or ["none"]
            raise BadInput("data.sensors", expected=", ".join(TELLS), got=odd[0], fix="name some of them")
        if self.kind != "simulated" and set(self.sensors) != {SENSOR}:
            got, fix = ", ".join(self.sensors), "leave it out"
            raise BadInput("data.sensors", expected=f"'{SENSOR}' of recordings", got=got, fix=fix)
        if unknown := [fault for fault in self.faults if fault not in ("sound", *BEARING_FAULTS)]:
            expected = ", ".join(("sound", *BEARING_FAULTS))
            raise BadInput("data.faults", expected=expected, got=f"'{unknown[0]}'", fix="name some of them")
        if (self.kind == "simulated") == bool(self.name):
            got = f"'{self.name}'" if self.name else "none"
            expected = "no name" if self.kind == "simulated" else f"the name of a {self.kind}"
            raise BadInput("data.name", expected=expected, got=got, fix="correct it")
        if self.kind == "simulated" and self.seconds % 1:
            raise BadInput("data.seconds", expected="whole seconds", got=f"{self.seconds:g}", fix="correct it")

    def wants(self, faults: Sequence[str]) -> bool:
        """Whether a bearing with these faults is asked for."""
        return not self.faults or bool(set(faults or ("sound",)) & set(self.faults))


def task(base: Path | None) -> Task:
    """The task: which faults each window's bearing has.

    Args:
        base: folder of the model that all devices begin with; None for the shipped one.
    """
    load_model(base)  # refuses one for other questions
    learning = replace(LEARNING, batch=16, drop=0.0, facts_weight=0.0)
    return Task(base or SHIPPED, label_loss, told_apart, learning, STEP_FLOPS)


def check(source: Json) -> None:
    """Refuse a source whose recordings are not here.

    Raises:
        BadInput: if it is no source, or there is nothing of its set, or no catalogue in its folder.
    """
    wanted = Source.from_raw(source, "data")
    if wanted.kind == "set":
        entries_here(Store(default_root()), wanted.name)
    elif wanted.kind == "folder":
        catalogue(Path(wanted.name))


def data(source: Json) -> LocalData:
    """What a device has, bearings held out from learning apart; none where those would tell no fault from another.

    Args:
        source: as a `Source`.

    Raises:
        BadInput: if it is no source, or there is nothing of what it asks for.
    """
    by_bearing = bearings(Source.from_raw(source, "data"))
    apart = _held_out([_kind(bearing) for bearing in by_bearing])
    held_out = [sample for place in apart for sample in by_bearing[place]]
    if not held_out or not _told_P(held_out).any():
        apart, held_out = [], []
    learnt = [bearing for place, bearing in enumerate(by_bearing) if place not in apart]
    groups = [number for number, bearing in enumerate(learnt) for _ in bearing]
    return LocalData([sample for bearing in learnt for sample in bearing], held_out, groups)


def _held_out(kinds: Sequence[frozenset[str]]) -> list[int]:
    """Places of bearings to measure with: of each kind in turn, the first of which is learnt from."""
    places: dict[frozenset[str], list[int]] = {}
    for place, kind in enumerate(kinds):
        places.setdefault(kind, []).append(place)
    in_turn = [
        place for some in zip_longest(*(of[1:] for of in places.values())) for place in some if place is not None
    ]
    most = math.ceil(len(kinds) / HELD_OUT_EVERY) if len(kinds) >= HELD_OUT_EVERY else 0
    return sorted(in_turn[:most])


def _kind(bearing: Sequence[Sample]) -> frozenset[str]:
    """Faults that a bearing has in any of its windows."""
    present_P = np.any([sample.targets[PRESENT] > 0.5 for sample in bearing], axis=0)
    return frozenset(fault for fault, there in zip(FAULTS, present_P, strict=True) if there and fault in BEARING_FAULTS)


def check_unlearnt(model: Path, splits: Sequence[Split], windows: Sequence[Window]) -> None:
    """Refuse to test a model of a federated run on what its devices have, by the run's plan, learnt from.

    Args:
        model: its folder; of a model that no run has made nothing is known.
        splits: that it is to be tested on.
        windows: what the pieces of the splits are of.

    Raises:
        BadInput: if a device has learnt from a bearing that is tested.
    """
    plan = _plan_of(model)
    if plan is None:
        return
    try:  # not as a `Plan`: that would load Flower
        written = json.loads(plan.read_text(encoding="utf-8"))
        sources = [Source.from_raw(one["data"], str(plan)) for one in written["devices"]]
        base = str(written.get("base", ""))
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "move the model out of its folder"
        raise BadInput(str(plan), expected="the plan of a federated run", got=str(error), fix=fix) from error
    learnt = {group for source in sources for group in _learnt_groups(source, windows)}
    for split in splits:
        if tested := sorted(learnt & set(split.groups[1])):
            expected = "a model that has not learnt from the bearings that are tested"
            got, fix = f"{plan.parent} that has from {tested[0]}", "test it on other recordings"
            raise BadInput("--model", expected=expected, got=got, fix=fix)
    if base and _plan_of(plan.parent / base) != plan:  # it may be of another run
        check_unlearnt(plan.parent / base, splits, windows)


def _plan_of(model: Path) -> Path | None:
    """The plan of the run that a model is in the folder of."""
    return next((one / "plan.json" for one in model.resolve().parents[:3] if (one / "plan.json").is_file()), None)


def _learnt_groups(source: Source, windows: Sequence[Window]) -> set[str]:
    """Bearings that a device has learnt from.

    Recordings of a folder are known by their samples, wherever they are now. Where the folder is not here, or may be
    another because its path is relative, they are known by the folder's last name, too.
    """
    marks = _marks_of(source)
    by_name = not marks or not Path(source.name).is_absolute()
    return {
        one.piece.group
        for one in windows
        if not marks.isdisjoint(one.piece.marks) or (by_name and _is_named(source, one.entry))
    }


def _marks_of(source: Source) -> set[str | int]:
    """What copies of a device's own recordings have in common with them; nothing where they cannot be read here."""
    if source.kind != "folder":
        return set()
    try:
        waves = [wave for wave in own_waveforms(Path(source.name)) if _asked_for(wave, source)]
        return {mark for one in cut(waves, source.seconds).windows for mark in one.piece.marks}
    except BadInput:
        return set()


def _is_named(source: Source, entry: Entry) -> bool:
    name = Path(source.name).resolve().name if source.kind == "folder" else source.name
    return entry.set == name and source.wants(entry.faults) and source.part in ("", entry.part)


def bearings(wanted: Source) -> list[list[Sample]]:
    """Windows of each bearing.

    Raises:
        BadInput: if there is nothing of what is asked for.
    """
    return list(_simulated(wanted)) if wanted.kind == "simulated" else _recorded(wanted)


def told_apart(model: IotlamModel, samples: Sequence[Sample]) -> float:
    """Area under the curve, mean over the faults that are asked about and that some windows have and others do not.

    Without any such fault it is .5.
    """
    return mean_auroc(logits_of(model, samples), samples)


def logits_of(model: IotlamModel, samples: Sequence[Sample]) -> NDArray[np.float32]:
    """A model's logits of each fault, windows x faults."""
    logits = []
    for start in range(0, len(samples), BATCH):
        some = [(dict(sample.tokens), sample.query) for sample in samples[start : start + BATCH]]
        logits.append(model.answer_all(some).logits_BP)
    found_NP: NDArray[np.float32] = torch.cat(logits).numpy()
    return found_NP


def mean_auroc(logits_NP: NDArray[np.float32], samples: Sequence[Sample]) -> float:
    """As `told_apart`, of logits that a model has given."""
    present_NP, asked_NP = _present_and_asked_NP(samples)
    found = []
    for place in np.flatnonzero(_told_P(samples)):
        asked_N = asked_NP[:, place]
        found.append(auroc(logits_NP[asked_N, place], present_NP[asked_N, place]))
    return float(np.mean(found)) if found else 0.5


def _told_P(samples: Sequence[Sample]) -> NDArray[np.bool_]:
    """Faults that are asked about and that some windows have and others do not."""
    present_NP, asked_NP = _present_and_asked_NP(samples)
    with_NP, without_NP = present_NP & asked_NP, ~present_NP & asked_NP
    return np.logical_and(with_NP.any(0), without_NP.any(0))


def _present_and_asked_NP(samples: Sequence[Sample]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    present_NP = np.stack([sample.targets[PRESENT] > 0.5 for sample in samples])
    return present_NP, np.stack([sample.query.allowed_P for sample in samples])


def unlearnt(folder: Path) -> Path:
    """Write a model of faults as training begins with: a decoder that is pretrained, all else drawn at random."""
    model = IotlamModel(new_config((SENSOR,)), 0)
    for bearing in bearings(USUAL):
        for sample in bearing:
            model.fusion.learn_moments(sample.tokens)
    model.fusion.freeze_whitening()
    save_pretrained(model, folder, {"Task": "faults of a machine, not learnt yet"})
    return folder


def seen_by(sample: Sample, sensors: Sequence[str]) -> Sample:
    """A window as a device with these sensors has it; of faults that they cannot show nothing is asked."""
    told = {fault for sensor in sensors for fault in TELLS[sensor]}
    query = replace(sample.query, allowed_P=np.array([fault in told for fault in FAULTS]))
    return Sample({sensor: sample.tokens[sensor] for sensor in sensors}, query, sample.targets)


USUAL = Source("simulated", machines=40, seed=91)
"""Machines that tell an unlearnt model what tokens are like; none of them is learnt from or measured with."""


@cache
def _processor(sensors: tuple[str, ...]) -> IotlamProcessor:
    return IotlamProcessor(sensors, ROI)


def _simulated(wanted: Source) -> Iterator[list[Sample]]:
    processor = _processor(wanted.sensors)
    first = FIRST_MACHINE + 100_000 * wanted.seed
    machines = (random_machine(first + number) for number in count())
    fitting = (machine for machine in machines if wanted.wants(_bearing_faults(machine)))
    for number, machine in enumerate(islice(fitting, wanted.machines)):
        window = simulated(processor, machine, round(wanted.seconds), first + number)
        yield [seen_by(window, wanted.sensors)]


def _bearing_faults(machine: Machine) -> list[str]:
    return [fault for fault in BEARING_FAULTS if machine.fault(fault) > 0.0]


def _recorded(wanted: Source) -> list[list[Sample]]:
    """Windows of each bearing."""
    waves = own_waveforms(Path(wanted.name)) if wanted.kind == "folder" else of_set(Store(default_root()), wanted.name)
    chosen = [wave for wave in waves if _asked_for(wave, wanted)]
    if not chosen:
        parts = ", ".join(sorted({wave.entry.part for wave in waves}))
        got, fix = f"recordings at {parts}, none with these faults", "ask for others"
        raise BadInput(f"data of {wanted.name}", expected=f"recordings at '{wanted.part}'", got=got, fix=fix)
    recordings = cut(chosen, wanted.seconds)
    recordings.check_turns()
    processor = _processor((SENSOR,))
    by_bearing: dict[str, list[Sample]] = {}
    for row, window in enumerate(recordings.windows):
        by_bearing.setdefault(window.piece.group, []).append(_sample(processor, recordings, row))
    return list(by_bearing.values())


def _asked_for(wave: Waveform, wanted: Source) -> bool:
    return wanted.wants(wave.entry.faults) and wanted.part in ("", wave.entry.part)


def _sample(processor: IotlamProcessor, recordings: Recordings, row: int) -> Sample:
    """A window of a recording; of faults elsewhere than in the bearing nothing is known, and nothing is asked."""
    query = machine_query(recordings.orders[row], float(recordings.shaft_W[row]), BEARING_FAULTS)
    frame = recordings.vibration(row).frame(recordings.rate_hz)
    faults = recordings.windows[row].entry.faults
    present_P = np.array([fault in faults for fault in FAULTS], np.float32)
    severity_KF = np.zeros((len(PLACES), 1), np.float32)  # not known; nothing is learnt from it
    return Sample(processor.tokenize({SENSOR: [frame]}, query), query, {PRESENT: present_P, FACTS: severity_KF})
