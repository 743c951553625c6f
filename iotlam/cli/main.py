"""The command `iotlam`. Importing this loads no torch, transformers or simulator."""

from __future__ import annotations

import atexit
import gc
import signal
import sys
from pathlib import Path
from typing import Annotated

import typer

import iotlam
from iotlam.cli import federated, pretrain, sensors
from iotlam.cli.lazy import RootGroup
from iotlam.cli.output import print_json, print_table
from iotlam.contracts import Terminated
from iotlam.plugins import load_entry

app = typer.Typer(cls=RootGroup, no_args_is_help=True, pretty_exceptions_enable=False, suggest_commands=False)
app.add_typer(sensors.app, name="sensors")
app.add_typer(federated.app, name="federated")
app.command()(pretrain.pretrain)


def run() -> None:
    """Console entry. Exit status: 0 done, 1 failed, 2 wrong input, 130 stopped by Ctrl-C, 143 by SIGTERM."""
    # Libraries make so many objects that looking for dead ones takes 0.2 s while they load, and 0.4 s at the end.
    gc.set_threshold(10_000)
    atexit.register(gc.freeze)
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app(prog_name="iotlam")
    except Terminated:
        sys.exit(128 + signal.SIGTERM)


def _terminate(*_: object) -> None:
    raise Terminated


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"iotlam {iotlam.__version__}")
        raise typer.Exit


@app.callback()
def root(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks; may stand anywhere.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Sensors become tokens, a bottleneck fuses them, a LoRA-tuned decoder acts.

    Example: iotlam demo traffic
    """


@app.command()
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is installed, what is missing and how to get it; exit status 1 if iotlam is incomplete.

    Example: iotlam doctor --json
    """
    from iotlam.cli import doctor as report

    checks = report.examine()
    if as_json:
        print_json(report.as_json(checks))
    else:
        rows = [("ok" if check.ok else "--", check.name, check.found, check.fix) for check in checks]
        print_table(("", "what", "found", "to get it"), rows)
    raise typer.Exit(0 if report.complete(checks) else 1)


@app.command()
def demo(
    name: Annotated[str, typer.Argument(help="What to show.")] = "traffic",
    out: Annotated[Path, typer.Option(help="Folder for what the demo makes.")] = Path("iotlam-demo"),
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Seed of all that is random.")] = 1,
    quick: Annotated[bool, typer.Option("--quick", help="Shorter, to see that it works.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show one application from sensors to decisions, in minutes and without a network.

    Example: iotlam demo traffic --out my-demo --seed 3
    """
    result = load_entry("iotlam.demos", name, "Demo")(out=out, seed=seed, quick=quick)
    if as_json:
        print_json(result)


@app.command()
def bench(
    suite: Annotated[str, typer.Argument(help="Name of the suite.")],
    quick: Annotated[bool, typer.Option("--quick", help="Few seeds and short runs; not for quoting.")] = False,
    json_path: Annotated[
        Path | None, typer.Option("--json", help="File to write; default benchmarks/results/SUITE.json.")
    ] = None,
) -> None:
    """Measure a suite against its rivals and write the figures as JSON.

    Example: iotlam bench skeleton --quick --json skeleton.json
    """
    from iotlam.bench.suite import default_path, run_suite

    result = run_suite(suite, quick, json_path)
    met = {True: "met", False: "missed", None: ""}
    rows = [
        (name, f"{metric.value:.4g} {metric.unit}".rstrip(), metric.target, met[metric.met], metric.anchor)
        for name, metric in result.metrics.items()
    ]
    print_table(("metric", "value", "target", "", "best rival"), rows)
    typer.echo(f"{result.seconds:.0f} s; written to {json_path or default_path(suite, quick)}")
