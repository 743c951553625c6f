"""A plan's run in its folder: who leads it over nodes, and the devices that are in one process."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock

from iotlam.contracts import BadInput, Json, whole_file
from iotlam.federated.adapter import RoundModel
from iotlam.federated.appended import writing
from iotlam.federated.flower import play
from iotlam.federated.grids import Carries
from iotlam.federated.journal import read
from iotlam.federated.local import Local, Task, own_model
from iotlam.federated.outcome import JOURNAL, Outcome
from iotlam.federated.plan import Plan
from iotlam.federated.rounds import Run
from iotlam.model import save_pretrained
from iotlam.model.folder import CONFIG

PLAN, MODEL, DEVICES, STOPPED = "plan.json", "model", "devices", "stopped"
"""Of a run's folder: the plan, the model that results, what devices keep, why a SuperLink's server app has ended."""


class Fleet:
    """The devices of a plan that are in one process: each is made when it is first asked for, its data with it.

    Args:
        plan: whose devices.
        folder: of the run, where each keeps its memory.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self._plan, self._folder = plan, folder
        self._models: dict[int, RoundModel] = {}
        self._devices: dict[str, Local] = {}
        self._making = Lock()

    def device(self, name: str) -> Local:
        """One of them.

        Raises:
            BadInput: if there is no such device, or it has no data.
        """
        with self._making:
            if name not in self._devices:
                memory = _memory(self._folder, name)
                self._devices[name] = Local(name, self._task, self._plan.data(name), memory, self._models)
            return self._devices[name]

    @cached_property
    def _task(self) -> Task:
        return self._plan.task()


def lead(
    plan: Plan,
    folder: Path,
    grid: Carries,
    on_round: Callable[[Run], object] = lambda _: None,
    examples: Mapping[str, int] | None = None,
) -> Path:
    """Lead what is left of a plan over Flower's nodes, without a look at the devices' data.

    Args:
        plan: what to do.
        folder: of the run; where it holds part of the same run, that is gone on with.
        grid: the way to the nodes.
        on_round: told of the run after each round.
        examples: of devices for which the plan names no bound, by name.

    Returns:
        Folder of the model that results.

    Raises:
        BadInput: if the plan cannot be carried out, the folder holds another run, or no round has changed anything.
    """
    config = plan.config_for(examples or {})
    task = plan.task()
    planner = plan.planner(task)
    keep(plan, folder)
    run = Run(folder, task.base, config, plan.to_json())
    try:
        (folder / STOPPED).unlink(missing_ok=True)
        play(run, grid, on_round, planner)
        counted = {name for outcome in run.outcomes for name in outcome.counted}
        if not counted:
            raise _nothing_learnt(folder, run.outcomes)
        of_all = f"{len(counted)} of {len(config.devices)}"
        facts = {
            "Task": f"{plan.app}, learnt by {of_all} devices whose data stayed where they are",
            "Rounds": config.rounds,
            "Aggregation": config.mode,
            "Ranks": ", ".join(str(device.rank) for device in config.devices if device.name in counted),
            "Seed": config.seed,
        }
        with writing(folder / MODEL):
            save_pretrained(run.model(), folder / MODEL, facts)
    finally:
        run.leave()
    return folder / MODEL


def read_plan(folder: Path) -> Plan:
    """The plan of a run's folder, or of a device's part of one.

    Raises:
        BadInput: if there is none.
    """
    try:
        text = (folder / PLAN).read_text()
    except (OSError, UnicodeDecodeError) as error:
        fix = "name the folder that 'iotlam federated run' was given as --out"
        raise BadInput(str(folder), expected="a federated run", got=str(error), fix=fix) from error
    plan = Plan.from_json(text, str(folder / PLAN))
    if plan.base and (folder / plan.base).is_dir():  # as on a device's host, where the base is in the run's folder
        plan = plan.changed(base=str(folder / plan.base))
    return plan


def keep(plan: Plan, folder: Path) -> None:
    """Write a plan into its run's folder, before the run begins; what has begun is left to its own.

    Raises:
        BadInput: if it cannot be written.
    """
    path, text = folder / PLAN, plan.to_json()
    if path.exists() and (_records(folder) or path.read_text() == text):
        return
    with writing(path), whole_file(path, durable=True) as partial:
        partial.write_text(text)


def rounds_left(plan: Plan, folder: Path) -> int:
    """How many rounds there are still to do."""
    done = sum(record["kind"] == "round" for record in _records(folder))
    return int(max(plan.settings.rounds - done, 0))


def has_model(folder: Path) -> bool:
    """Whether a run's model is written: its configuration comes last."""
    return (folder / MODEL / CONFIG).exists()


def _nothing_learnt(folder: Path, outcomes: Sequence[Outcome]) -> BadInput:
    """What to say of a run whose rounds have all changed nothing."""
    causes = {name: why for one in outcomes for name, why in {**one.missing, **one.refused}.items()}
    why = "; ".join(f"{name}: {cause}" for name, cause in list(causes.items())[:1])
    got = f"{len(outcomes)} that changed nothing" + (f" ({why})" if why else "")
    fix = f"see 'iotlam federated status {folder}', then begin another run"
    return BadInput(str(folder), expected="a round with enough answers", got=got, fix=fix)


def _records(folder: Path) -> list[Json]:
    """Of a run's journal; none where it has not begun."""
    return read(folder / JOURNAL)[0] if (folder / JOURNAL).exists() else []


def save_own(plan: Plan, folder: Path, name: str) -> Path:
    """Write a device's own module as an ordinary model, on the machine where the device keeps its memory.

    Args:
        plan: of the run.
        folder: of the run, or the device's part of it.
        name: of the device.

    Returns:
        Folder of the model.

    Raises:
        BadInput: if there is no such device, or it has no module of its own.
    """
    if not any(device.name == name for device in plan.devices):
        expected = f"one of {', '.join(device.name for device in plan.devices)}"
        raise BadInput(f"Device '{name}'", expected=expected, got="a stranger", fix="name one of them")
    model = folder / DEVICES / name / MODEL
    task = f"{plan.app}, of device {name} alone, taught by the others' shared module"
    with writing(model):
        save_pretrained(own_model(plan.task().base, _memory(folder, name)), model, {"Task": task})
    return model


def _memory(folder: Path, name: str) -> Path:
    return folder / DEVICES / f"{name}.safetensors"
