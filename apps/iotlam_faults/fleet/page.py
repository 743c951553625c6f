"""The page of a demo of federated rounds: what each device has of it, and what the radio did."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

import iotlam
from iotlam.contracts import Device, Json
from iotlam.federated.plan import Plan
from iotlam.pages.drawing import NARROW_IN, drawn, frame, light, responsive
from iotlam.pages.page import write_html
from iotlam_edge.fleet import Fleet

TEMPLATE = Path(__file__).with_name("page.html.j2")
PAINTS = {"iotlam": "blue", "zero-pad": "orange", "all data in one place": "charcoal", "each alone": "grey"}
OURS, PADDED, CENTRAL, ALONE = PAINTS
PARTS = {"down_s": "sky", "compute_s": "charcoal", "up_s": "vermilion"}
"""What a device does in a round, in order, and its colour."""


def write_page(fleet: Fleet, plan: Plan, found: Mapping[str, Json], path: Path, seed: int) -> Path:
    """Write the page; it appears whole or not at all.

    Args:
        fleet: the devices.
        plan: that was carried out.
        found: of each way to learn, by name: `scores` by device; of rounds also `curve`, `plans` and `rounds`.
        path: the file.
        seed: of the demo.
    """
    means = {method: fmean(one["scores"].values()) for method, one in found.items()}
    contents = {
        "headline": f"Eight devices, each with one kind of bearing, tell all kinds apart: {means[OURS]:.2f}; "
        f"each alone {means[ALONE]:.2f}",
        "rounds": len(found[OURS]["rounds"]),
        "methods": [_method(name, found[name], means[name]) for name in PAINTS],
        "devices": [_row(device, plan, fleet, found) for device in fleet.devices],
        "tiers": _tiers(fleet, found),
        "names": list(PAINTS),
        "curve": _curve(found, means),
        "slots": _slots(fleet, found[OURS]["plans"]),
        "place": _place(fleet),
        "facts": {"seed": seed, "band": f"{plan.radio.band_hz / 1e6:g} MHz" if plan.radio else "none"},
        "commands": [f"iotlam demo federated --seed {seed}"],
        "versions": {"iotlam": iotlam.__version__},
        "parts": {name.removesuffix("_s"): paint for name, paint in PARTS.items()},
    }
    return write_html(TEMPLATE, contents, path)


def _method(name: str, one: Json, mean: float) -> Json:
    rounds = one.get("rounds", [])
    up = sum(outcome["up_bytes"] for outcome in rounds)
    return {
        "name": name,
        "paint": PAINTS[name],
        "auroc": f"{mean:.3f}",
        "up": f"{up / 1e6:.1f}" if rounds else "–",
        "radio": f"{sum(outcome['radio_s'] for outcome in rounds):.0f}" if rounds else "–",
    }


def _row(device: Device, plan: Plan, fleet: Fleet, found: Mapping[str, Json]) -> Json:
    slots = [radio["slots"][device.name] for radio in found[OURS]["plans"] if device.name in radio["slots"]]
    source = next(one.data for one in plan.devices if one.name == device.name)
    return {
        "name": device.name,
        "kind": ", ".join(source["faults"]),
        "rank": fleet.ranks[device.name],
        "far": f"{math.hypot(*device.position_m[:2]):.0f}",
        "asked": f"{len(slots)}",
        "ranks": ", ".join(map(str, sorted({slot["rank"] for slot in slots}))) or "–",
        "joule": f"{sum(slot['energy_j'] for slot in slots):.1f}",
        "scores": [f"{found[name]['scores'][device.name]:.3f}" for name in PAINTS],
    }


def _tiers(fleet: Fleet, found: Mapping[str, Json]) -> list[Json]:
    """Mean score of the devices of each rank."""
    tiers = []
    for rank in sorted(set(fleet.ranks.values())):
        names = [name for name, own in fleet.ranks.items() if own == rank]
        scores = [f"{fmean(found[method]['scores'][name] for name in names):.3f}" for method in PAINTS]
        tiers.append({"rank": rank, "devices": len(names), "scores": scores})
    return tiers


def _curve(found: Mapping[str, Json], means: Mapping[str, float]) -> Markup:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for name in (OURS, PADDED):
            curve = found[name]["curve"]
            axes.plot(range(1, len(curve) + 1), curve, color=light(PAINTS[name]), marker="o", markersize=3)
        for name in (CENTRAL, ALONE):
            axes.axhline(means[name], color=light(PAINTS[name]), linestyle="--", linewidth=1.4)
        axes.set_xlabel("round")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        frame(figure)

    return responsive(2.8, "AUROC on bearings that no device has, after each round", draw)


def _slots(fleet: Fleet, plans: Sequence[Json]) -> Markup:
    """A bar for each device in each round: download, training and upload, as wide as they last."""
    names = [device.name for device in fleet.devices]

    def draw(figure: Figure) -> None:
        axes, start = figure.subplots(), 0.0
        for number, plan in enumerate(plans):
            for name, slot in plan["slots"].items():
                left = start
                for part, paint in PARTS.items():
                    axes.barh(names.index(name), slot[part], 0.62, left=left, color=light(paint))
                    left += slot[part]
            axes.axvline(start, color=light("rule"), linewidth=0.8)
            axes.text(start, -0.75, f" {number + 1}", fontsize=8, color=light("muted"))
            start += plan["round_s"]
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -1.1)
        axes.set_xlim(0, start)
        axes.set_xlabel("seconds over the radio, round after round")
        axes.grid(visible=False)
        width_in, height_in = figure.get_size_inches()
        figure.subplots_adjust(0.85 / width_in, 0.45 / height_in, 1.0 - 0.1 / width_in, 1.0 - 0.05 / height_in)

    return responsive(0.6 + 0.28 * len(names), "what each device does in each round", draw)


def _place(fleet: Fleet) -> Markup:
    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        axes.plot(0, 0, "^", color=light("ink"), markersize=7)
        for device in fleet.devices:
            x_m, y_m, _ = device.position_m
            axes.plot(x_m, y_m, "o", color=light("blue"), markersize=3 + 1.2 * fleet.ranks[device.name] ** 0.5)
            axes.annotate(device.name, (x_m, y_m), (5, 4), textcoords="offset points", color=light("muted"))
        axes.set_aspect("equal", adjustable="datalim")
        axes.margins(0.15)
        axes.set_xlabel("metres from the base station")
        frame(figure)

    return drawn(NARROW_IN, 3.4, "where the devices are", draw)
