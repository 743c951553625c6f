"""Figures in README and docs: generated from benchmarks/results, never typed."""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Sequence
from pathlib import Path

from iotlam.contracts import Json, whole_file

PAGES = (Path("README.md"), Path("docs/benchmarks.md"))
BLOCK = re.compile(
    r"(?P<opening><!-- bench:(?P<suite>[\w-]+)(?: (?P<what>[\w, ]+?))? -->\n)(?P<old>.*?)(?P<closing><!-- /bench -->)",
    re.DOTALL,
)
PIVOT = re.compile(r"(\w+) by (\w+), (\w+)")


def refresh(results: Path, pages: tuple[Path, ...] = PAGES) -> list[Path]:
    """Fill every block `<!-- bench:SUITE -->` ... `<!-- /bench -->` from `results`/SUITE.json.

    `<!-- bench:SUITE targets -->` is filled with the figures that have a target alone, and
    `<!-- bench:SUITE VALUE by ROW, COLUMN -->` with a table of the rows' VALUE (see `pivot`).

    Returns:
        The pages that changed; a page or a result that is absent is left alone.
    """
    changed = []
    for page in pages:
        if not page.exists():
            continue
        old = page.read_text(encoding="utf-8")
        new = BLOCK.sub(lambda match: match["opening"] + _block(results, match) + match["closing"], old)
        if new != old:
            with whole_file(page) as partial:
                partial.write_text(new, encoding="utf-8")
            changed.append(page)
    return changed


def _block(results: Path, match: re.Match[str]) -> str:
    path = results / f"{match['suite']}.json"
    if not path.exists():
        return match["old"]
    result, what = json.loads(path.read_text(encoding="utf-8")), match["what"] or ""
    if keys := PIVOT.fullmatch(what):
        return pivot(result["rows"], *keys.groups())
    return table(result, targets_only=what == "targets")


def pivot(rows: Sequence[Json], value: str, row: str, column: str) -> str:
    """A Markdown table of a value by two keys: median / greatest, or how many of how many where it is yes or no.

    Rows of the result that lack one of the three are left out.
    """
    known = [each for each in rows if {value, row, column} <= set(each)]
    lines, columns = (
        list(dict.fromkeys(each[row] for each in known)),
        list(dict.fromkeys(each[column] for each in known)),
    )
    cells: dict[tuple[str, str], list[float]] = {}
    for each in known:
        cells.setdefault((each[row], each[column]), []).append(each[value])
    head = [f"| {value} by {row} | {' | '.join(map(str, columns))} |", "|---" * (1 + len(columns)) + "|"]
    body = [f"| {line} | {' | '.join(_cell(cells.get((line, name), [])) for name in columns)} |" for line in lines]
    return "\n".join([*head, *body, ""])


def _cell(values: Sequence[float]) -> str:
    if not values:
        return ""
    if all(isinstance(value, bool) for value in values):
        return f"{sum(values)} of {len(values)}"
    return " / ".join(_short(each) for each in (statistics.median(values), max(values)))


def _short(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def table(result: Json, targets_only: bool = False) -> str:
    """A suite's figures as a Markdown table, with the command and the machine that made them."""
    lines = [
        "| figure | measured | interval | to reach | reached | best rival | n |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, metric in result["metrics"].items():
        if targets_only and not metric["target"]:
            continue
        interval = "" if metric["ci95"] is None else " to ".join(f"{end:.3g}" for end in metric["ci95"])
        met = {True: "yes", False: "**no**", None: ""}[metric["met"]]
        # None: infinite, which JSON has no word for.
        value = "never" if metric["value"] is None else f"{metric['value']:.3g} {metric['unit']}".strip()
        lines.append(
            f"| {name} | {value} | {interval} | {metric['target']} | {met} | {metric['anchor']} | {metric['n']} |"
        )
    host = result["host"]
    made = f"Made by `iotlam bench {result['suite']}` (iotlam {result['version']}) in {result['seconds']:.0f} s"
    threads = f"{host['threads']} thread a process, " if host["threads"] else ""
    where = f"{host['cores']} cores, {threads}load {host['load']}"
    return "\n".join([*lines, "", f"{made} on {host['cpu']}, {where}.", ""])
