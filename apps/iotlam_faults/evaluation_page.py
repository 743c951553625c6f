"""The page of an evaluation: honest figures beside what leaks would have made of them, to be sent to a colleague."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from markupsafe import Markup
from matplotlib.figure import Figure

import iotlam
from iotlam.contracts import BadInput, Json
from iotlam.pages.drawing import light, responsive
from iotlam.pages.page import percent, write_html
from iotlam_faults.evaluate import CLASSES, summary
from iotlam_faults.verdict import WORDS

TEMPLATE = Path(__file__).with_name("evaluation.html.j2")
OURS = "iotlam"
NEEDED = ("protocol", "set", "command", "splits")


class Row(msgspec.Struct):
    """What the page shows of a method on a split."""

    split: str
    leaky: bool
    method: str
    auroc: float
    confusion: list[list[int]]


def read_evaluation(path: Path) -> Json:
    """What `evaluate --json` printed.

    Raises:
        BadInput: if the file holds none.
    """
    fix = "make one with: iotlam faults evaluate --json > rosa.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        splits = msgspec.convert(found["splits"], list[Row]) if all(found.get(key) for key in NEEDED) else []
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise BadInput(str(path), expected="the JSON of an evaluation", got=str(error), fix=fix) from error
    if not splits or any(np.shape(row.confusion) != (len(CLASSES), len(CLASSES)) for row in splits):
        raise BadInput(str(path), expected="the JSON of an evaluation", got="another", fix=fix)
    return {**found, "splits": msgspec.to_builtins(splits)}


def write_page(found: Json, path: Path, commands: Sequence[str]) -> Path:
    """Write the page; the file appears whole or not at all.

    Args:
        found: what `evaluate --json` printed.
        path: the file.
        commands: what was typed to make it.

    Raises:
        BadInput: if the file cannot be written.
    """
    rows = found["splits"]
    names = list(dict.fromkeys(row["method"] for row in rows))
    figures = {name: summary(rows, name) for name in names}
    best = max(names, key=lambda name: figures[name]["auroc"])
    shown = OURS if OURS in names else best
    one = figures[shown]
    honest = [row for row in rows if not row["leaky"]]
    contents = {
        "protocol": found["protocol"],
        "data": found["set"],
        "splits": len({row["split"] for row in honest or rows}),
        "protocol_leaky": not honest,
        "headline": f"{shown}: AUROC {one['auroc']:.3f} on bearings it has not seen"
        if honest
        else f"{shown}: AUROC {one['auroc']:.3f}",
        "leaky": f"{one['leaky_auroc']:.3f}" if honest and one["leaky_auroc"] is not None else "",
        "rows": [_row(figures[name], name == best) for name in names],
        "strip": _strip(rows, names),
        "shown": shown,
        "classes": [WORDS.get(name, name) for name in CLASSES],
        "confusion": _confusion([row for row in honest or rows if row["method"] == shown]),
        "facts": {},
        "commands": list(commands),
        "versions": {"iotlam": iotlam.__version__},
    }
    return write_html(TEMPLATE, contents, path)


def _row(figures: Json, best: bool) -> dict[str, Any]:
    leaky = figures["leaky_auroc"]
    return {
        "method": figures["method"],
        "best": best,
        "auroc": f"{figures['auroc']:.3f}",
        "sd": f"{figures['sd']:.3f}",
        "p05": f"{figures['p05']:.3f}",
        "macro_f1": f"{figures['macro_f1']:.3f}",
        "recall": f"{percent(figures['recall_min'])} {WORDS.get(figures['worst'], figures['worst'])}",
        "leaky": "" if leaky is None else f"{leaky:.3f}",
        "inflation": "" if leaky is None else f"{leaky - figures['auroc']:+.3f}".replace("-", "−"),
    }


def _confusion(rows: Sequence[Json]) -> list[dict[str, Any]]:
    counts_CC = np.sum([row["confusion"] for row in rows], 0)
    return [
        {
            "name": WORDS.get(name, name),
            "cells": [
                {"share": percent(float(count / max(counts_C.sum(), 1))), "right": at == index}
                for at, count in enumerate(counts_C)
            ],
            "count": f"{counts_C.sum():,}",
        }
        for index, (name, counts_C) in enumerate(zip(CLASSES, counts_CC, strict=True))
    ]


def _strip(rows: Sequence[Json], names: Sequence[str]) -> Markup:
    honest = {name: [row["auroc"] for row in rows if row["method"] == name and not row["leaky"]] for name in names}
    leaky = {name: [row["auroc"] for row in rows if row["method"] == name and row["leaky"]] for name in names}

    def draw(chart: Figure) -> None:
        axes = chart.subplots()
        for at, name in enumerate(reversed(names)):
            values = honest[name] or leaky[name]
            spread = np.linspace(-0.28, 0.28, len(values)) if len(values) > 1 else np.zeros(1)
            colour = light("blue" if name == OURS else "grey")
            axes.scatter(values, at + spread, s=7.0, color=colour, alpha=0.7, linewidths=0)
            axes.plot([np.mean(values)] * 2, [at - 0.38, at + 0.38], color=light("ink"), linewidth=1.6)
            if honest[name] and leaky[name]:
                axes.scatter(leaky[name], [at] * len(leaky[name]), marker="x", s=30.0, color=light("vermilion"))
        axes.set_yticks(range(len(names)), list(reversed(names)))
        axes.set(xlabel="AUROC", ylim=(-0.6, len(names) - 0.4))
        axes.grid(True, axis="x")
        chart.tight_layout(pad=0.4)

    return responsive(0.5 + 0.34 * len(names), "AUROC of every split, by method", draw)
