"""Suite `traffic-rules`: the rivals, untrained and trained, on every map of RESCO."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from iotlam.bench.statistics import median_ci95
from iotlam.bench.suite import Metric, Progress, SuiteResult, figure
from iotlam.contracts import Json
from iotlam.training.parallel import run_parallel
from iotlam_street.plan import read_plans
from iotlam_street.scenarios import RESCO, Scenario, find_scenario
from iotlam_traffic.curriculum import TEST_SEEDS
from iotlam_traffic.discharge import Discharge
from iotlam_traffic.evaluate import Outcome, Trial, gridlocked
from iotlam_traffic.rivals.agent import ALGORITHMS
from iotlam_traffic.rivals.training import AgentConfig, train_agent
from iotlam_traffic.rules import RULES
from iotlam_traffic.suites.episodes import QUICK_SEEDS, WORKERS, quick_scenario, run_all

RIVALS = (*RULES, Discharge.name, *ALGORITHMS)
AGENTS = Path("benchmarks/agents")
"""Where the agents are kept, one folder for each algorithm and map; one that is missing is trained."""

QUICK_AGENTS = Path("runs/agents")

EPISODES, SPAN_S, SMALL_NET = 100, 1200.0, 3
"""Episodes that an agent learns from, as many as RESCO's; whole hours where a map has at most three signals, else 20
minutes, which keeps the training of all within an hour and a half on one core."""


@dataclass(frozen=True, slots=True)
class Field:
    """Who competes where.

    Attributes:
        scenarios: the maps.
        seeds: of SUMO; no agent has trained on them.
        episodes: that agents learn from.
        spans_s: length of an episode on nets of at most `SMALL_NET` signals, and on larger ones; None for all of it.
        agents: folder of the agents.
    """

    scenarios: tuple[Scenario, ...]
    seeds: tuple[int, ...]
    episodes: int
    spans_s: tuple[float | None, float]
    agents: Path

    @classmethod
    def of(cls, quick: bool) -> Field:
        """All of RESCO, or ten minutes of two maps."""
        if quick:
            short = quick_scenario("cologne1"), quick_scenario("cologne3")
            return cls(short, QUICK_SEEDS, 2, (300.0, 300.0), QUICK_AGENTS)
        return cls(tuple(map(find_scenario, RESCO)), TEST_SEEDS, EPISODES, (None, SPAN_S), AGENTS)

    def agent(self, algorithm: str, scenario: Scenario) -> tuple[AgentConfig, Path]:
        """How one agent is trained, and its folder."""
        span_s = self.spans_s[len(read_plans(scenario.net)) > SMALL_NET]
        return AgentConfig(algorithm, scenario.name, self.episodes, span_s), self.agents / algorithm / scenario.name

    def trials(self, scenario: Scenario, seed: int) -> list[Trial]:
        """Everybody on one map and seed."""
        weights = {name: self.agent(name, scenario)[1] for name in ALGORITHMS}
        return [Trial(name, scenario, seed, weights.get(name)) for name in RIVALS]


def rules(quick: bool, progress: Progress) -> SuiteResult:
    """Delay of each rival on each map and seed; agents that are missing are trained first.

    Args:
        quick: two maps, two seeds, ten minutes and hardly any training, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    field = Field.of(quick)
    train(field, progress)
    groups = [field.trials(scenario, seed) for scenario in field.scenarios for seed in field.seeds]
    trials = [trial for group in groups for trial in group]
    outcomes = run_all("Episodes of the rivals", trials, progress)
    size = len(RIVALS)
    rows = [row for first in range(0, len(outcomes), size) for row in judged(outcomes[first : first + size])]
    return SuiteResult("traffic-rules", rows, figures(field, rows), time.monotonic() - start)


def train(field: Field, progress: Progress) -> None:
    """Train the agents that are missing, those of large nets first."""
    agents = [field.agent(name, scenario) for scenario in field.scenarios for name in ALGORITHMS]
    agents.sort(key=lambda agent: -len(read_plans(find_scenario(agent[0].map).net)))
    with progress("Training the agents", len(agents)) as step:
        run_parallel(_train, agents, WORKERS, lambda _: step(1))


def _train(agent: tuple[AgentConfig, Path]) -> Path:
    config, folder = agent
    return train_agent(config, folder, lambda _: None)


def judged(outcomes: Sequence[Outcome]) -> list[Json]:
    """Rows of everybody on one map and seed, with whether traffic broke down."""
    return [
        {**one.as_json(), "gridlock": gridlocked(one, [other for other in outcomes if other is not one])}
        for one in outcomes
    ]


def figures(field: Field, rows: Sequence[Json]) -> dict[str, Metric]:
    """Median and worst delay of each rival on each map; how many competed, where and how often."""
    seeds = len(field.seeds)
    found = {
        "controllers": figure(len({row["controller"] for row in rows}), 1, least=8),
        "maps": figure(len({row["scenario"] for row in rows}), 1, least=8),
        "seeds": figure(len({row["seed"] for row in rows}), 1, least=10),
    }
    for scenario in field.scenarios:
        for name in RIVALS:
            delays_s = [row["delay_s"] for row in rows if (row["scenario"], row["controller"]) == (scenario.name, name)]
            median, ci95 = median_ci95(delays_s)
            key = f"delay_{scenario.name}_{name.replace('-', '_')}"
            found[f"{key}_s"] = figure(median, seeds, unit="s", ci95=ci95)
            found[f"{key}_worst_s"] = figure(max(delays_s), seeds, unit="s")
    return found
