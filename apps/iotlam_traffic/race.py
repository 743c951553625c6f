"""Many trials, each run once: what has been measured on the same code, weights and demand is read back.

A suite of an hour that was interrupted goes on where it stopped, and one suite uses what another has measured.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

import iotlam.decoder
from iotlam.contracts import BadInput, Json, whole_file
from iotlam.plugins.discovery import entries
from iotlam.plugins.registry import GROUP as MODALITIES
from iotlam.plugins.registry import package_folders
from iotlam_street.metrics import TripGroup, TripMetrics
from iotlam_street.scenarios import Scenario
from iotlam_traffic.controller import SensorController
from iotlam_traffic.discharge import Discharge
from iotlam_traffic.evaluate import OURS, Outcome, Trial, run_trials
from iotlam_traffic.lanes import SHIPPED as LANES
from iotlam_traffic.lanes import LanePolicy
from iotlam_traffic.policy import SHIPPED as POLICY
from iotlam_traffic.rivals.agent import ALGORITHMS, load_agent
from iotlam_traffic.rules import RULES

OUTCOMES = Path("runs/outcomes")
"""Where suites keep what they have measured."""

EPISODE = "iotlam_traffic.episode"
DRIVERS = {
    OURS: SensorController.__module__,
    LanePolicy.name: LanePolicy.__module__,
    Discharge.name: Discharge.__module__,
    **{name: rule.__module__ for name, rule in RULES.items()},
    **dict.fromkeys(ALGORITHMS, load_agent.__module__),
}
"""Where each controller's code begins; what is imported from there and from `EPISODE` decides what comes of a trial."""

DECODERS = Path(iotlam.decoder.__path__[0]) / "weights"
"""Decoders that come with the code; a policy names the one that it has learnt with."""

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
    facts: list[Any] = [
        _code(trial.controller),
        trial.controller,
        trial.seed,
        (trial.modalities, trial.faults, trial.weather) if trial.controller == OURS else (),
        asdict(trial.rules),
        {key: value for key, value in asdict(scenario).items() if key not in ("name", "net", "routes", "additional")},
        contents(scenario),
        [sorted(_digests(folder, ("*.safetensors", "*.json"))) for folder in _weights(trial)],
    ]
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def contents(scenario: Scenario) -> list[str]:
    """Digests of the files of a scenario."""
    files = [scenario.net, *scenario.routes, *scenario.additional]
    return [_contents(str(path), path.stat().st_mtime_ns) for path in files]


def _weights(trial: Trial) -> list[Path]:
    """Folders of what was learnt that a trial uses."""
    own = trial.weights or {OURS: POLICY, LanePolicy.name: LANES}.get(trial.controller)
    return [*([own] if own else []), *([DECODERS] if trial.controller == OURS else [])]


def _label(trial: Trial) -> str:
    return f"{trial.scenario.name}-{trial.controller}-{trial.seed}"


@lru_cache(maxsize=len(DRIVERS))
def _code(controller: str) -> str:
    """Digest of the files that run an episode with this controller, and of the libraries below."""
    # Nobody imports plugins by name: the policy that reads sensors finds them among those that are installed.
    plugins = [entry.module for entry in entries(MODALITIES)] if controller == OURS else []
    modules = imported((EPISODE, DRIVERS[controller], *plugins))
    facts: list[Any] = [(name, _version(name)) for name in DISTRIBUTIONS]
    facts += [(name, _contents(str(path), path.stat().st_mtime_ns)) for name, path in sorted(modules.items())]
    facts += [sorted(_digests(folder, ("*.toml",))) for plugin in plugins for folder in package_folders(plugin)]
    return hashlib.sha256(repr(facts).encode()).hexdigest()


def imported(roots: Iterable[str]) -> dict[str, Path]:
    """Our modules that these import, they themselves included, by whatever way and wherever in their code.

    Args:
        roots: full names of modules.

    Returns:
        The file of each module by its name.
    """
    found: dict[str, Path] = {}
    todo = list(roots)
    while todo:
        name = todo.pop()
        path = _file(name)
        if path and name not in found:
            found[name] = path
            todo += [name.rpartition(".")[0], *_imports(path)]
    return found


def _imports(path: Path) -> Iterator[str]:
    """What a file may import: modules, and names that may be modules of a package."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def _file(module: str) -> Path | None:
    """Source of one of our modules; None for all others."""
    stems = package_folders(module) if module.startswith("iotlam") else []
    paths = [path for stem in stems for path in (stem / "__init__.py", stem.with_suffix(".py"))]
    return next((path for path in paths if path.exists()), None)


def _version(distribution: str) -> str:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _digests(folder: Path, patterns: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Path within a folder and digest of each file of these names."""
    for pattern in patterns:
        for path in folder.rglob(pattern):
            yield path.relative_to(folder).as_posix(), _contents(str(path), path.stat().st_mtime_ns)


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
