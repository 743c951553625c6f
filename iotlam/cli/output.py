"""What commands print: tables for people, JSON for programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import typer

from iotlam.contracts import Json


def print_json(value: Any) -> None:
    """Print a value as JSON; paths and the like as text."""
    typer.echo(json.dumps(value, indent=1, default=str))


def print_rows(rows: Sequence[Json], as_json: bool, full: Json | None = None) -> None:
    """Print rows as a table for people, or as JSON.

    Args:
        rows: of like keys.
        as_json: print `full` as JSON, the rows where there is none.
        full: all that is known, for programs.
    """
    if as_json:
        print_json(full or rows)
    elif rows:
        print_table(tuple(rows[0]), [tuple(map(str, row.values())) for row in rows])
    else:
        typer.echo("none")


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows in aligned columns, one line each, so that grep and cut work on them."""
    lines = [header, *rows]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
