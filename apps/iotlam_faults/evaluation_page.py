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
from iotlam_faults.evaluate import CLASSES, all_confused, summary
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
    sound: dict[str, list[int]]


def read_evaluation(path: Path) -> Json:
    """What `evaluate --json` printed.

    Raises:
        BadInput: if the file holds none.
    """
    fix = "make one with: iotlam faults evaluate --json > rosa.json"
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        splits = msgspec.convert(found["splits"], list[Row]) if all(found.get(key) for key in NEEDED) else []
        baselines = msgspec.convert(found.get("baselines", {}), dict[str, str])
    except (OSError, ValueError, RecursionError, AttributeError) as error:
        raise BadInput(str(path), expected="the JSON of an evaluation", got=str(error), fix=fix) from error
    run = {
        name: [(row.split, row.leaky) for row in splits if row.method == name] for name in {r.method for r in splits}
    }
    if len(set(map(tuple, run.values()))) != 1 or not all(map(_holds_windows, splits)):
        raise BadInput(str(path), expected="the JSON of an evaluation", got="another", fix=fix)
    return {**found, "splits": msgspec.to_builtins(splits), "baselines": baselines}


def _holds_windows(row: Row) -> bool:
    if any(np.shape(said_C) != (len(CLASSES),) for said_C in (*row.confusion, *row.sound.values())):
        return False
    counts_CC = np.array(row.confusion)
    return len(counts_CC) == len(CLASSES) and counts_CC.min() >= 0 and counts_CC[1:].sum() > 0


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
    honest = [row for row in rows if not row["leaky"]]
    best = max(names, key=lambda name: figures[name]["auroc" if honest else "leaky_auroc"])
    shown = OURS if OURS in names else best
    one = figures[shown]
    mine = [row for row in honest if row["method"] == shown]
    contents = {
        "protocol": found["protocol"],
        "data": found["set"],
        "splits": len({row["split"] for row in honest or rows}),
        "protocol_leaky": not honest,
        "headline": f"{shown}: AUROC {one['auroc']:.3f} on bearings it has not seen"
        if honest
        else f"{shown}: AUROC {one['leaky_auroc']:.3f} with leaks",
        "leaky": f"{one['leaky_auroc']:.3f}" if honest and one["leaky_auroc"] is not None else "",
        "rows": [_row(figures[name], name == best) for name in names],
        "strip": _strip(rows, names),
        "shown": shown,
        "classes": [WORDS.get(name, name) for name in CLASSES],
        "confusion": _confusion(mine) if mine else [],
        "facts": {f"healthy baseline, {part}": said for part, said in found["baselines"].items()},
        "commands": list(commands),
        "versions": {"iotlam": iotlam.__version__},
    }
    return write_html(TEMPLATE, contents, path)


def _row(figures: Json, best: bool) -> dict[str, Any]:
    honest, leaky, worst = figures["auroc"], figures["leaky_auroc"], figures["worst"]
    keys = ("auroc", "sd", "p05", "macro_f1")
    return {
        "method": figures["method"],
        "best": best,
        **{key: "" if figures[key] is None else f"{figures[key]:.3f}" for key in keys},
        "recall": f"{percent(figures['recall_min'])} {WORDS.get(worst, worst)}" if worst else "",
        "leaky": "" if leaky is None else f"{leaky:.3f}",
        "inflation": "" if None in (honest, leaky) else f"{leaky - honest:+.3f}".replace("-", "−"),
    }


def _confusion(rows: Sequence[Json]) -> list[dict[str, Any]]:
    counts_CC = all_confused(rows)
    return [
        {
            "name": WORDS.get(name, name),
            "cells": [
                {"share": percent(count / max(counts_C.sum(), 1.0)), "right": at == index}
                for at, count in enumerate(counts_C)
            ],
            "count": f"{counts_C.sum():,.0f}",
        }
        for index, (name, counts_C) in enumerate(zip(CLASSES, counts_CC, strict=True))
    ]


def _strip(rows: Sequence[Json], names: Sequence[str]) -> Markup:
    honest = {name: [row["auroc"] for row in rows if row["method"] == name and not row["leaky"]] for name in names}
    leaky = {name: [row["auroc"] for row in rows if row["method"] == name and row["leaky"]] for name in names}

    def draw(chart: Figure) -> None:
        axes = chart.subplots()
        for at, name in enumerate(reversed(names)):
            if values := honest[name]:
                spread = np.linspace(-0.28, 0.28, len(values)) if len(values) > 1 else np.zeros(1)
                colour = light("blue" if name == OURS else "grey")
                axes.scatter(values, at + spread, s=7.0, color=colour, alpha=0.7, linewidths=0)
                axes.plot([np.mean(values)] * 2, [at - 0.38, at + 0.38], color=light("ink"), linewidth=1.6)
            axes.scatter(leaky[name], [at] * len(leaky[name]), marker="x", s=30.0, color=light("vermilion"))
        axes.set_yticks(range(len(names)), list(reversed(names)))
        axes.set(xlabel="AUROC", ylim=(-0.6, len(names) - 0.4))
        axes.grid(True, axis="x")
        chart.tight_layout(pad=0.4)

    return responsive(0.5 + 0.34 * len(names), "AUROC of every split, by method", draw)
