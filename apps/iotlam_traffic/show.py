"""One run of ours, watched closely, beside its rivals: what the page is made from."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from iotlam.contracts import BadInput, Json, check_writable
from iotlam.model import IotlamModel
from iotlam.pages.page import check_page
from iotlam.training.progress import progress
from iotlam_street.junction import Junction
from iotlam_street.plan import SignalPlan, read_plans
from iotlam_street.scene import Boxes
from iotlam_street.street import Street
from iotlam_traffic.controller import Look, SensorController
from iotlam_traffic.episode import run_episode
from iotlam_traffic.evaluate import Outcome, Trial, make_controller, run_trials
from iotlam_traffic.report import PageData, write_page

PAGE = "index.html"
WARM_UP_DECISIONS = 20
"""The page shows a moment after the streets have filled."""


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
        return [self._watch(junction) for junction in junctions]

    def _watch(self, junction: Junction) -> int:
        now, look, signal = junction.snapshots[-1].boxes, self.controller.look(junction), junction.plan.signal
        bits, phases = self.bits[signal], self.phases[signal]
        bits.append((look.time_s, {name: float(each.sum()) for name, each in look.decision.bits.items()}))
        phases.append((look.time_s, look.phase))
        if len(bits) > WARM_UP_DECISIONS and (self.truth is None or len(now) > len(self.truth)):
            self.look, self.truth, self.plan = look, now, junction.plan
        return look.phase

    @property
    def name(self) -> str:
        """What tables call it."""
        return self.controller.name

    @property
    def native(self) -> None:
        """Ours decides itself."""
        return None


def show_run(trial: Trial, rivals: Sequence[str], out: Path, quick: bool = False) -> Json:
    """Run ours, then the rivals on the same junction and seed, and write the page.

    Args:
        trial: the run of ours.
        rivals: names of other controllers.
        out: folder of the page.
        quick: said on the page.

    Returns:
        The rows of the table, and the path of the page.
    """
    watcher = _watcher(trial)
    check_writable("--out", out)
    check_page(out / PAGE)
    ours = _watch(watcher, trial)
    others = [replace(trial, controller=name, list_trips=True) for name in rivals]
    with progress("Rivals", total=len(others)) as step:
        outcomes = [ours, *run_trials(others, 2, lambda _: step(1))]
    plans = read_plans(trial.scenario.net)
    plan = watcher.plan or plans[0]
    data = PageData(
        scenario=trial.scenario,
        plan=plan,
        signals=len(plans),
        seed=trial.seed,
        trips={outcome.trial.controller: outcome.trips for outcome in outcomes},
        look=watcher.look,
        truth=watcher.truth,
        decision_ms=ours.decision_ms,
        bits_over_time=watcher.bits[plan.signal],
        phases_over_time=watcher.phases[plan.signal],
        facts=_facts(watcher.controller.model),
        commands=[" ".join(["iotlam", *sys.argv[1:]])],
        quick=quick,
    )
    page = write_page(data, out / PAGE)
    return {"page": str(page), "trips": [outcome.as_json() for outcome in outcomes]}


def _watcher(trial: Trial) -> Watcher:
    torch.set_num_threads(1)
    controller = make_controller(trial)
    if not isinstance(controller, SensorController):
        raise BadInput("--out", expected="a run of 'iotlam'", got=f"'{trial.controller}'", fix="leave --out away")
    return Watcher(controller)


def _watch(watcher: Watcher, trial: Trial) -> Outcome:
    def step_on(street: Street) -> None:
        step(street.rules.decision_s)

    with progress(f"{watcher.name} on {trial.scenario.name}", total=int(trial.scenario.duration_s)) as step:
        trips = run_episode(watcher, trial.scenario, trial.seed, on_decision=step_on, list_trips=True)
    return Outcome(trial, trips, [1000.0 * seconds for seconds in watcher.controller.seconds])


def _facts(model: IotlamModel) -> dict[str, str]:
    share = model.trainable_share()
    return {
        "Decoder": model.config.decoder,
        "Trained by fine-tuning": f"{share.trainable:,} of {share.total:,} parameters ({100 * share.ratio:.1f} %)",
        "Sensors": ", ".join(spec.modality for spec in model.config.modalities),
    }
