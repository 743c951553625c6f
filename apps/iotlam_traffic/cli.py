"""`iotlam traffic`: scenarios, run, evaluate, report, train."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from iotlam.cli.output import print_rows
from iotlam.contracts import BadInput, Json, check_page_path, check_writable
from iotlam_street.scenarios import RESCO, Scenario, between, find_scenario, scenario_from_files
from iotlam_street.weather import CLEAR, WEATHERS, Weather
from iotlam_traffic.curriculum import LEARNT_MAPS

MAX_SEED = 2**31 - 1
"""SUMO's seeds are 32-bit integers."""

MAX_EPISODES = 1000

app = typer.Typer(no_args_is_help=True, help="Traffic lights decided from sensors.")

Map = Annotated[str | None, typer.Argument(help="A RESCO map or a .sumocfg file; default: cologne1.")]
Net = Annotated[Path | None, typer.Option(help="Your own SUMO net (.net.xml), instead of MAP.")]
Routes = Annotated[list[Path] | None, typer.Option(help="Its demand (.rou.xml); may be given several times.")]
Begin = Annotated[float | None, typer.Option(help="First simulated second.")]
End = Annotated[float | None, typer.Option(help="Last simulated second; default: the map's, or an hour after --begin.")]
Modalities = Annotated[str, typer.Option(help="Sensors to use, comma-separated; default: all.")]
WeatherName = Annotated[str, typer.Option(help=f"What is in the sensors' way: {', '.join(WEATHERS)}.")]
Maps = Annotated[
    str, typer.Option(help="RESCO maps, .sumocfg files or 'random', comma-separated; one episode each a round.")
]
Minutes = Annotated[
    float, typer.Option(help="Length of an episode, cut from the map's hour at random; 0 for all of it.")
]
Seed = Annotated[int, typer.Option(min=0, max=MAX_SEED, help="Seed of SUMO and of the sensors' noise.")]
TrainingSeed = Annotated[int, typer.Option(min=0, max=10_000, help="Seed of everything.")]
ONE_ROUND = ",".join(LEARNT_MAPS)
DEFAULT_MAP = "cologne1"
WHO = (
    "Through sensors only: iotlam, or iotlam=FOLDER for your own weights. Rules: fixed, actuated, delay-based, greedy, "
    "max-pressure, webster, discharge. Trained on the simulator's state: lanes=FOLDER, dqn=FOLDER, ppo=FOLDER."
)
Controllers = Annotated[str, typer.Option(help=f"Who competes, comma-separated. {WHO}")]
COMPETING = "iotlam,fixed,actuated,greedy,max-pressure"
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def scenarios(as_json: AsJson = False) -> None:
    """List the maps that come with iotlam.

    Example: iotlam traffic scenarios
    """
    from iotlam_street.plan import read_plans

    rows: list[Json] = []
    for name in RESCO:
        scenario = find_scenario(name)
        plans = read_plans(scenario.net)
        rows.append(
            {
                "map": name,
                "seconds": scenario.duration_s,
                "junctions": len(plans),
                "lanes": sum(plan.serves_PK.shape[1] for plan in plans),
                "phases": sum(plan.serves_PK.shape[0] for plan in plans),
            }
        )
    print_rows(rows, as_json)


@app.command()
def run(
    map_name: Map = None,
    net: Net = None,
    routes: Routes = None,
    begin: Begin = None,
    end: End = None,
    controller: Annotated[str, typer.Option(help=f"Who is in charge. {WHO}")] = "iotlam",
    modalities: Modalities = "",
    weather: WeatherName = "clear",
    seed: Seed = 1,
    tripinfo: Annotated[Path | None, typer.Option(help="File for SUMO's own list of trips (XML).")] = None,
    gui: Annotated[bool, typer.Option("--gui", help="Watch it in SUMO's window.")] = False,
    as_json: AsJson = False,
) -> None:
    """Run one controller for one episode.

    Examples: iotlam traffic run ingolstadt1 --controller greedy --seed 3

    iotlam traffic run cologne8 --controller greedy --gui

    iotlam traffic run cologne1 --weather night --modalities lidar,video
    """
    from iotlam.training.progress import progress
    from iotlam_traffic.evaluate import Trial, run_trial

    ((name, weights),) = _charged("--controller", controller, most=1)
    sensors, in_weather = _sensing([name], modalities, weather)
    if tripinfo is not None:
        check_writable("--tripinfo", tripinfo.parent)
    scenario = _scenario(map_name, net, routes, begin, end)
    trial = Trial(name, scenario, seed, weights, sensors, tripinfo, gui, weather=in_weather)
    with progress(f"{name} on {trial.scenario.name}", total=int(trial.scenario.duration_s)) as step:
        row = run_trial(trial, lambda street: step(street.rules.decision_s)).as_json()
    print_rows([row], as_json, {"trips": [row]})


@app.command()
def evaluate(
    map_name: Map = None,
    net: Net = None,
    routes: Routes = None,
    begin: Begin = None,
    end: End = None,
    controllers: Controllers = COMPETING,
    seeds: Annotated[str, typer.Option(help="SUMO seeds: '1-5' or '1,3,8'. Training uses those from 100000.")] = "1-5",
    modalities: Modalities = "",
    weather: WeatherName = "clear",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    as_json: AsJson = False,
) -> None:
    """Compare controllers over several seeds: median and worst delay over all vehicles.

    Examples: iotlam traffic evaluate --net my.net.xml --routes my.rou.xml --end 3600 --seeds 1-10

    iotlam traffic evaluate cologne3 --controllers lanes=runs/lanes,dqn=runs/dqn,greedy
    """
    from iotlam.training.progress import progress
    from iotlam_traffic.evaluate import Trial, run_trials, summarise

    competing = _charged("--controllers", controllers)
    sensors, in_weather = _sensing([name for name, _ in competing], modalities, weather)
    scenario = _scenario(map_name, net, routes, begin, end)
    trials = [
        Trial(name, scenario, seed, weights, sensors, weather=in_weather)
        for seed in _seeds(seeds)
        for name, weights in competing
    ]
    with progress(f"Episodes on {scenario.name}", total=len(trials)) as step:
        outcomes = run_trials(trials, workers, lambda _: step(1))
    summary = summarise(outcomes)
    print_rows(summary, as_json, {"summary": summary, "episodes": [outcome.as_json() for outcome in outcomes]})


@app.command()
def report(
    map_name: Map = None,
    net: Net = None,
    routes: Routes = None,
    begin: Begin = None,
    end: End = None,
    controllers: Controllers = COMPETING,
    modalities: Modalities = "",
    weather: WeatherName = "clear",
    seed: Seed = 1,
    priority_share: Annotated[
        float, typer.Option(min=0.0, max=1.0, help="Share of vehicles with priority, beside those of class emergency.")
    ] = 0.0,
    favour: Annotated[bool, typer.Option("--favour", help="Priority vehicles get the green that they need.")] = False,
    out: Annotated[Path, typer.Option(help="The page (.html).")] = Path("report.html"),
    as_json: AsJson = False,
) -> None:
    """Compare controllers on one seed, in a page: delays, queues, what the sensors saw, bits, the table.

    Examples: iotlam traffic report ingolstadt1 --controllers iotlam,actuated,greedy --out page.html

    iotlam traffic report my.sumocfg --priority-share 0.01 --favour
    """
    from iotlam_street.junction import SignalRules
    from iotlam_traffic.evaluate import Trial
    from iotlam_traffic.show import show_runs

    competing = _charged("--controllers", controllers)
    sensors, in_weather = _sensing([name for name, _ in competing], modalities, weather)
    check_page_path("--out", out)
    scenario = replace(_scenario(map_name, net, routes, begin, end), priority_share=priority_share)
    rules = SignalRules(priority=favour)
    trials = [
        Trial(name, scenario, seed, weights, sensors, rules=rules, weather=in_weather) for name, weights in competing
    ]
    result = show_runs(trials, out)
    typer.echo(f"page: {result['page']}", err=True)
    print_rows(result["trips"], as_json, result)


@app.command()
def train(
    out: Annotated[Path, typer.Option(help="Folder of the run; started again, it resumes.")] = Path("runs/traffic"),
    maps: Maps = ONE_ROUND,
    turns: Annotated[int, typer.Option(min=1, help="Rounds of episodes in which the teacher acts.")] = 3,
    steps: Annotated[int, typer.Option(min=1, help="Steps of imitation.")] = 4000,
    revisit: Annotated[int, typer.Option(min=0, help="Rounds in which the student acts (DAgger).")] = 3,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of PPO.")] = 2,
    minutes: Minutes = 0.0,
    teacher: Annotated[
        Path | None, typer.Option(help="Folder of the lane policy that teaches; default: the shipped one.")
    ] = None,
    modalities: Annotated[str, typer.Option(help="Sensors, comma-separated.")] = "lidar,radar,video",
    decoder: Annotated[str, typer.Option(help="Preset, folder or hub name of the decoder.")] = "nano",
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    seed: TrainingSeed = 0,
) -> None:
    """Train a policy: imitate a teacher that sees all, then reinforce from sensors alone.

    Ctrl-C leaves a run that the same command resumes; a finished one goes on with more --rounds.

    Example: iotlam traffic train --out runs/mine --maps cologne1,my.sumocfg,random --rounds 4
    """
    from iotlam_traffic.lanes import SHIPPED as LANES
    from iotlam_traffic.train import TEACHING, Run, TrainConfig

    config = TrainConfig(
        maps=_some("--maps", maps, once=False),
        turns=turns,
        span_s=_span_s(minutes),
        teacher=str(teacher or LANES),
        modalities=_some("--modalities", modalities),
        decoder=decoder,
        imitation=replace(TEACHING, steps=steps, seed=seed),
        revisit=revisit,
        rounds=rounds,
        workers=workers,
        seed=seed,
    )
    typer.echo(f"policy in {Run(out, config).go()}")


@app.command("train-lanes")
def train_lanes(
    out: Annotated[Path, typer.Option(help="Folder of the run; started again, it resumes.")] = Path("runs/lanes"),
    maps: Maps = ONE_ROUND,
    rounds: Annotated[int, typer.Option(min=0, help="Rounds of PPO.")] = 60,
    generations: Annotated[int, typer.Option(min=0, help="Generations of looking ahead after that.")] = 7,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of each map in a generation.")] = 1,
    minutes: Minutes = 0.0,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    seed: TrainingSeed = 0,
) -> None:
    """Train a small policy on lane state, from nothing: a teacher that sees what the simulator knows.

    Ctrl-C leaves a run that the same command resumes; a finished one goes on with more --generations. Then, for one:
    iotlam traffic evaluate cologne3 --controllers lanes=runs/lanes,greedy

    Example: iotlam traffic train-lanes --maps cologne1,my.sumocfg --rounds 30 --generations 2
    """
    from iotlam_traffic.train_lanes import LaneRun, LaneRunConfig

    names = _some("--maps", maps, once=False)
    config = LaneRunConfig(names, rounds, generations, episodes, _span_s(minutes), workers=workers, seed=seed)
    typer.echo(f"weights in {LaneRun(out, config).go()}")


@app.command("train-agent")
def train_agent(
    algorithm: Annotated[str, typer.Argument(help="dqn or ppo.")],
    map_name: Annotated[str, typer.Argument(metavar="MAP", help="A RESCO map or a .sumocfg file.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the agent; default: runs/ALGORITHM.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to learn from.")] = 100,
    minutes: Minutes = 0.0,
    seed: TrainingSeed = 0,
) -> None:
    """Train a rival: an agent of Stable-Baselines3 that sees and is paid as sumo-rl's are, for one map.

    Then: iotlam traffic evaluate cologne3 --controllers dqn=runs/dqn,greedy

    Example: iotlam traffic train-agent dqn cologne3 --out runs/dqn
    """
    from iotlam.training.progress import progress
    from iotlam_traffic.rivals.training import AgentConfig
    from iotlam_traffic.rivals.training import train_agent as train_it

    config = AgentConfig(algorithm, map_name, episodes, _span_s(minutes), seed)
    with progress(f"{algorithm} on {map_name}", total=episodes) as step:
        folder = train_it(config, out or Path("runs") / algorithm, lambda delay_s: step(1, delay_s=delay_s))
    typer.echo(f"agent in {folder}")


def _scenario(
    map_name: str | None, net: Path | None, routes: list[Path] | None, begin: float | None, end: float | None
) -> Scenario:
    if (net is None) != (not routes):
        raise BadInput(
            "--net and --routes",
            expected="both or neither",
            got="only one of them",
            fix="give the demand with its net",
        )
    if net is not None and map_name is not None:
        raise BadInput("MAP", expected="a map, or --net and --routes", got="both", fix="leave one of them away")
    if net is not None and routes:
        first_s = begin or 0.0
        return scenario_from_files(net, routes, first_s, first_s + 3600.0 if end is None else end)
    known = find_scenario(map_name or DEFAULT_MAP)
    return between(known, known.begin_s if begin is None else begin, known.end_s if end is None else end)


def _span_s(minutes: float) -> float | None:
    """Seconds of an episode; None for all of it.

    Raises:
        BadInput: if they are too few to decide anything in.
    """
    if minutes != 0.0 and not minutes >= 2.0:
        got, fix = f"{minutes:g}", "lengthen the episodes"
        raise BadInput("--minutes", expected="2 or more, or 0 for the map's whole hour", got=got, fix=fix)
    return 60.0 * minutes or None


def _names(text: str, once: bool = True) -> tuple[str, ...]:
    """Names from a comma-separated list, each once or as often as it is named."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    return tuple(dict.fromkeys(names) if once else names)


def _some(option: str, text: str, once: bool = True) -> tuple[str, ...]:
    """At least one name.

    Raises:
        BadInput: if there is none.
    """
    if not (names := _names(text, once)):
        raise BadInput(option, expected="comma-separated names", got="none", fix="name at least one")
    return names


def _charged(option: str, text: str, most: int = MAX_EPISODES) -> list[tuple[str, Path | None]]:
    """Controllers from a comma-separated list such as 'greedy,lanes=runs/lanes', and the folders of their weights.

    Raises:
        BadInput: if there are none or too many, or one is named with several folders.
    """
    found = [entry.partition("=") for entry in _some(option, text)]
    names = [name for name, _, _ in found]
    if len(set(names)) < len(names) or len(names) > most:
        got = f"'{text}'"
        raise BadInput(
            option, expected="one controller" if most == 1 else "each controller once", got=got, fix="name it once"
        )
    return [(name, Path(folder) if folder else None) for name, _, folder in found]


def _sensing(controllers: Sequence[str], modalities: str, weather: str) -> tuple[tuple[str, ...], Weather]:
    """Which sensors are used (none for all), and what is in their way.

    Raises:
        BadInput: if there is no such weather, or if no one competes who has sensors.
    """
    from iotlam_traffic.evaluate import OURS

    if weather not in WEATHERS:
        known = ", ".join(WEATHERS)
        raise BadInput("--weather", expected=f"one of {known}", got=f"'{weather}'", fix="name one of them")
    given = [
        option for option, chosen in (("--modalities", modalities), ("--weather", WEATHERS[weather] != CLEAR)) if chosen
    ]
    if given and OURS not in controllers:
        got, fix = f"'{','.join(controllers)}'", "leave it away: the others have no sensors"
        raise BadInput(given[0], expected=f"'{OURS}' in charge", got=got, fix=fix)
    return _names(modalities), WEATHERS[weather]


def _seeds(text: str) -> list[int]:
    """Seeds from '1-5' or '1,3,8', each once.

    Raises:
        BadInput: if that is not what the text is, or there are more than `MAX_EPISODES`.
    """
    spans = [re.fullmatch(r"(\d+)(?:-(\d+))?", part.strip()) for part in text.split(",")]
    ends = [(int(span[1]), int(span[2] or span[1])) for span in spans if span]
    count = sum(last - first + 1 for first, last in ends)
    sound = len(ends) == len(spans) and all(first <= last <= MAX_SEED for first, last in ends)
    if not sound or count > MAX_EPISODES:
        raise BadInput(
            "--seeds",
            expected=f"at most {MAX_EPISODES} seeds such as 1-5 or 1,3,8",
            got=f"'{text}'",
            fix="list them or give a rising range",
        )
    return list(dict.fromkeys(seed for first, last in ends for seed in range(first, last + 1)))
