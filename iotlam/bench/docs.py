"""Figures in README and docs: generated from benchmarks/results, never typed."""

from __future__ import annotations

import json
import re
from pathlib import Path

from iotlam.contracts import Json, whole_file

PAGES = (Path("README.md"), Path("docs/benchmarks.md"))
BLOCK = re.compile(r"(<!-- bench:(?P<suite>[\w-]+) -->\n).*?(<!-- /bench -->)", re.DOTALL)


def refresh(results: Path, pages: tuple[Path, ...] = PAGES) -> list[Path]:
    """Fill every block `<!-- bench:SUITE -->` ... `<!-- /bench -->` from `results`/SUITE.json.

    Returns:
        The pages that changed; a page or a result that is absent is left alone.
    """
    changed = []
    for page in pages:
        if not page.exists():
            continue
        old = page.read_text(encoding="utf-8")
        new = BLOCK.sub(lambda match: match[1] + _block(results, match["suite"], match[0], match[1]) + match[3], old)
        if new != old:
            with whole_file(page) as partial:
                partial.write_text(new, encoding="utf-8")
            changed.append(page)
    return changed


def _block(results: Path, suite: str, whole: str, opening: str) -> str:
    path = results / f"{suite}.json"
    if not path.exists():
        return whole[len(opening) : -len("<!-- /bench -->")]
    return table(json.loads(path.read_text(encoding="utf-8")))


def table(result: Json) -> str:
    """A suite's figures as a Markdown table, with the command and the machine that made them."""
    lines = [
        "| figure | measured | interval | to reach | reached | best rival | n |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, metric in result["metrics"].items():
        interval = "" if metric["ci95"] is None else " to ".join(f"{end:.3g}" for end in metric["ci95"])
        met = {True: "yes", False: "**no**", None: ""}[metric["met"]]
        value = f"{metric['value']:.3g} {metric['unit']}".strip()
        lines.append(
            f"| {name} | {value} | {interval} | {metric['target']} | {met} | {metric['anchor']} | {metric['n']} |"
        )
    host = result["host"]
    made = f"Made by `iotlam bench {result['suite']}` (iotlam {result['version']}) in {result['seconds']:.0f} s"
    threads = f"{host['threads']} thread a process, " if host["threads"] else ""
    where = f"{host['cores']} cores, {threads}load {host['load']}"
    return "\n".join([*lines, "", f"{made} on {host['cpu']}, {where}.", ""])
