"""`iotlam federated`: run, resume, status; up and down for a trial on Flower's own servers."""

from __future__ import annotations

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Annotated

import typer

from iotlam.cli.output import print_json, print_rows
from iotlam.contracts import BadInput, Json, check_writable

if TYPE_CHECKING:
    from iotlam.federated.plan import Plan
    from iotlam.federated.rounds import Outcome, Run

app = typer.Typer(no_args_is_help=True, help="Train one model on many devices whose data stay where they are.")

In = Annotated[
    str, typer.Option("--runtime", help="Where the devices are: in this process, or in Ray's: process, ray.")
]
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
    from iotlam.federated.plan import Plan

    check_writable("--out", out)
    _carry_out(Plan.from_toml(plan), out, runtime, as_json)


@app.command()
def resume(
    folder: Annotated[Path, typer.Argument(help="Folder of a run.")], runtime: In = "process", as_json: AsJson = False
) -> None:
    """Go on with a run that was stopped, to the weights that it would have had.

    Example: iotlam federated resume runs/plant
    """
    _carry_out(_plan(folder), folder, runtime, as_json)


@app.command()
def status(folder: Annotated[Path, typer.Argument(help="Folder of a run.")], as_json: AsJson = False) -> None:
    """Say how far a run is: its rounds, who answered, who did not and why. The run may be under way.

    Example: iotlam federated status runs/plant
    """
    from iotlam.federated.journal import read
    from iotlam.federated.rounds import JOURNAL, Outcome

    records, _ = read(folder / JOURNAL)
    outcomes = [Outcome.of(record, str(folder)) for record in records if record["kind"] == "round"]
    print_rows([_row(outcome) for outcome in outcomes], as_json, {"rounds": [one.to_raw() for one in outcomes]})


@app.command()
def own(
    folder: Annotated[Path, typer.Argument(help="Folder of a run with 'distil'.")],
    device: Annotated[str, typer.Argument(help="One of its devices, on the machine where that keeps its memory.")],
) -> None:
    """Write a device's own module as an ordinary model folder; it is nowhere but with the device.

    Example: iotlam federated own runs/plant press
    """
    from iotlam.federated.plan import save_own

    typer.echo(f"{save_own(_plan(folder), folder, device)}: an ordinary model folder")


@app.command()
def up(
    plan: Annotated[Path, typer.Argument(help="What to do (.toml); each device with its bound of `examples`.")],
    out: Annotated[Path, typer.Option(help="The run's folder.")] = Path("runs/federated"),
    port: Annotated[int, typer.Option(min=1024, max=65000, help="Of the SuperLink; each device has one more.")] = 8000,
) -> None:
    """Bring up a SuperLink and a SuperNode for each device on this machine, with TLS and node keys, and begin the run.

    Of a run that is up, whatever has died is started again, and the run goes on.

    Example: iotlam federated up plan.toml --out runs/plant && iotlam federated status runs/plant
    """
    from iotlam.federated.plan import Plan
    from iotlam.federated.trial import Trial

    check_writable("--out", out)
    Trial(out, port).up(Plan.from_toml(plan))
    typer.echo(f"{out}: under way; see 'iotlam federated status {out}', end it with 'iotlam federated down {out}'")


@app.command()
def down(folder: Annotated[Path, typer.Argument(help="Folder of a run that was brought up.")]) -> None:
    """Stop what `up` has started, by its process ids; the run can be brought up again and goes on.

    Example: iotlam federated down runs/plant
    """
    from iotlam.federated.trial import Trial

    stopped = Trial(folder).down()
    typer.echo(f"{folder}: stopped {', '.join(stopped) or 'nothing: it was not up'}")


def _plan(folder: Path) -> Plan:
    from iotlam.federated.plan import PLAN, Plan

    try:
        text = (folder / PLAN).read_text()
    except OSError as error:
        fix = "name the folder that 'iotlam federated run' was given as --out"
        raise BadInput(str(folder), expected="a federated run", got="none", fix=fix) from error
    return Plan.from_json(text, str(folder / PLAN))


def _carry_out(plan: Plan, folder: Path, runtime: str, as_json: bool) -> None:
    from iotlam.federated.plan import carry_out, rounds_left
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
        print_rows([_row(outcome) for outcome in outcomes], False)
        typer.echo(f"{model}: an ordinary model folder")


def _row(outcome: Outcome) -> Json:
    without = {**outcome.missing, **outcome.refused}
    radio: Json = {"radio s": f"{outcome.radio_s:.2f}"} if outcome.radio_s >= 0 else {}
    own = {"own": f"{mean(outcome.own_scores.values()):.3f}"} if outcome.own_scores else {}
    return {
        "round": outcome.round,
        "devices": len(outcome.shares),
        "score": f"{outcome.score:.3f}" if outcome.score >= 0 else "-",
        **own,
        "loss": f"{outcome.loss:.4f}" if outcome.shares else "-",
        "up kB": f"{outcome.up_bytes / 1000:.0f}",
        "down kB": f"{outcome.down_bytes / 1000:.0f}",
        **radio,
        "without": "; ".join(f"{name}: {why}" for name, why in without.items()),
    }
