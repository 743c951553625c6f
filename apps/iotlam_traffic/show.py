"""Controllers side by side, ours watched closely: what the page is made from."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from iotlam.contracts import Json, check_writable
from iotlam.model import IotlamModel
from iotlam.pages.page import check_page
from iotlam.training.parallel import run_parallel
from iotlam.training.progress import progress
from iotlam_street.junction import Junction
from iotlam_street.plan import SignalPlan, read_plans
from iotlam_street.scene import Boxes
from iotlam_street.street import Street
from iotlam_traffic.controller import Look, SensorController
from iotlam_traffic.episode import run_episode
from iotlam_traffic.evaluate import OURS, Outcome, Trial, make_controller, run_trial
from iotlam_traffic.queues import QueueLog
from iotlam_traffic.report import PageData, write_page

WARM_UP_DECISIONS = 20
"""The page shows a moment after the streets have filled."""

Run = tuple[Outcome, QueueLog]
"""What came of one controller's episode, and the queues in it."""


@dataclass(slots=True)
class Watcher:
    """Follows ours through an episode and keeps the busiest moment of any junction.

    Attributes:
        look: what was seen at that moment.
        truth: the vehicles that were really there.
        plan: the plan of the junction where it was.
        bits: by signal, per decision, time and the bits that each modality contributed.
        phases: by signal, per decision, time and the phase shown.
    """

    controller: SensorController
    look: Look | None = None
    truth: Boxes | None = None
    plan: SignalPlan | None = None
    bits: dict[str, list[tuple[float, dict[str, float]]]] = field(default_factory=lambda: defaultdict(list))
    phases: dict[str, list[tuple[float, int]]] = field(default_factory=lambda: defaultdict(list))

    def choose(self, junctions: Sequence[Junction]) -> list[int]:
        """Let ours choose, and note what it saw."""
        looks = self.controller.looks(junctions)
        for junction, look in zip(junctions, looks, strict=True):
            self._note(junction, look)
        return [look.phase for look in looks]

    def _note(self, junction: Junction, look: Look) -> None:
        now, signal = junction.snapshots[-1].boxes, junction.plan.signal
        bits, phases = self.bits[signal], self.phases[signal]
        bits.append((look.time_s, {name: float(each.sum()) for name, each in look.decision.bits.items()}))
        phases.append((look.time_s, look.phase))
        if len(bits) > WARM_UP_DECISIONS and (self.truth is None or len(now) > len(self.truth)):
            self.look, self.truth, self.plan = look, now, junction.plan

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.controller.name

    @property
    def native(self) -> None:
        """Ours decides itself."""
        return None


def show_runs(trials: Sequence[Trial], page: Path, quick: bool = False) -> Json:
    """Run controllers on the same streets and seed, ours watched closely, and write the page.

    Args:
        trials: one for each controller, all on the same scenario and seed.
        page: the file to write.
        quick: said on the page.

    Returns:
        The rows of the table, and the path of the page.
    """
    trials = [replace(trial, list_trips=True) for trial in trials]
    watcher = _watcher(trials)
    check_writable("--out", page.parent)
    check_page(page)
    runs = _run_all(trials, watcher)
    written = write_page(_page_data(trials[0], runs, watcher, quick), page)
    return {"page": str(written), "trips": [outcome.as_json() for outcome, _ in runs.values()]}


def _run_all(trials: Sequence[Trial], watcher: Watcher | None) -> dict[str, Run]:
    """What came of every controller, in the order of the trials."""
    found: dict[str, Run] = {}
    if watcher:
        found[OURS] = _watch(watcher, next(trial for trial in trials if trial.controller == OURS))
    others = [trial for trial in trials if trial.controller not in found]
    with progress("Rivals" if watcher else "Controllers", total=len(others)) as step:
        for run in run_parallel(run_with_queues, others, 2, lambda _: step(1)):
            found[run[0].trial.controller] = run
    return {trial.controller: found[trial.controller] for trial in trials}


def _page_data(trial: Trial, runs: Mapping[str, Run], watcher: Watcher | None, quick: bool) -> PageData:
    plans = {plan.signal: plan for plan in read_plans(trial.scenario.net)}
    plan = watcher.plan if watcher and watcher.plan else plans[next(iter(runs.values()))[1].busiest()]
    return PageData(
        scenario=trial.scenario,
        plan=plan,
        signals=len(plans),
        seed=trial.seed,
        rules=trial.rules,
        trips={name: outcome.trips for name, (outcome, _) in runs.items()},
        look=watcher.look if watcher else None,
        truth=watcher.truth if watcher else None,
        decision_ms=runs[OURS][0].decision_ms if watcher else [],
        bits_over_time=watcher.bits[plan.signal] if watcher else [],
        phases_over_time=watcher.phases[plan.signal] if watcher else [],
        queues={name: log.by_signal[plan.signal] for name, (_, log) in runs.items()},
        facts=_facts(watcher.controller.model) if watcher else {},
        commands=[" ".join(["iotlam", *sys.argv[1:]])],
        quick=quick,
    )


def run_with_queues(trial: Trial) -> Run:
    """Run one episode in this process and note the queues."""
    log = QueueLog()
    return run_trial(trial, log.note), log


def _watcher(trials: Sequence[Trial]) -> Watcher | None:
    """Who watches ours; None where ours does not compete.

    Raises:
        BadInput: for a controller, policy or modality that does not exist.
    """
    torch.set_num_threads(1)
    controllers = [make_controller(trial) for trial in trials]  # wrong names are said before anything runs
    return next((Watcher(one) for one in controllers if isinstance(one, SensorController)), None)


def _watch(watcher: Watcher, trial: Trial) -> Run:
    log = QueueLog()

    def step_on(street: Street) -> None:
        log.note(street)
        step(street.rules.decision_s)

    with progress(f"{watcher.name} on {trial.scenario.name}", total=int(trial.scenario.duration_s)) as step:
        trips = run_episode(watcher, trial.scenario, trial.seed, step_on, list_trips=True, rules=trial.rules)
    return Outcome(trial, trips, [1000.0 * seconds for seconds in watcher.controller.seconds]), log


def _facts(model: IotlamModel) -> dict[str, str]:
    share = model.trainable_share()
    return {
        "Decoder": model.config.decoder,
        "Trained by fine-tuning": f"{share.trainable:,} of {share.total:,} parameters ({100 * share.ratio:.1f} %)",
        "Sensors": ", ".join(spec.modality for spec in model.config.modalities),
    }
