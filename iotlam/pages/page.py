"""Rendering a page, and writing it whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from iotlam.contracts import BadInput, whole_file
from iotlam.pages.drawing import PAINT

GENERATOR = '<meta name="generator" content="iotlam">'
"""What tells a page of ours from another."""
NO_BREAK = "\N{NO-BREAK SPACE}"


def write_html(template: Path, contents: Mapping[str, Any], path: Path) -> Path:
    """Render a page and write it; the file appears whole or not at all.

    Args:
        template: a Jinja file that extends `base.html.j2`.
        contents: what the template names.
        path: the file to write.

    Raises:
        BadInput: if the file cannot be written.
    """
    environment = Environment(
        loader=FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(figure=figure, percent=percent, points=points)
    text = environment.get_template(template.name).render({"paint": PAINT, **contents})
    try:
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or str(error)
        fix = "name another place"
        raise BadInput(str(path), expected="a file that can be written", got=reason, fix=fix) from error
    return path


def check_page(path: Path) -> None:
    """Refuse to replace a page that iotlam did not write.

    Raises:
        BadInput: if there is one.
    """
    if path.exists() and GENERATOR not in path.read_text(encoding="utf-8", errors="replace"):
        raise BadInput(str(path), expected="no page, or one of iotlam's", got="another", fix="name another folder")


def figure(value: float) -> str:
    """A number in three digits, four where it is large: 0.05, 1.25, 83.1, 1,905."""
    return f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"


def percent(share: float) -> str:
    """A share of one in per cent: 98 %, and 99.6 % where whole numbers would say all or nothing."""
    shown = f"{100.0 * share:.0f}"
    if shown in ("0", "100") and share not in (0.0, 1.0):
        shown = f"{100.0 * share:.1f}"
    return f"{shown}{NO_BREAK}%"


def points(difference: float) -> str:
    """A difference of two shares in points of per cent, with its sign: +5.5, −0.6, 0.0."""
    shown = f"{100.0 * difference:+.1f}"
    return "0.0" if shown in ("+0.0", "-0.0") else shown.replace("-", "−")
