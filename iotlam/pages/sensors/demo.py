"""`iotlam demo sensors`: whatever modalities are installed become tokens, are fused, and say what each contributed."""

from __future__ import annotations

import os
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import typer

from iotlam.contracts import BadInput, Json, MissingExtra, check_writable

PAGE = "sensors.html"
SITUATIONS = 6
STEPS, TRIALS = 500, 512
QUICK_STEPS, QUICK_TRIALS = 160, 128


def demo(out: Path, seed: int = 1, quick: bool = False) -> Json:
    """Run the demo; returns a row for each modality, the failures, the page and the seconds it took.

    Args:
        out: folder of the page.
        seed: of the samples, the learning and its noise.
        quick: learn for fewer steps.

    Raises:
        BadInput: if no installed modality works, the data folder is none, or the page cannot be written.
        MissingExtra: if a package that pages need is not installed.
    """
    start = time.monotonic()
    for package in ("jinja2", "matplotlib"):
        if find_spec(package) is None:
            raise MissingExtra(package, "sensors")
    check_writable("--out", out)
    data = data_folder()

    from iotlam.pages.sensors.report import Effort, show

    effort = Effort(SITUATIONS, QUICK_STEPS, QUICK_TRIALS) if quick else Effort(SITUATIONS, STEPS, TRIALS)
    command = " ".join(["iotlam", *sys.argv[1:]])
    result = show(out / PAGE, effort, seed, data, {"quick": quick, "commands": [command]})
    for failure in result["failures"]:
        typer.echo(f"left out: {failure['reason']}", err=True)
    for row in result["sensors"]:
        typer.echo(f"{row['modality']:>14}  {row['bits_per_window']:8.1f} bits in {row['tokens']:.0f} tokens", err=True)
    seconds = time.monotonic() - start
    typer.echo(f"page: {result['page']}  ({seconds:.0f} s)", err=True)
    return {**result, "seconds": round(seconds, 1)}


def data_folder() -> Path | None:
    """The folder that IOTLAM_DATA names, None where it is not set.

    Raises:
        BadInput: if there is no such folder.
    """
    named = os.environ.get("IOTLAM_DATA")
    if not named:
        return None
    folder = Path(named).expanduser()
    if not folder.is_dir():
        fix = "create it, or unset the variable to use samples"
        raise BadInput("IOTLAM_DATA", expected="a folder", got=f"{folder}, none", fix=fix)
    return folder
