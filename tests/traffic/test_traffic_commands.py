"""`iotlam traffic`, the demo and the suite as users meet them: real SUMO, shipped weights."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

import iotlam_lidar
from iotlam.cli.main import app
from iotlam.training.progress import progress
from iotlam_street.generate import generate_junction
from iotlam_street.plan import Approach
from iotlam_street.rig import SensorRig
from iotlam_street.scenarios import between, find_scenario, resco_folder
from iotlam_street.weather import WEATHERS, Weather
from iotlam_traffic.policy import SHIPPED
from iotlam_traffic.rules import RULES
from iotlam_traffic.suites.priority import measure_priority, priority_trials
from iotlam_traffic.train import TEACHING, Run, TrainConfig

RUNNER = CliRunner()
Install = Callable[..., Path]
COLOGNE = resco_folder() / "cologne1"
NET, ROUTES = str(COLOGNE / "cologne1.net.xml"), str(COLOGNE / "cologne1.rou.xml")
SHORT = ["--end", "25320"]
BROKEN = """
from iotlam_lidar import LidarModality

class Broken(LidarModality):
    def tokenize(self, frames):
        raise ZeroDivisionError("no points")
"""


def test_rules_compete_on_the_same_seeds_each_once() -> None:
    who = ["--controllers", "fixed,greedy,fixed", "--seeds", "3-4,3"]
    result = RUNNER.invoke(app, ["traffic", "evaluate", "cologne1", *SHORT, *who, "--json"])
    assert result.exit_code == 0, result.output
    episodes = json.loads(result.stdout)["episodes"]
    assert [(row["controller"], row["seed"]) for row in episodes] == [
        ("fixed", 3), ("greedy", 3), ("fixed", 4), ("greedy", 4)
    ]  # fmt: skip
    assert len({row["vehicles"] for row in episodes}) == 1, "everybody meets the same demand"


def test_ours_runs_from_sensors_on_a_users_own_net(tmp_path: Path) -> None:
    scenario = generate_junction(tmp_path, seed=5, duration_s=120.0)
    command = [
        "traffic",
        "run",
        "--net",
        str(scenario.net),
        "--routes",
        str(scenario.routes[0]),
        "--end",
        "120",
        "--json",
    ]
    first, again, other = (RUNNER.invoke(app, [*command, "--seed", seed]) for seed in ("1", "1", "2"))
    assert first.exit_code == 0, first.output
    assert json.loads(first.stdout)["trips"][0]["vehicles"] > 0
    assert first.stdout == again.stdout != other.stdout


def test_additional_files_of_a_configuration_count(tmp_path: Path) -> None:
    (tmp_path / "types.add.xml").write_text('<additional><vType id="lorry" vClass="truck"/></additional>')
    routes = '<trip id="a" type="lorry" depart="25205" from="28198821#3" to="32038051#0"/>'
    (tmp_path / "one.rou.xml").write_text(f"<routes>{routes}</routes>")
    files = {
        "net-file": COLOGNE / "cologne1.net.xml",
        "route-files": "one.rou.xml",
        "additional-files": "types.add.xml",
    }
    inputs = "".join(f'<{key} value="{value}"/>' for key, value in files.items())
    (tmp_path / "one.sumocfg").write_text(
        f'<configuration><input>{inputs}</input><time><begin value="25200"/></time></configuration>'
    )
    command = ["traffic", "run", str(tmp_path / "one.sumocfg"), "--end", "25260", "--controller", "greedy", "--json"]
    result = RUNNER.invoke(app, command)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["trips"][0]["vehicles"] == 1


def test_one_sensor_is_enough_to_run() -> None:
    for modality in ("lidar", "video", "radar"):
        result = RUNNER.invoke(app, ["traffic", "run", *SHORT, "--modalities", modality, "--json"])
        assert result.exit_code == 0, result.output


@pytest.mark.parametrize("command", ["run", "evaluate", "report"])
def test_weather_is_in_the_sensors_way(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    met = []

    def rig_in(approaches: Sequence[Approach], weather: Weather) -> SensorRig:
        met.append(weather)
        return SensorRig(approaches, weather=weather)

    monkeypatch.setattr("iotlam_traffic.site.SensorRig", rig_in)
    monkeypatch.setattr("iotlam_traffic.evaluate.run_parallel", lambda work, items, *_: [work(item) for item in items])
    who = "--controller" if command == "run" else "--controllers"
    result = RUNNER.invoke(app, ["traffic", command, "--end", "25260", who, "iotlam", "--weather", "night"])
    assert result.exit_code == 0, result.output
    assert met and set(met) == {WEATHERS["night"]}


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        ("run clogne1", ["clogne1", "did you mean 'cologne1'"]),
        ("run --controller gredy", ["gredy", "greedy"]),
        ("run --controller greedy --modalities lidar", ["--modalities", "'iotlam' in charge", "'greedy'"]),
        ("run --controller greedy --weather rain", ["--weather", "'iotlam' in charge", "'greedy'"]),
        ("run --weather hail", ["--weather", "clear, rain, night, glare, blur", "'hail'"]),
        ("run --controller greedy=runs", ["'greedy'", "no weights", "without '=runs'"]),
        ("run --controller greedy,fixed", ["--controller", "one controller"]),
        ("run --modalities lidar,smell", ["smell", "lidar, radar, video"]),
        (f"run --net absent.net.xml --routes {ROUTES}", ["absent.net.xml", "no such file"]),
        (f"run --net {NET} --routes absent.rou.xml", ["absent.rou.xml", "no such file"]),
        (f"run --net {NET}", ["--net and --routes", "only one of them"]),
        (f"run cologne1 --net {NET} --routes {ROUTES}", ["MAP", "a map, or --net and --routes", "both"]),
        ("run --end 5", ["--end", "give a later end"]),
        ("run --controller iotlam=absent", ["absent", "name the folder of a finished run"]),
        ("report --out taken/page.html", ["--out", "a folder to write to", "taken, a file"]),
        ("report --out page", ["--out", "a file that ends in .html", "'page'"]),
        ("report --controllers gredy", ["gredy", "greedy"]),
        ("report --controllers greedy --modalities lidar", ["--modalities", "'iotlam' in charge", "'greedy'"]),
        ("report clogne1", ["clogne1", "did you mean 'cologne1'"]),
        ("evaluate --controllers ''", ["--controllers", "name at least one"]),
        ("evaluate --controllers ,", ["--controllers", "name at least one"]),
        ("evaluate --controllers fixed,gredy", ["gredy", "greedy"]),
        ("evaluate --controllers fixed,greedy --weather blur", ["--weather", "'iotlam' in charge", "'fixed,greedy'"]),
        ("evaluate --seeds 5-1", ["--seeds", "'5-1'"]),
        ("evaluate --seeds 1,x", ["--seeds", "'1,x'"]),
        ("evaluate --seeds=-1", ["--seeds", "'-1'"]),
        ("evaluate --seeds 1-2147483648", ["--seeds", "'1-2147483648'"]),
        ("train --maps ''", ["--maps", "name at least one"]),
        ("train --modalities ''", ["--modalities", "name at least one"]),
        ("train --maps clogne1", ["clogne1", "did you mean 'cologne1'"]),
        ("train --decoder ./absent", ["./absent", "no such folder"]),
        ("train --out taken", ["--out", "a folder to write to"]),
        ("train --minutes 0.5 --out new", ["--minutes", "2 or more, or 0", "0.5"]),
        ("train-lanes --minutes=-3 --out new", ["--minutes", "2 or more, or 0", "-3"]),
        ("train-agent dqn cologne1 --minutes 1 --out new", ["--minutes", "2 or more, or 0"]),
        ("train-lanes --maps clogne1 --out new", ["clogne1", "did you mean 'cologne1'"]),
        ("train-lanes --maps , --out new", ["--maps", "name at least one"]),
        ("train-lanes --out taken", ["--out", "a folder to write to"]),
        ("run --controller lanes=absent", ["lanes.safetensors", "no such file"]),
        ("run --controller dqn", ["'dqn'", "the folder of its weights", "dqn=FOLDER", "train-agent"]),
        ("run --controller lanes=absent --modalities lidar", ["--modalities", "'lanes'"]),
        ("evaluate --controllers greedy,dqn", ["'dqn'", "the folder of its weights", "train-agent"]),
        ("evaluate --controllers dqn=one,dqn=two", ["--controllers", "each controller once"]),
        ("evaluate --controllers ppo=absent", ["Agent 'ppo'", "none in absent", "train-agent"]),
        ("train-agent a3c cologne1 --out new", ["Algorithm", "dqn or ppo", "'a3c'"]),
        ("train-agent dqn clogne1 --out new", ["clogne1", "did you mean 'cologne1'"]),
        ("train-agent ppo cologne1 --out taken", ["--out", "a folder to write to"]),
        ("run --controller greedy --tripinfo taken/trips.xml", ["--tripinfo", "taken, a file"]),
    ],
)
def test_a_wrong_input_is_one_sentence_and_leaves_nothing(
    command: str,
    parts: list[str],
    tmp_path: Path,
    temporary: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "taken").touch()
    words = shlex.split(command)
    result = RUNNER.invoke(app, ["traffic", *words])
    assert result.exit_code == 2, result.output
    (sentence,) = result.stderr.strip().splitlines()
    assert "expected" in sentence and "got" in sentence and all(part in sentence for part in parts), sentence
    assert result.stdout == "" and capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["taken", "temporary"]
    assert not list(temporary.iterdir())


@pytest.mark.parametrize(
    "command", ["run --seed -1", "run --seed 2147483648", "evaluate --workers 0", "train --seed -1"]
)
def test_a_number_out_of_range_is_wrong_usage(command: str) -> None:
    result = RUNNER.invoke(app, ["traffic", *command.split()])
    assert result.exit_code == 2 and "not in the range" in result.stderr


def test_the_console_script_exits_2_without_a_traceback(temporary: Path) -> None:
    """In a process of its own, as a shell meets it: SUMO prints beside Python."""
    routes = resco_folder() / "ingolstadt1" / "ingolstadt1.rou.xml"
    script = str(Path(sys.executable).with_name("iotlam"))
    command = ["traffic", "run", "--net", NET, "--routes", str(routes), "--begin", "57600", "--end", "57700"]
    result = subprocess.run([script, *command, "--controller", "greedy"], capture_output=True, text=True, check=False)
    assert result.returncode == 2 and result.stdout == ""
    (sentence,) = result.stderr.strip().splitlines()
    assert "ingolstadt1.rou.xml" in sentence and "not known" in sentence
    assert not list(temporary.iterdir())


def test_the_options_of_train_are_those_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[tuple[Path, TrainConfig]] = []

    def note(self: Run, folder: Path, config: TrainConfig) -> None:
        begun.append((folder, config))
        self.folder = folder

    monkeypatch.setattr(Run, "__init__", note)
    monkeypatch.setattr(Run, "go", lambda self: self.folder)
    options = "--maps cologne1,mine.sumocfg,cologne1 --modalities video,lidar,video --decoder ./mine --seed 3"
    numbers = "--turns 2 --minutes 15 --teacher mine --steps 7 --revisit 1 --rounds 4 --workers 6"
    result = RUNNER.invoke(app, ["traffic", "train", "--out", str(tmp_path), *options.split(), *numbers.split()])
    assert result.exit_code == 0 and str(tmp_path) in result.stdout
    wanted = TrainConfig(
        maps=("cologne1", "mine.sumocfg", "cologne1"),
        turns=2,
        span_s=900.0,
        teacher="mine",
        modalities=("video", "lidar"),
        decoder="./mine",
        imitation=replace(TEACHING, steps=7, seed=3),
        revisit=1,
        rounds=4,
        workers=6,
        seed=3,
    )
    assert begun == [(tmp_path, wanted)]


@pytest.mark.slow
def test_a_lane_policy_is_trained_and_put_in_charge(short_config: Path, tmp_path: Path) -> None:
    options = ["--maps", f"{short_config},random", "--rounds", "1", "--generations", "1", "--minutes", "2"]
    run = RUNNER.invoke(app, ["traffic", "train-lanes", *options, "--episodes", "1", "--out", str(tmp_path / "run")])
    assert run.exit_code == 0 and "lanes.safetensors" in run.stdout
    trips = tmp_path / "trips.xml"
    command = ["traffic", "run", str(short_config), "--controller", f"lanes={tmp_path / 'run'}"]
    result = RUNNER.invoke(app, [*command, "--tripinfo", str(trips), "--json"])
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["trips"]
    assert row["vehicles"] > 10 and trips.read_text().count("<tripinfo ") == row["vehicles"] - row["never_departed"]


def test_train_without_options_is_the_default_run(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[TrainConfig] = []
    monkeypatch.setattr(Run, "__init__", lambda self, folder, config: begun.append(config))
    monkeypatch.setattr(Run, "go", lambda self: "there")
    assert RUNNER.invoke(app, ["traffic", "train"]).exit_code == 0
    assert begun == [TrainConfig()]


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(SHIPPED, other)
    config = json.loads((other / "config.json").read_text())
    config["fusion"]["d_fusion"] *= 2
    (other / "config.json").write_text(json.dumps(config))
    result = RUNNER.invoke(app, ["traffic", "run", *SHORT, "--controller", f"iotlam={other}"])
    assert result.exit_code == 2 and "iotlam.safetensors" in result.stderr


def test_a_plugin_that_raises_is_named_and_the_others_go_on(install: Install, caplog: pytest.LogCaptureFixture) -> None:
    manifest = (Path(iotlam_lidar.__file__).parent / "modality.toml").read_text()
    install("acme_lidar", BROKEN, {"iotlam.modalities": {"lidar": "acme_lidar:Broken"}}, {"modality.toml": manifest})
    result = RUNNER.invoke(app, ["traffic", "run", *SHORT])
    assert result.exit_code == 0, result.output
    assert [r.message for r in caplog.records if "going on without lidar" in r.message and "no points" in r.message]


@pytest.mark.slow
def test_the_demo_ends_in_a_page(tmp_path: Path) -> None:
    result = RUNNER.invoke(app, ["demo", "traffic", "--quick", "--out", str(tmp_path), "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    page = Path(answer["page"]).read_text()
    assert {row["controller"] for row in answer["trips"]} == {"iotlam", *RULES}
    assert "http://" not in page.replace("http://www.w3.org", "") and "<script src" not in page
    for row in answer["trips"]:
        assert row["controller"] in page


def test_a_report_of_rules_on_a_users_own_net_with_people(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    scenario = generate_junction(tmp_path / "net", seed=3, duration_s=300.0, people=True)
    files = ["--net", str(scenario.net), "--routes", str(scenario.routes[0]), "--end", "300"]
    options = ["--controllers", "fixed,greedy", "--priority-share", "0.1", "--favour", "--out", "new/page.html"]
    result = RUNNER.invoke(app, ["traffic", "report", *files, *options, "--json"])
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert [row["controller"] for row in answer["trips"]] == ["fixed", "greedy"]
    assert all(row["people"] > 0 and row["priority"] > 0 for row in answer["trips"])
    page = (tmp_path / answer["page"]).read_text()
    assert "Priority vehicles" in page and "people walk" in page and "One decision" not in page
    assert len(re.findall(r"from the [\w-]+", page)) >= 5


def test_priority_is_measured_in_pairs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    known = find_scenario("cologne1")
    trials = priority_trials("greedy", [between(known, known.begin_s, known.begin_s + 600.0)], [101, 102])
    assert [(trial.seed, trial.rules.priority) for trial in trials] == [
        (101, False), (101, True), (102, False), (102, True)
    ]  # fmt: skip
    rows, metrics = measure_priority(trials, progress)
    assert [row["favoured"] for row in rows] == [False, True] * 2 and all(row["priority"] > 0 for row in rows)
    off, on = rows[0], rows[1]
    other_off, other_on = rows[2], rows[3]
    changes = [b["priority_waiting_s"] / a["priority_waiting_s"] - 1.0 for a, b in ((off, on), (other_off, other_on))]
    assert metrics["priority_wait_change"].value == pytest.approx(sum(changes) / 2, abs=1e-3)
    costs = [b["others_delay_s"] / a["others_delay_s"] - 1.0 for a, b in ((off, on), (other_off, other_on))]
    assert metrics["priority_cost_to_others"].value == pytest.approx(sum(costs) / 2, abs=1e-3)
