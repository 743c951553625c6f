"""The evidence page of a diagnosis: one HTML file that can be sent to a colleague."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from markupsafe import Markup
from matplotlib.figure import Figure

import iotlam
from iotlam.pages.drawing import frame, light, responsive
from iotlam.pages.page import figure, percent, write_html
from iotlam_faults.advice import advice
from iotlam_faults.answer import Answer
from iotlam_faults.baseline import CHANGED
from iotlam_faults.physics.combs import COMBS
from iotlam_faults.physics.tracking import over_angle
from iotlam_faults.physics.velocity import EDITION, band_hz, no_zone, zones
from iotlam_faults.verdict import RACE_BOUNDS, WORDS, Finding, Verdict
from iotlam_waveform.envelope import Bands, modulation, squared_envelopes

TEMPLATE = Path(__file__).with_name("page.html.j2")
PAINT = {"inner": "vermilion", "outer": "blue", "ball": "green", "cage": "purple"}
SHOWN_ORDERS = 17.0
SHOWN_TURNS = 12.0
SHOWN_S = 0.4
POINTS = 1400


def write_page(answer: Answer, path: Path, commands: Sequence[str]) -> Path:
    """Write the page; the file appears whole or not at all.

    Args:
        answer: what was found.
        path: the file.
        commands: what was typed to make it.

    Raises:
        BadInput: if the file cannot be written.
    """
    return write_html(TEMPLATE, {**_contents(answer), "commands": list(commands)}, path)


def _contents(answer: Answer) -> dict[str, Any]:
    signal, verdict = answer.signal, answer.verdict
    shown_s = min(SHOWN_TURNS / (signal.shaft_hz or SHOWN_TURNS / SHOWN_S), len(signal.values_N) / signal.rate_hz)
    low_hz, high_hz = answer.kurtogram.best_hz
    contents: dict[str, Any] = {
        "source": signal.source,
        "channel": signal.channel,
        "seconds": figure(len(signal.values_N) / signal.rate_hz),
        "rate": f"{signal.rate_hz:,.0f}",
        "headline": answer.headline,
        "because": [reason[0].upper() + reason[1:] for reason in answer.because],
        "among": answer.among[:1].upper() + answer.among[1:],
        "doubts": answer.doubts,
        "advice": advice(answer),
        "rows": [],
        "lines": ", ".join(f"{hz:.2f} Hz ({percent(depth)} deep)" for hz, depth in answer.lines_hz) or "none",
        "shown_s": figure(shown_s),
        "waveform": _waveform(answer, shown_s),
        "kurtogram": _kurtogram(answer),
        "rings": f"{low_hz:,.0f} to {high_hz:,.0f}",
        "velocity": figure(answer.velocity_mm_s),
        "velocity_band": "{:g} to {:g}".format(*band_hz(signal.rate_hz, signal.shaft_hz)),
        "edition": EDITION,
        "cut": answer.cut,
        "zones": zones(answer.velocity_mm_s, signal.rate_hz, signal.shaft_hz),
        "no_zone": no_zone(signal.rate_hz, signal.shaft_hz),
        "facts": _facts(answer),
        "versions": {"iotlam": iotlam.__version__, "torch": torch.__version__.partition("+")[0]},
    }
    if verdict is not None:
        shown = _shown(answer.faults, verdict)
        contents |= {
            "rows": [_row(one, one.name in answer.faults) for one in verdict.findings.values()],
            "bounds": " or ".join(f"{sigmas:.0f} sigma and {percent(depth)}" for sigmas, depth in RACE_BOUNDS),
            "band": "{:,.0f} to {:,.0f}".format(*shown.band_hz),
            "speed": f"{60.0 * verdict.speed.hz:.1f} rpm{'' if verdict.speed.path_N is None else ' on average'}",
            "spectrum": _spectrum(answer, verdict, shown),
            "shown": WORDS[shown.name],
            "trend": _trend(answer, verdict) if answer.before else "",
            "healthy": ", ".join(f"{place} {past.source}" for place, past in enumerate(answer.before, 1)),
        }
    return contents


def _facts(answer: Answer) -> dict[str, str]:
    signal = answer.signal
    facts = {
        "acceleration": f"{figure(answer.rms_m_s2)} m/s² root mean square",
        "kurtosis": f"{figure(answer.kurtosis)} (3 for noise)",
    }
    if signal.shaft_hz is not None:
        facts["speed given" if signal.speed_N is None else "speed measured"] = f"{60.0 * signal.shaft_hz:.0f} rpm"
    if answer.change is not None:
        facts["change"] = f"{figure(answer.change)} from the healthy baseline ({figure(CHANGED)} and more is much)"
    if answer.current is not None:
        pairs = ", ".join(
            f"{WORDS.get(name, name)} {one.hz:.2f} Hz ({100.0 * one.depth:.2f} %, {one.nats:.1f} nats)"
            for name, one in answer.current.lines.items()
        )
        facts["motor current"] = f"supply {answer.current.supply_hz:.2f} Hz; sidebands at plus and minus {pairs}"
        facts["phases"] = f"uneven by {percent(answer.current.uneven)}"
    if answer.severity:
        named = ", ".join(f"{WORDS[name]} {figure(severity)}" for name, severity in answer.severity.items())
        facts["severity"] = f"{named} (0 hardly measurable, 1 drowning all else, on simulated machines)"
    if (orders := signal.orders) is not None:
        facts["bearing"] = (
            f"{signal.bearing_name or 'as given'}: {orders.balls} rolling elements; orders inner {orders.inner:.3f}, "
            f"outer {orders.outer:.3f}, ball {orders.ball:.3f}, cage {orders.cage:.4f}"
        )
    return facts


def _shown(faults: Sequence[str], verdict: Verdict) -> Finding:
    """The finding whose band is drawn: what is named, else what is clearest."""
    named = [verdict.findings[name] for name in faults]
    return named[0] if named else max(verdict.findings.values(), key=lambda one: one.sigmas)


def _row(one: Finding, named: bool) -> dict[str, Any]:
    return {
        "name": WORDS[one.name],
        "paint": PAINT[one.name],
        "named": named,
        "hz": f"{one.hz:.1f}",
        "order": f"{one.order:.3f}",
        "slip": f"{100.0 * one.white.slip:+.1f} %".replace("-", "−"),
        "sigmas": f"{one.sigmas:.1f}",
        "depth": percent(one.depth),
        "band": "{:,.0f}, {:,.0f}".format(*one.band_hz),
    }


def _spectrum(answer: Answer, verdict: Verdict, shown: Finding) -> Markup:
    signal = answer.signal
    band = Bands((shown.band_hz[0],), shown.bands.width_hz)
    envelopes = over_angle(
        squared_envelopes(torch.from_numpy(signal.values_N)[None], signal.rate_hz, band), verdict.speed
    )
    depth_F = 100.0 * modulation(envelopes.values_BKM)[0, 0].numpy()
    step = envelopes.rate_hz / envelopes.values_BKM.shape[-1] / verdict.speed.hz
    order_F = np.arange(len(depth_F)) * step
    inside_F = (order_F > 0.15) & (order_F <= SHOWN_ORDERS)
    order_P, depth_P = _thinned(order_F[inside_F], depth_F[inside_F])
    orders = signal.orders
    assert orders is not None

    def draw(chart: Figure) -> None:
        axes = chart.subplots()
        for name, one in verdict.findings.items():
            comb = COMBS[name](orders)
            slipped_L = comb.order_SL[int((comb.slip_S - one.white.slip).abs().argmin())]
            style: dict[str, Any] = {"color": light(PAINT[name]), "alpha": 0.9 if one is shown else 0.45, "zorder": 1.0}
            style["transform"] = axes.get_xaxis_transform()
            main = sum(weight >= 1.0 for weight in comb.weight_L.tolist()) or 1
            axes.vlines(slipped_L[:main].numpy(), 0.0, 1.0, linewidth=1.0, **style)
            if one is shown and name != "cage":
                axes.vlines(slipped_L[main:].numpy(), 0.0, 1.0, linewidth=0.7, linestyle=(0, (2, 3)), **style)
        axes.plot(order_P, depth_P, color=light("ink"), linewidth=0.8)
        if answer.before:
            sound = max(past.depth[shown.name] for past in answer.before)
            axes.axhline(100.0 * sound, color=light(PAINT[shown.name]), linewidth=1.0, linestyle="--")
        axes.set(xlim=(0.0, SHOWN_ORDERS), ylim=(0.0, None), xlabel="orders of the shaft", ylabel="modulation (%)")
        axes.grid(False)
        frame(chart)

    return responsive(3.0, "Envelope spectrum over orders of the shaft, with the lines of each fault", draw)


def _trend(answer: Answer, verdict: Verdict) -> Markup:
    """How deep each fault's lines were in the healthy recordings, and are now."""
    depths = [past.depth for past in answer.before] + [{name: one.depth for name, one in verdict.findings.items()}]

    def draw(chart: Figure) -> None:
        axes = chart.subplots()
        for name in verdict.findings:
            axes.plot([100.0 * depth[name] for depth in depths], color=light(PAINT[name]), marker="o", linewidth=1.2)
        axes.set_xticks(range(len(depths)), [*map(str, range(1, len(depths))), "now"])
        axes.set(ylim=(0.0, None), ylabel="modulation (%)")
        frame(chart)

    return responsive(1.9, "How deep the lines of each fault were while the machine was sound, and are now", draw)


def _thinned(x_F: np.ndarray, y_F: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Few points that keep every peak."""
    size = max(-(-len(y_F) // POINTS), 1)
    starts = np.arange(0, len(y_F), size)
    peaks = [start + int(y_F[start : start + size].argmax()) for start in starts]
    return x_F[peaks], y_F[peaks]


def _waveform(answer: Answer, shown_s: float) -> Markup:
    signal = answer.signal
    values_N = signal.values_N[: round(shown_s * signal.rate_hz)]
    size = max(len(values_N) // (POINTS // 2), 1)
    cut_N = values_N[: len(values_N) // size * size].reshape(-1, size)
    time_P = np.arange(len(cut_N)) * size / signal.rate_hz

    def draw(chart: Figure) -> None:
        axes = chart.subplots()
        axes.fill_between(time_P, cut_N.min(1), cut_N.max(1), color=light("ink"), linewidth=0.6, alpha=0.85)
        axes.set(xlim=(0.0, shown_s), xlabel="s", ylabel="m/s²")
        frame(chart)

    return responsive(1.9, "The first part of the signal", draw)


def _kurtogram(answer: Answer) -> Markup:
    levels = answer.kurtogram.kurtosis
    top_khz = answer.kurtogram.top_hz / 1e3

    def draw(chart: Figure) -> None:
        axes = chart.subplots()
        counts = [len(level) for level in levels]
        columns = int(np.lcm.reduce(counts))
        rows = np.stack([np.repeat(level.numpy(), columns // len(level)) for level in levels])
        image = axes.imshow(np.maximum(rows, 0.0), aspect="auto", extent=(0.0, top_khz, len(rows), 0.0), cmap="viridis",
                            interpolation="nearest")  # fmt: skip
        axes.set_yticks(np.arange(len(rows)) + 0.5, [str(count) for count in counts])
        axes.set(xlabel="kHz", ylabel="bands")
        axes.grid(False)
        chart.colorbar(image, ax=axes, pad=0.01)
        frame(chart)

    return responsive(2.2, "Kurtosis of the envelope by band", draw)
