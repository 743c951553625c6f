"""`iotlam sensors`: the modalities that are installed."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

import msgspec
import typer

from iotlam.cli.output import print_json, print_table
from iotlam.contracts import BadInput, ModalityManifest
from iotlam.plugins import ModalityInfo, list_modalities

app = typer.Typer(help="The modalities that are installed.", no_args_is_help=True)
HEADER = ("name", "units", "dims", "rate", "tokens", "licence", "problem")


@app.callback()
def sensors() -> None:
    """The modalities that are installed.

    Example: iotlam sensors list
    """


@app.command("list")
def list_sensors(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern such as 'li*'.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the whole manifests.")] = False,
) -> None:
    """List modalities from their manifests, without importing any.

    Example: iotlam sensors list lidar --json
    """
    known = list_modalities()
    infos = [info for info in known if fnmatchcase(info.name, f"*{pattern}*")]
    if pattern and not infos:
        have = ", ".join(info.name for info in known) or "(none installed)"
        raise BadInput(
            "Argument PATTERN",
            expected=f"one that matches any of {have}",
            got=f"'{pattern}'",
            fix="leave it out to list all",
        )
    if as_json:
        print_json([msgspec.to_builtins(info) for info in infos])
    else:
        print_table(HEADER, [_row(info) for info in infos])


def _row(info: ModalityInfo) -> tuple[str, ...]:
    manifest = info.manifest
    known = ("-",) * 5 if manifest is None else _described(manifest)
    return (info.name, *known, info.problem or "")


def _described(manifest: ModalityManifest) -> tuple[str, ...]:
    dims = " x ".join(f"{dim}={size}" if size else dim for dim, size in zip(manifest.dims, manifest.shape, strict=True))
    low, high = manifest.rate_hz
    return " ".join(manifest.units), dims, f"{low:g}-{high:g} Hz", str(manifest.token_budget), manifest.licence
