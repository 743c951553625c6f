"""`iotlam sensors`: list, check and describe modalities, and begin a new one."""

from __future__ import annotations

from collections import Counter
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from iotlam.cli.output import print_json, print_table
from iotlam.contracts import BadInput, ModalityManifest
from iotlam.plugins import ModalityInfo, list_modalities

if TYPE_CHECKING:
    from iotlam.conformance import Report

app = typer.Typer(help="List, check and describe modalities, and begin a new one.", no_args_is_help=True)
HEADER = ("name", "units", "dims", "rate", "tokens", "licence", "problem")
STATUSES = ("passed", "failed", "blocked", "not applicable")
Tier = Literal["bronze", "silver", "gold", "platinum"]
NameOrPath = Annotated[str, typer.Argument(metavar="NAME|PATH", help="An installed modality, or a project's folder.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def sensors() -> None:
    """List, check and describe modalities, and begin a new one.

    Example: iotlam sensors list
    """


@app.command("list")
def list_sensors(
    pattern: Annotated[str, typer.Argument(help="Part of a name, or a pattern such as 'li*'.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with the whole manifests.")] = False,
) -> None:
    """List modalities from their manifests, without importing any.

    Example: iotlam sensors list 'vib*' --json
    """
    known = list_modalities()
    whole = pattern if any(sign in pattern for sign in "*?[") else f"*{pattern}*"
    infos = [info for info in known if fnmatchcase(info.name, whole)]
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


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Name of the modality, such as thermal.")],
    out: Annotated[Path | None, typer.Option(help="Folder for the project; default NAME.")] = None,
    as_json: AsJson = False,
) -> None:
    """Write the package of a new modality: it works as it stands and passes the check; then make it yours.

    Example: iotlam sensors new thermal
    """
    from iotlam.conformance.scaffold import write_package

    folder = out or Path(name)
    written = write_package(name, folder)
    if as_json:
        print_json({"modality": name, "folder": folder, "files": written})
        return
    for path in written:
        typer.echo(folder / path)
    typer.echo(f"next: iotlam sensors check {folder}; pip install -e ./{folder}; iotlam demo sensors")


@app.command()
def check(
    name_or_path: NameOrPath,
    tier: Annotated[Tier | None, typer.Option(help="Tier that must be reached.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the conformance kit; exit status 1 where a check fails, or the tier that is asked for is not reached.

    Example: iotlam sensors check lidar --tier gold
    """
    from iotlam.conformance import TIERS

    report = _examine(name_or_path)
    if as_json:
        print_json(report.to_raw())
    else:
        _print_report(report)
    reached = TIERS.index(report.tier) if report.tier else -1
    raise typer.Exit(1 if report.failed or (tier and reached < TIERS.index(tier)) else 0)


@app.command()
def card(name_or_path: NameOrPath, as_json: AsJson = False) -> None:
    """Describe a modality on one page, as Markdown: its manifest, the tier that it reaches, what was measured.

    Example: iotlam sensors card lidar > lidar.md
    """
    from iotlam.conformance import resolve
    from iotlam.conformance.card import as_json as facts
    from iotlam.conformance.card import as_markdown

    manifest = ModalityManifest.from_toml(resolve(name_or_path).manifest_path)
    report = _examine(name_or_path)
    if as_json:
        print_json(facts(manifest, report))
    else:
        typer.echo(as_markdown(manifest, report), nl=False)


def _examine(name_or_path: str) -> Report:
    from iotlam.conformance import all_checks, examine, resolve
    from iotlam.training.progress import progress

    target = resolve(name_or_path)
    with progress(f"Checking {target.name}", total=len(all_checks())) as step:
        return examine(target, lambda _: step())


def _print_report(report: Report) -> None:
    """A line for each area, one for each check that did not pass, and the tier."""
    areas = dict.fromkeys(result.area for result in report.results)
    counts: dict[str, Counter[str]] = {
        area: Counter(r.status for r in report.results if r.area == area) for area in areas
    }
    rows = [(area, *(str(counts[area][status] or "") for status in STATUSES)) for area in areas]
    total = report.count()
    print_table(("area", *STATUSES), [*rows, ("all", *(str(total[status]) for status in STATUSES))])
    for result in report.results:
        if result.status in ("failed", "blocked"):
            typer.echo(f"{result.status}: {result.check} ({result.tier}): {result.reason}")
    typer.echo(f"tier: {report.tier or 'none'}; {len(report.results)} checks in {report.seconds:.1f} s")
    if report.next_tier:
        missing = ", ".join(f"{result.check} ({result.status})" for result in report.missing(report.next_tier))
        typer.echo(f"missing for {report.next_tier}: {missing}")


def _row(info: ModalityInfo) -> tuple[str, ...]:
    manifest = info.manifest
    known = ("-",) * 5 if manifest is None else _described(manifest)
    return (info.name, *known, info.problem or "")


def _described(manifest: ModalityManifest) -> tuple[str, ...]:
    dims = " x ".join(f"{dim}={size}" if size else dim for dim, size in zip(manifest.dims, manifest.shape, strict=True))
    low, high = manifest.rate_hz
    return " ".join(manifest.units), dims, f"{low:g}-{high:g} Hz", str(manifest.token_budget), manifest.licence
