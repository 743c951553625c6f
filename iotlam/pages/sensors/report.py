"""From installed modalities to the page of `iotlam demo sensors`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import typer
from markupsafe import Markup

import iotlam
from iotlam.contracts import BadInput, Json
from iotlam.pages.drawing import HUES
from iotlam.pages.page import check_page, figure, percent, write_html
from iotlam.pages.sensors.charts import learning_chart
from iotlam.pages.sensors.learning import BETA, Learned, learn
from iotlam.pages.sensors.pictures import pictures_of
from iotlam.pages.sensors.reading import Reading
from iotlam.pages.sensors.situations import CONTROL, DRIFT, GLANCE, LOOKED_AT, TOKEN_NOISE
from iotlam.pages.sensors.streams import Failure, Stream, gather
from iotlam.plugins import list_modalities
from iotlam.training.progress import progress

Rows = list[dict[str, Any]]
TEMPLATE = Path(__file__).with_name("page.html.j2")


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is done.

    Attributes:
        situations: how many situations to tell apart.
        steps: steps of learning.
        trials: examples for every share of right answers.
    """

    situations: int
    steps: int
    trials: int


def show(page: Path, effort: Effort, seed: int, data: Path | None, said: Json) -> Json:
    """Gather, learn, and write the page; returns what it says, for programs.

    Args:
        page: the file to write.
        effort: how much to do.
        seed: of all that is random.
        data: folder with recordings, or None.
        said: what else the page says: `quick` and `commands`.
    """
    torch.set_num_threads(1)
    check_page(page)
    with progress("Reading and tokenizing", total=len(list_modalities())) as step:
        streams, failures = gather(effort.situations, seed, data, lambda: step(1))
    if not streams:
        got = "; ".join(failure.reason for failure in failures) or "none installed"
        raise BadInput("Modalities", expected="one that works, at least", got=got, fix="see 'iotlam doctor'")
    with progress("Learning what is worth a bit", total=effort.steps) as step:
        learned = learn(streams, seed, effort.steps, effort.trials, step)
    rows = _rows(streams, learned)
    contents = _contents(streams, failures, learned, rows)
    write_html(TEMPLATE, {"seed": seed, "effort": effort, **said, **contents}, page)
    return {
        "page": str(page),
        "seed": seed,
        "accuracy": learned.accuracy,
        "sensors": rows,
        "failures": [asdict(failure) for failure in failures],
    }


def _rows(streams: list[Stream], learned: Learned) -> Rows:
    """What the table says, most bits first and the control last."""
    rows = [
        {
            "modality": stream.name,
            "source": stream.windows[learned.fullest].source,
            "recorded": stream.recorded,
            "tokens": sum(int(batch.mask_BT.sum()) for batch in stream.tokens) / len(stream.tokens),
            "tokenize_ms": stream.tokenize_ms,
        }
        for stream in streams
    ]
    rows.sort(key=lambda row: -learned.per_window(str(row["modality"])))
    control = {"modality": CONTROL, "source": "drawn anew", "tokens": len(learned.bits[CONTROL][0])}
    control |= {"recorded": False, "tokenize_ms": 0.0}
    return [row | _worth(str(row["modality"]), learned) for row in [*rows, control]]


def _worth(name: str, learned: Learned) -> dict[str, float]:
    return {
        "bits_per_window": learned.per_window(name),
        "bits_per_token": learned.per_token(name),
        "accuracy_alone": learned.alone[name],
        "accuracy_without": learned.without[name],
        "gain": learned.gain[name],
    }


def paints(streams: list[Stream]) -> dict[str, str]:
    """Name of each modality's colour."""
    return {stream.name: HUES[index % len(HUES)] for index, stream in enumerate(streams)} | {CONTROL: "grey"}


def _contents(streams: list[Stream], failures: list[Failure], learned: Learned, rows: Rows) -> dict[str, Any]:
    colours = paints(streams)
    by_name = {stream.name: stream for stream in streams}
    return {
        "headline": headline(rows, learned, len(streams[0].windows)),
        "lead": lead(rows),
        "control": CONTROL,
        "rows": rows,
        "colours": colours,
        "most": max(row["bits_per_window"] for row in rows) or 1.0,
        "crowded": [row["modality"] for row in rows if row["tokens"] > LOOKED_AT],
        "failures": failures,
        "learned": learned,
        "streams": [by_name[row["modality"]] for row in rows if row["modality"] != CONTROL],
        "all_recorded": all(stream.recorded for stream in streams),
        "facts_of": {stream.name: _in_words(stream, learned.fullest) for stream in streams},
        "pictures": {stream.name: _pictures(_reading(stream, learned, colours)) for stream in streams},
        "learning": learning_chart(learned, colours),
        "task": {
            "looked_at": LOOKED_AT,
            "glance": GLANCE,
            "noise": TOKEN_NOISE,
            "drift": DRIFT,
            "price": BETA,
        },
        "facts": {},
        "versions": {"iotlam": iotlam.__version__, "torch": version("torch")},
    }


def headline(rows: Rows, learned: Learned, situations: int) -> str:
    """What all sensors together can do, and the best one alone."""
    sensors = [row for row in rows if row["modality"] != CONTROL]
    best = max(sensors, key=lambda row: float(row["accuracy_alone"]))
    together = percent(learned.accuracy)
    if len(sensors) == 1:
        return f"{best['modality']} tells {situations} situations apart in {together} of fresh examples."
    return (
        f"{len(sensors)} modalities, fused, tell {situations} situations apart in {together} of fresh examples; "
        f"the best alone, {best['modality']}, in {percent(best['accuracy_alone'])}."
    )


def lead(rows: Rows) -> str:
    """Who contributed most, and what the control got."""
    *sensors, control = rows
    whole = sum(row["bits_per_window"] for row in sensors) or 1.0
    first, got = sensors[0], float(control["bits_per_token"])
    return (
        f"Most bits come from {first['modality']}: {figure(first['bits_per_window'])} per window, "
        f"{percent(first['bits_per_window'] / whole)} of all. A stream of {CONTROL}, fused along as a control, "
        f"got {'fewer than 0.001' if got < 0.001 else format(got, '.3f')} bits per token."
    )


def _in_words(stream: Stream, situation: int) -> str:
    """What a window is, in words."""
    manifest, frames, tokens = stream.manifest, stream.windows[situation].frames, stream.tokens[situation]
    sizes = " × ".join(f"{size:,}" for size in frames[-1].data.shape)
    rate = f" at {float(frames[-1].meta['rate_hz']):,.10g} Hz" if manifest.rate_in_meta else ""
    count = f"{len(frames)} readings" if len(frames) > 1 else "One reading"
    assumed = frames[0].meta.get("calibration")
    said = f" Calibration: {assumed}." if isinstance(assumed, str) and assumed else ""
    dims = " × ".join(manifest.dims)
    return f"{count} of {sizes} ({dims}){rate}, {int(tokens.mask_BT.sum()):,} tokens of width {tokens.dim}.{said}"


def _reading(stream: Stream, learned: Learned, colours: dict[str, str]) -> Reading:
    return Reading(
        stream.manifest,
        stream.windows[learned.fullest].frames,
        stream.tokens[learned.fullest],
        learned.looked[stream.name][learned.fullest].numpy(),
        learned.bits[stream.name][learned.fullest].numpy(),
        colours[stream.name],
    )


def _pictures(reading: Reading) -> list[Markup]:
    """Pictures, or none: what cannot be drawn of one modality must not cost the page of the others."""
    try:
        return pictures_of(reading)
    except Exception as error:
        typer.echo(f"no picture of {reading.manifest.name}: {type(error).__name__}: {error}", err=True)
        return []
