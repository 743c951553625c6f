"""What was typed, for those who want to make a page or a figure again."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import typer


def as_given(ctx: typer.Context) -> str:
    """The arguments and options of a command as they were given, for a shell; what is printed is no matter."""
    words: list[str] = []
    for one in ctx.command.params:
        name = one.name or ""
        if name == "as_json" or ctx.get_parameter_source(name) is click.core.ParameterSource.DEFAULT:
            continue
        option = [] if isinstance(one, click.Argument) else [one.opts[0]]
        for value in ctx.params[name] if one.multiple else [ctx.params[name]]:
            words += [*option, f"{value:.9g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def of_evaluation(
    protocol: str,
    data: str,
    folder: Path | None,
    methods: str,
    model: Path | None,
    window_s: float,
    splits: int | None,
) -> list[str]:
    """Options of an evaluation that its figures depend on."""
    found = [f"--protocol {protocol}", f"--folder {folder.name}" if folder else f"--set {data}"]
    found += [f"--methods {methods}"] if methods else []
    found += [f"--model {model.name}"] if model else []
    found += [f"--window-s {window_s:g}"] if window_s != 1.0 else []
    return found + ([f"--splits {splits}"] if splits else [])
