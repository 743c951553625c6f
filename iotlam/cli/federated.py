"""`iotlam federated`: run, resume, status, own; up and down for Flower's own servers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer

from iotlam.cli.output import print_json, print_rows
from iotlam.contracts import Json, check_writable

if TYPE_CHECKING:
    from iotlam.federated.outcome import Outcome
    from iotlam.federated.plan import Plan
    from iotlam.federated.rounds import Run

app = typer.Typer(no_args_is_help=True, help="Train one model on many devices whose data stay where they are.")

In = Annotated[
    str, typer.Option("--runtime", help="Where the devices are: in this process, or in Ray's: process, ray.")
]
OWN = "own after"
"""Column of the own modules' score, after the round; that of the shared module is of what was sent, before it."""

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def run(
    plan: Annotated[Path, typer.Argument(help="What to do (.toml): app, devices, rounds.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/federated"),
    runtime: In = "process",
    as_json: AsJson = False,
) -> None:
    """Train by rounds; Ctrl-C leaves a run that the same command, or `resume`, goes on with.

    A plan for two devices of unequal ranks:

    app = "faults"
    rounds = {rounds = 10, mode = "product_svd"}
    devices = [
    {name = "press", rank = 4, data = {kind = "set", name = "cwru", part = "DE"}},
    {name = "pump", rank = 16, data = {kind = "folder", name = "my-recordings"}},
    ]

    Example: iotlam federated run plan.toml --out runs/plant
    """
    check_writable("--out", out)
    _carry_out(_read(plan), out, runtime, as_json)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")], runtime: In = "process", as_json: AsJson = False
) -> None:
    """Go on with a run that was stopped, to the weights that it would have had.

    Example: iotlam federated resume runs/plant
    """
    from iotlam.federated.leading import read_plan

    _carry_out(read_plan(folder), folder, runtime, as_json)


@app.command()
def status(folder: Annotated[Path, typer.Argument(help="Folder of a run.")], as_json: AsJson = False) -> None:
    """Say how far a run is: its rounds, who answered, who did not and why. The run may be under way.

    Example: iotlam federated status runs/plant
    """
    from iotlam.federated.journal import read
    from iotlam.federated.leading import MODEL, STOPPED, has_model, read_plan
    from iotlam.federated.outcome import JOURNAL, Outcome

    wanted = read_plan(folder).settings.rounds
    records = read(folder / JOURNAL)[0] if (folder / JOURNAL).exists() else []  # waits for its devices
    outcomes = [Outcome.of(record, str(folder)) for record in records if record["kind"] == "round"]
    stopped = (folder / STOPPED).read_text() if (folder / STOPPED).exists() else ""
    model = str(folder / MODEL) if has_model(folder) else ""
    found = {"of": wanted, "stopped": stopped, "model": model, "rounds": [one.to_raw() for one in outcomes]}
    print_rows(_rows(outcomes), as_json, found)
    if not as_json:
        over = _over(folder, outcomes, model) if len(outcomes) == wanted else "not over"
        told = f"; its server has stopped: {stopped}" if stopped and not model else ""
        typer.echo(f"{len(outcomes)} of {wanted} rounds: {over}{told}")


@app.command()
def own(
    folder: Annotated[Path, typer.Argument(help="Folder of a run with 'distil'.")],
    device: Annotated[str, typer.Argument(help="One of its devices, on the machine where that keeps its memory.")],
) -> None:
    """Write a device's own module as an ordinary model folder; it is nowhere but with the device.

    Example: iotlam federated own runs/plant press
    """
    from iotlam.federated.leading import read_plan, save_own

    typer.echo(f"{save_own(read_plan(folder), folder, device)}: an ordinary model folder")


@app.command()
def up(
    plan: Annotated[Path, typer.Argument(help="What to do (.toml); each device with its bound of `examples`.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/federated"),
    port: Annotated[
        int | None,
        typer.Option(
            min=1024, max=65000, help="Of the SuperLink; each device here has one more. Default: as before, else 8000."
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option(
            help="Name or address of this host for devices on other hosts; 127.0.0.1 where all are on this one. "
            "Default: as before, else all on this one."
        ),
    ] = "",
) -> None:
    """Bring up a SuperLink and a SuperNode for each device on this machine, with TLS and node keys, and begin the run.

    With --host devices are on hosts of their own: each gets a folder to copy there, and a script in it that starts it.
    The first round begins when all are there, or after `deadline_s` with as many as make a round. Of a run that is up,
    whatever has died here is started again, and it goes on.

    Example: iotlam federated up plan.toml --out runs/plant && iotlam federated status runs/plant

    Example: iotlam federated up plan.toml --out runs/plant --host plant.example
    """
    from iotlam.federated.trial import Trial

    check_writable("--out", out)
    trial, found = Trial.of(out, port, host), _read(plan)
    trial.up(found)
    if trial.elsewhere:
        wait = f"the first round waits {found.settings.deadline_s:g} s for all of them"
        typer.echo(f"copy each of these to its device, and run start.sh there; {wait}:")
        for device in found.devices:
            typer.echo(f"  {trial.handed_out(device.name)}")
    typer.echo(f"{out}: up; see 'iotlam federated status {out}', end it with 'iotlam federated down {out}'")


@app.command()
def down(folder: Annotated[Path, typer.Argument(help="Folder of a run that was brought up.")]) -> None:
    """Stop what `up` has started, by its process ids; the run can be brought up again and goes on.

    Example: iotlam federated down runs/plant
    """
    from iotlam.federated.trial import Trial

    stopped = Trial(folder).down()
    typer.echo(f"{folder}: stopped {', '.join(stopped) or 'nothing: it was not up'}")


@app.command()
def rekey(
    folder: Annotated[Path, typer.Argument(help="Folder of a run that is up.")],
    device: Annotated[str, typer.Argument(help="One of its devices.")],
) -> None:
    """Take a device's key back, as of one that was lost or stolen, and give it another; the old is let in no more.

    Example: iotlam federated rekey runs/plant press
    """
    from iotlam.federated.trial import Trial

    key = Trial(folder).rekey(device)
    todo = f"copy {key} to it, and run its start.sh again" if key else "start it with 'iotlam federated up'"
    typer.echo(f"{device}: its old key is let in no more; {todo}")


def _read(path: Path) -> Plan:
    """A plan as its user wrote it; from wherever it is resumed, its base is where it was."""
    from iotlam.federated.plan import Plan

    plan = Plan.from_toml(path)
    return plan.changed(base=str(Path(plan.base).resolve())) if plan.base else plan


def _carry_out(plan: Plan, folder: Path, runtime: str, as_json: bool) -> None:
    from iotlam.federated.leading import rounds_left
    from iotlam.federated.runtimes import carry_out
    from iotlam.training.progress import progress

    outcomes: list[Outcome] = []
    with progress("Rounds", total=rounds_left(plan, folder)) as step:

        def on_round(run: Run) -> None:
            outcomes.append(run.outcomes[-1])
            step(1, loss=outcomes[-1].loss, score=outcomes[-1].score)

        model = carry_out(plan, folder, on_round, runtime)
    found: Json = {"model": str(model), "rounds": [one.to_raw() for one in outcomes]}
    if as_json:
        print_json(found)
    else:
        print_rows(_rows(outcomes), False)
        typer.echo(f"{model}: an ordinary model folder")


def _over(folder: Path, outcomes: Sequence[Outcome], model: str) -> str:
    """What came of a run whose rounds are done."""
    if model:
        return f"over; the model is in {model}"
    if not any(outcome.counted for outcome in outcomes):
        return "over; none has changed anything, so there is no model"
    return f"over, but for its model, which 'iotlam federated resume {folder}' writes"


def _rows(outcomes: Sequence[Outcome]) -> list[Json]:
    """A row for each round; what no round has is no column."""
    rows = [_row(outcome) for outcome in outcomes]
    bare = [name for name in (OWN, "radio s") if all(row[name] == "-" for row in rows)]
    return [{name: value for name, value in row.items() if name not in bare} for row in rows]


def _row(outcome: Outcome) -> Json:
    without = {**outcome.missing, **outcome.refused}
    return {
        "round": outcome.round,
        "devices": len(outcome.counted),
        "score before": f"{outcome.score:.3f}" if outcome.score >= 0 else "-",
        OWN: f"{mean(outcome.own_scores.values()):.3f}" if outcome.own_scores else "-",
        "loss": f"{outcome.loss:.4f}" if outcome.shares else "-",
        "up kB": f"{outcome.up_bytes / 1000:.0f}",
        "down kB": f"{outcome.down_bytes / 1000:.0f}",
        "radio s": f"{outcome.radio_s:.2f}" if outcome.radio_s >= 0 else "-",
        "without": "; ".join(f"{name}: {why}" for name, why in without.items()),
    }
