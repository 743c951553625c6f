"""A run on a real SuperLink with SuperNodes, parts of which are killed, and among which there is an impostor."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from iotlam.contracts import Json
from iotlam.federated.journal import read
from iotlam.federated.leading import MODEL
from iotlam.federated.outcome import JOURNAL
from iotlam.federated.plan import DevicePlan, Plan
from iotlam.federated.processes import free_ports
from iotlam.federated.runtimes import carry_out
from iotlam.federated.trial import LINK, Trial

DEVICES = ("press", "pump")
POINTS = {"client": (DEVICES[0],), "server": (LINK,), "both": (LINK, *DEVICES)}
"""What is killed, one in each round."""

WITHIN_S = 15.0
"""After a round is planned, at most so long passes until something is killed."""

END_S = 600.0


def plan() -> Plan:
    """Two devices of unequal ranks, and a round for each kill."""
    devices = [
        DevicePlan(name, {"kind": "simulated", "machines": 4, "seed": place}, rank=1 + 2 * place, examples=4)
        for place, name in enumerate(DEVICES)
    ]
    return Plan("faults", tuple(devices), rounds={"rounds": len(POINTS), "steps": 1, "deadline_s": 400.0})


def killed_trials(folder: Path) -> list[Json]:
    """Kill a SuperNode, then the SuperLink with all that it runs, then everything; each time bring up what is missing.

    Args:
        folder: of the runs.

    Returns:
        A row for each kill, and one for the impostor: a node with a registered key that says it is another device.
    """
    rng, there = np.random.default_rng(53), plan()
    carry_out(there, folder / "calm")
    trial = Trial(folder / "trial", free_ports(len(DEVICES) + 2))
    rows: list[Json] = []
    seen: list[int] = []
    try:
        trial.up(there)
        trial.start_node("impostor", trial.port + len(DEVICES) + 1, device=DEVICES[0])
        for number, (kind, victims) in enumerate(POINTS.items()):
            _wait(lambda number=number: _last_planned(trial.run) >= number)  # type: ignore[misc]
            time.sleep(at_s := float(rng.uniform(0, WITHIN_S)))
            for victim in victims:
                trial.kill(victim)
            before = _records(trial.run)
            trial.up(there)
            rows.append({"kind": kind, "at_s": at_s, "rounds_before": _rounds(before)})
            seen.append(len(before))
        _wait((trial.run / MODEL / "config.json").exists)
    finally:
        trial.down()
    records = _records(trial.run)
    different = _weights(trial.run) != _weights(folder / "calm")
    for row, known in zip(rows, seen, strict=True):
        first = next(record["round"] for record in records[known:] if record.get("round", -1) >= 0)
        row["rounds_lost"] = row["rounds_before"] + 1 - first
    named = any(record["kind"] == "refused" and record["device"] == "impostor" for record in records)
    forged = {"part": "forged", "transport": "superlink", "attack": "a node with a key that says it is another device"}
    kills = [{"part": "kill", "transport": "superlink", "when": "time", "different": different, **row} for row in rows]
    return [*kills, {**forged, "accepted": not named, "different": different}]


def _weights(run: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted([*run.glob("round-*.safetensors"), *run.glob(f"{MODEL}/*.safetensors")]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()


def _records(run: Path) -> list[Json]:
    path = run / JOURNAL
    return read(path)[0] if path.exists() else []


def _last_planned(run: Path) -> int:
    return max((record["round"] for record in _records(run) if record["kind"] == "plan"), default=-1)


def _rounds(records: list[Json]) -> int:
    return sum(record["kind"] == "round" for record in records)


def _wait(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + END_S
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"expected a round or its model within {END_S:.0f} s, got none; see the trial's logs")
        time.sleep(0.2)
