"""Many trials, each run once: what has been measured on the same code, weights and demand is read back.

A suite of an hour that was interrupted goes on where it stopped, and one suite uses what another has measured.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from iotlam.contracts import BadInput, Json, whole_file
from iotlam_street.metrics import TripGroup, TripMetrics
from iotlam_traffic.evaluate import OURS, Outcome, Trial, run_trials
from iotlam_traffic.lanes import LanePolicy

OUTCOMES = Path("runs/outcomes")
"""Where suites keep what they have measured."""

PACKAGES = (
    "iotlam",
    "iotlam_street",
    "iotlam_traffic",
    "iotlam_beacons",
    "iotlam_lidar",
    "iotlam_radar",
    "iotlam_spectrum",
    "iotlam_video",
    "iotlam_waveform",
)
"""Whose files decide what comes of a trial."""

ONLOOKERS = ("bench", "cli", "conformance", "pages", "suites")
"""Folders of theirs that only look at outcomes."""

DECIDING, LEARNT = ("*.py", "*.toml", "*.json"), ("*.safetensors",)
WITH_WEIGHTS = (OURS, LanePolicy.name)
"""Who is in charge with weights that come with the code."""

DISTRIBUTIONS = ("libsumo", "eclipse-sumo", "numpy", "torch", "transformers", "peft", "stable-baselines3")


def race(
    trials: Sequence[Trial], workers: int, on_done: Callable[[Outcome], None], folder: Path = OUTCOMES
) -> list[Outcome]:
    """Outcomes in the order of the trials; those that are known are read, the others run and kept as they come.

    Args:
        trials: without trip lists, which are not kept.
        workers: processes.
        on_done: told each outcome, known ones first.
        folder: one JSON file for each outcome, named by a digest of all that decides it.

    Raises:
        BadInput: if a kept outcome cannot be read.
    """
    paths = {trial: folder / f"{_label(trial)}-{digest(trial)}.json" for trial in trials}
    known = {trial: read_outcome(trial, path) for trial, path in paths.items() if path.exists()}
    for outcome in known.values():
        on_done(outcome)

    def keep(outcome: Outcome) -> None:
        write_outcome(outcome, paths[outcome.trial])
        on_done(outcome)

    missing = [trial for trial in paths if trial not in known]
    known.update(zip(missing, run_trials(missing, workers, keep), strict=True))
    return [known[trial] for trial in trials]


def digest(trial: Trial) -> str:
    """Sixteen hexadecimal digits that change with anything that decides what comes of a trial."""
    scenario = trial.scenario
    files = [scenario.net, *scenario.routes, *scenario.additional]
    facts: list[Any] = [
        _code(DECIDING + LEARNT if trial.controller in WITH_WEIGHTS else DECIDING),
        trial.controller,
        trial.seed,
        (trial.modalities, trial.faults, trial.weather) if trial.controller == OURS else (),
        asdict(trial.rules),
        {key: value for key, value in asdict(scenario).items() if key not in ("name", "net", "routes", "additional")},
        [_contents(str(path), path.stat().st_mtime_ns) for path in files],
        sorted(_files(trial.weights, DECIDING + LEARNT)) if trial.weights else None,
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _label(trial: Trial) -> str:
    return f"{trial.scenario.name}-{trial.controller}-{trial.seed}"


@lru_cache(maxsize=2)
def _code(patterns: tuple[str, ...]) -> str:
    """Digest of the files that run trials, and of the libraries below."""
    facts: list[Any] = [(name, _version(name)) for name in DISTRIBUTIONS]
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        for place in (spec.submodule_search_locations or ()) if spec else ():
            facts += [(package, *file) for file in sorted(_files(Path(place), patterns))]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _files(folder: Path, patterns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Path within a folder and digest of each file there that decides."""
    for pattern in patterns:
        for path in folder.rglob(pattern):
            within = path.relative_to(folder)
            if not set(within.parts) & set(ONLOOKERS):
                yield within.as_posix(), _contents(str(path), path.stat().st_mtime_ns)


@lru_cache(maxsize=4096)
def _contents(path: str, version_ns: int) -> str:
    """Digest of a file; one of the same version is read once."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_outcome(outcome: Outcome, path: Path) -> None:
    """Write an outcome; the file appears whole or not at all."""
    trips: Json = asdict(outcome.trips)
    lists = {key: value.tolist() for key, value in trips.items() if isinstance(value, np.ndarray)}
    facts = {"row": outcome.as_json(), "trips": {**trips, **lists}, "decision_ms": outcome.decision_ms}
    with whole_file(path) as partial:
        partial.write_text(json.dumps(facts) + "\n")


def read_outcome(trial: Trial, path: Path) -> Outcome:
    """Read what `write_outcome` wrote of a trial.

    Raises:
        BadInput: if the file is no outcome.
    """
    try:
        facts = json.loads(path.read_text())
        trips = {key: _restored(value) for key, value in facts["trips"].items()}
        return Outcome(trial, TripMetrics(**trips), list(facts["decision_ms"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        fix = "delete it, and it is measured anew"
        raise BadInput(str(path), expected="an outcome", got=str(error).rstrip("."), fix=fix) from error


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return TripGroup(**value)
    return np.array(value, dtype=np.float64) if isinstance(value, list) else value
