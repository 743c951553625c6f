"""Suite `fed-faults`: rounds whose server and devices are killed, are slow, come and go, or lie."""

from __future__ import annotations

import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median

import numpy as np
import torch

from iotlam.bench.federated.attacks import attacks
from iotlam.bench.federated.fleet import RANKS, SERVER, Fleet, Harm, Manner, Mannered, small_config, small_device, warm
from iotlam.bench.federated.forgery import ATTACKED, MOLES, Stage, refused, replays_to_a_device, truth
from iotlam.bench.federated.places import finished
from iotlam.bench.federated.trials import killed_trials
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import IotlamError, Json
from iotlam.contracts.errors import one_line
from iotlam.federated.config import RunConfig
from iotlam.federated.flower import client_app, play
from iotlam.federated.grids import LocalGrid
from iotlam.federated.outcome import Outcome
from iotlam.federated.rounds import Run

KINDS = ("server", "client", "both")
AT_RANDOM = 67
"""Kills of each kind at a random time; on top come those at every operation of the disk of the server and a device."""

TRIES = 20
"""Runs in which a kill is tried that comes too late: times are drawn, and a run may be shorter than others."""

REST_S = 0.2
"""At most so long a killed process stays away."""

DEADLINE_S = 4.0
SLOW = small_config(deadline_s=DEADLINE_S)
GONE = ("not connected", "Flower error 5")
LATE = ("no answer by the deadline",)
WRONG: dict[str, tuple[Manner, tuple[str, ...]]] = {
    "answers after the deadline": ("late", LATE),
    "disappears in the middle": ("dies", GONE),
    "is there and never answers": ("hangs", LATE),
}
"""What one device does from round 1 on, and the causes that may be given."""

FLAPS = "comes, dies when it is asked, and comes again"


def faults(quick: bool, progress: Progress) -> SuiteResult:
    """Kills, deadlines and forgeries; the full run also kills parts of a real SuperLink with SuperNodes.

    Args:
        quick: a handful of each, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="iotlam-") as folder:
        base = finished(Path(folder), 1)
        rows = _kills(Path(folder), base, 2 if quick else AT_RANDOM, 12 if quick else 1, progress)
        rows += _deadlines(Path(folder), base, progress)
        rows += _forgeries(Path(folder), base, 12 if quick else 1, progress)
        if not quick:
            with progress("Kills of a SuperLink and its SuperNodes", None):
                rows += _trials(Path(folder))
    return SuiteResult("fed-faults", rows, figures(rows), time.monotonic() - start)


def figures(rows: Sequence[Json]) -> dict[str, Metric]:
    """What was lost, waited for and believed."""
    kills = [row for row in rows if row["part"] == "kill"]
    rounds = [row for row in rows if row["part"] == "deadline"]
    forged = [row for row in rows if row["part"] == "forged"]
    elsewhere = "(Flower 1.41, measured elsewhere)"
    found = {
        "kill_points": figure(len(kills), len(kills), least=200),
        "resumed_weights_different": figure(
            sum(row["different"] for row in kills), len(kills), most=0, anchor=f"the run ends as failed {elsewhere}"
        ),
        "rounds_lost_max": figure(
            max(row["rounds_lost"] for row in kills), len(kills), most=1, anchor=f"all {elsewhere}"
        ),
        "round_overrun_s": figure(
            max(row["overrun_s"] for row in rounds),
            len(rounds),
            most=1.0,
            unit="s",
            anchor=f"waits without end {elsewhere}",
        ),
        "missing_without_their_cause": figure(sum(not row["named"] for row in rounds), len(rounds), most=0),
        "rounds_changed_by_too_few": figure(sum(row["changed_by_none"] for row in rounds), len(rounds), most=0),
        "forged_or_replayed_accepted": figure(sum(row["accepted"] for row in forged), len(forged), most=0),
        "honest_results_different": figure(sum(row.get("different", False) for row in forged), len(forged), most=0),
    }
    for kind in KINDS:
        some = [row for row in kills if row["kind"] == kind]
        found[f"kill_points_{kind}"] = figure(len(some), len(some))
    some = [row for row in kills if row["transport"] == "superlink"]
    return found | {"kill_points_superlink": figure(len(some), len(some))}


def _kills(folder: Path, base: Path, at_random: int, every: int, progress: Progress) -> list[Json]:
    """Kills at random times, and before every so-manieth operation on the disk."""
    rng = np.random.default_rng(47)
    rows: list[Json] = []
    # Its one process forks servers and devices: it has all imported, and trains nothing.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), warm, (base,)) as pool:
        calm = [pool.submit(undisturbed_run, folder / f"calm-{n}", base).result() for n in range(3)]
        weights, seconds = calm[0][0], median(one[1] for one in calm)
        # How many there are differs by a few from run to run: answers that come late or twice are journaled, too.
        operations = {kind: min(one[2][kind] for one in calm) for kind in calm[0][2]}
        assert all(one[0] == weights for one in calm), "a run that nobody disturbs is not the same twice"
        points: list[tuple[str, int | None]] = [*((kind, None) for kind in KINDS)] * at_random
        points += [(kind, at) for kind, count in operations.items() for at in range(1, count + 1)][::every]
        with progress("Kills", len(points)) as step:
            for kind, operation in points:
                for _ in range(TRIES):
                    at = float(rng.uniform(0, seconds)) if operation is None else operation
                    point = kind, at, str(rng.choice(list(RANKS))), float(rng.uniform(0, REST_S))
                    row = pool.submit(killed_run, folder / f"kill-{len(rows)}", base, weights, *point).result()
                    if row:  # else it was over before
                        break
                else:
                    raise RuntimeError(f"{kind}: no run lasted until {operation or 'a time drawn over it'}")
                rows.append(row)
                step(1)
    return rows


def undisturbed_run(folder: Path, base: Path) -> tuple[str, float, dict[str, int]]:
    """A run that nobody disturbs: its weights, seconds, and operations of the disk of server and one device."""
    with Fleet(folder, base, small_config()) as fleet:
        start = time.monotonic()
        fleet.start(SERVER, *fleet.names)
        assert fleet.end() == 0, fleet.said()
        seconds = time.monotonic() - start
        counts = {kind: fleet.operations[name].value for kind, name in (("server", SERVER), ("client", "fan"))}
        weights = fleet.weights()
    shutil.rmtree(folder)
    return weights, seconds, counts


def killed_run(
    folder: Path, base: Path, weights: str, kind: str, at: float | int, device: str, rest_s: float
) -> Json | None:
    """A run of which something is killed and started again; None if it was over before.

    Args:
        folder: of the run, removed at the end.
        base: folder of the model to begin with.
        weights: digest of what it should end in.
        kind: what is killed: `server`, `client` (one device), or `both` (the server and all devices).
        at: when: seconds after its start, or (an integer) before which operation of its own on the disk.
        device: the one that is killed.
        rest_s: how long it stays away.
    """
    with Fleet(folder, base, small_config()) as fleet:
        victims = {"server": [SERVER], "client": [device], "both": [SERVER, *fleet.names]}[kind]
        by_itself = isinstance(at, int)
        for name in (SERVER, *fleet.names):
            fleet.start(name, harm=Harm(kill_at=int(at)) if by_itself and name in victims else Harm())
        if by_itself:
            fleet.wait_for_one(victims[0], SERVER)
            hit = fleet.killed(victims[0])
        else:
            time.sleep(at)
            hit = fleet.alive(SERVER) and fleet.alive(victims[0])
        row = _killed(fleet, victims, weights, rest_s) if hit else None
    shutil.rmtree(folder)
    when = {"when": "operation of the disk", "operation": at} if by_itself else {"when": "time", "at_s": at}
    return row and {"part": "kill", "transport": "sockets", "kind": kind, "victims": ", ".join(victims)} | when | row


def _killed(fleet: Fleet, victims: list[str], weights: str, rest_s: float) -> Json:
    fleet.kill(*victims)
    before = len(fleet.outcomes)
    time.sleep(rest_s)
    fleet.start(*victims)
    ended = fleet.end() == 0
    done = len(fleet.outcomes)
    return {
        "rounds_before": before,
        "different": not ended or fleet.weights() != weights,
        "rounds_lost": max(fleet.begun(name) for name in fleet.names) - done if ended else done,
    }


def _deadlines(folder: Path, base: Path, progress: Progress) -> list[Json]:
    cases = ["none is there", "one is never there", FLAPS, "too few for a round", *WRONG]
    rows = []
    with (
        progress("Dead, slow and flapping devices", len(cases) + 3) as step,
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), warm, (base,)) as pool,
    ):
        for number, case in enumerate(cases):
            rows += pool.submit(slow_run, folder / f"slow-{number}", base, case).result()
            step(1)
        for number, case in enumerate(("one is never there", "answers after the deadline", "too few for a round")):
            rows += slow_in_process(folder / f"here-{number}", base, case)
            step(1)
    return rows


def slow_run(folder: Path, base: Path, case: str) -> list[Json]:
    """A run with a device that is not as it should be, each in its own process: how long its rounds took."""
    config = SLOW.changed(at_least=2) if case == "too few for a round" else SLOW
    with Fleet(folder, base, config) as fleet:
        odd = fleet.names[-1]
        present = {"none is there": [], "too few for a round": fleet.names[:1]}.get(case, fleet.names[:-1])
        manner, causes = WRONG.get(case, ("honest", GONE))
        fleet.start(SERVER, *present)
        if case in WRONG:
            fleet.start(odd, harm=Harm(manner=manner, rounds=(1, 2), seconds=1.2 * DEADLINE_S))
        while case == FLAPS and fleet.alive(SERVER):
            if not (odd in fleet.processes and fleet.alive(odd)):
                fleet.start(odd, harm=Harm(manner="dies", rounds=(1, 2)))
            time.sleep(REST_S)
        assert fleet.end() == 0, fleet.said()
        rows = _judged("sockets", case, fleet.outcomes, fleet.times_s, config, causes)
    shutil.rmtree(folder)
    return rows


def slow_in_process(folder: Path, base: Path, case: str) -> list[Json]:
    """The same with all in this process."""
    config = SLOW.changed(at_least=2) if case == "too few for a round" else SLOW
    names = list(RANKS)
    present = names[:1] if case == "too few for a round" else names[: len(names) - (case == "one is never there")]
    devices = {name: small_device(name, base, folder) for name in names}
    harm = Harm(manner="late", rounds=(1,), seconds=1.2 * DEADLINE_S)
    run, times_s = Run(folder / "run", base, config), [time.monotonic()]
    late = case == "answers after the deadline"
    app = client_app(lambda name, _: Mannered(devices[name], harm if late and name == names[-1] else Harm()))
    with LocalGrid(app, present, workers=len(present)) as grid:
        play(run, grid, lambda _: times_s.append(time.monotonic()))
    run.leave()
    took_s = [after - before for before, after in zip(times_s, times_s[1:], strict=False)]
    return _judged("in process", case, run.outcomes, took_s, config, LATE if late else GONE)


def _judged(
    transport: str,
    case: str,
    outcomes: Sequence[Outcome],
    times_s: Sequence[float],
    config: RunConfig,
    causes: tuple[str, ...],
) -> list[Json]:
    """Whether each round was in time, and named whoever was missing, with a cause that is so."""
    rows, names, last = [], {device.name for device in config.devices}, ""
    for outcome, seconds in zip(outcomes, times_s, strict=True):
        without = outcome.missing | outcome.refused
        answered = outcome.shares or outcome.scores
        named = names == set(answered) | set(without) and all(why.startswith(causes) for why in without.values())
        said = "; ".join(f"{name}: {why}" for name, why in without.items())
        facts = {"part": "deadline", "transport": transport, "case": case, "round": outcome.round}
        taken = {"seconds": seconds, "overrun_s": max(seconds - config.deadline_s, 0.0)}
        changed = bool(last) and outcome.checkpoint != last
        took_part = {"devices": len(outcome.shares), "changed_by_none": changed and not outcome.shares}
        rows.append(facts | taken | took_part | {"without": said, "named": named})
        last = outcome.checkpoint
    return rows


def _trials(folder: Path) -> list[Json]:
    """Kills on Flower's servers; what keeps them from being measured counts as a run that was lost."""
    try:
        return killed_trials(folder)
    except (IotlamError, TimeoutError) as error:
        facts = {"part": "kill", "transport": "superlink", "kind": "both", "why": one_line(error)}
        return [{**facts, "different": True, "rounds_lost": small_config().rounds}]


def _forgeries(folder: Path, base: Path, every: int, progress: Progress) -> list[Json]:
    """Attackers in one run, each with an attack of its own; the result is held against that without them."""
    stage = Stage(base, folder / "forged")
    (outcomes, honest, ended), without = stage.play([]), stage.play([refused()] * len(MOLES))
    assert not ended and set(MOLES) <= set(outcomes[ATTACKED].shares), ended
    assert stage.play([truth()] * len(MOLES))[1:] == (honest, "")
    tried = attacks(stage.answer(MOLES[0], ATTACKED), seed=0)[::every]
    alone = [[attack] for attack in tried if attack.counts]
    forged = [attack for attack in tried if not attack.counts]
    together = [forged[first : first + len(MOLES)] for first in range(0, len(forged), len(MOLES))]
    rows = []
    with progress("Forged and replayed messages", len(tried)) as step:
        for some in [*together, *alone]:
            attacking = some if some[0].counts else [*some, *[refused()] * (len(MOLES) - len(some))]
            outcomes, result, ended = stage.play(attacking)
            wrong = bool(ended) or result != (honest if some[0].counts else without[1])
            for mole, attack in zip(MOLES, some, strict=False):
                counted = not ended and mole in outcomes[ATTACKED].shares
                accepted = counted != attack.counts or bool(ended)
                rows.append({"part": "forged", "attack": attack.name, "accepted": accepted, "different": wrong})
            step(len(some))
    return rows + replays_to_a_device(base, folder / "device")
