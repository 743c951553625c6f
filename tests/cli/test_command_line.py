from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

import iotlam
from iotlam.cli.main import app

CODE = """
import typer
from iotlam.contracts import BadInput

app = typer.Typer()

@app.command()
def ring(error: str = "") -> None:
    if error == "input":
        raise BadInput("Bell", expected="a bell", got="none", fix="hang one")
    if error == "bug":
        raise KeyError("clapper")
    if error == "none":
        import anvil.tools
    if error == "ours":
        import iotlam.anvil
    if error == "stop":
        raise KeyboardInterrupt
    typer.echo("ding")

@app.command()
def mute() -> None:
    pass

def demo(out, seed, quick):
    return {"out": out, "seed": seed, "quick": quick}
"""
Install = Callable[..., Path]
RUNNER = CliRunner()
AGAIN = "run it again with --debug to see where"


@pytest.fixture
def bell(install: Install) -> None:
    points = {"iotlam.commands": {"bell": "acme_bell:app"}, "iotlam.demos": {"bell": "acme_bell:demo"}}
    install("acme_bell", CODE, points)


def test_version() -> None:
    assert RUNNER.invoke(app, ["--version"]).stdout.strip() == f"iotlam {iotlam.__version__}"


def test_help_lists_an_apps_commands_without_importing_it(bell: None) -> None:
    result = RUNNER.invoke(app, ["--help"])
    assert result.exit_code == 0 and "acme_bell" in result.stdout and "doctor" in result.stdout
    assert "acme_bell" not in sys.modules


def test_an_apps_command_runs_and_has_its_own_help(bell: None) -> None:
    assert RUNNER.invoke(app, ["bell", "ring"]).stdout.strip() == "ding"
    assert "ring" in RUNNER.invoke(app, ["bell", "--help"]).stdout


@pytest.mark.parametrize(
    ("error", "status", "sentence"),
    [
        ("input", 2, "iotlam: Bell: expected a bell, got none; hang one."),
        ("bug", 1, f"iotlam: unexpected KeyError: 'clapper'; {AGAIN}"),
        (
            "none",
            2,
            "iotlam: anvil: expected to be installed, got no such package; 'iotlam doctor' says how to get it.",
        ),
        ("ours", 1, f"iotlam: unexpected ModuleNotFoundError: No module named 'iotlam.anvil'; {AGAIN}"),
        ("stop", 130, "iotlam: stopped; run the same command again to go on or start over"),
    ],
)
def test_errors_end_in_one_sentence_and_a_status(bell: None, error: str, status: int, sentence: str) -> None:
    result = RUNNER.invoke(app, ["bell", "ring", "--error", error])
    assert result.exit_code == status and result.stderr.strip() == sentence and result.stdout == ""


@pytest.mark.parametrize("arguments", [["--debug", "bell", "ring"], ["bell", "ring", "--debug"]])
def test_debug_lets_errors_through_wherever_it_stands(bell: None, arguments: list[str]) -> None:
    result = RUNNER.invoke(app, [*arguments, "--error", "bug"])
    assert isinstance(result.exception, KeyError)


def test_a_command_that_cannot_be_loaded_is_told(install: Install) -> None:
    install("acme_broken", "import no_such_module", {"iotlam.commands": {"broken": "acme_broken:app"}})
    assert "broken" in RUNNER.invoke(app, ["--help"]).stdout
    result = RUNNER.invoke(app, ["broken"])
    assert result.exit_code == 2 and "no_such_module" in result.stderr and "doctor" in result.stderr


@pytest.mark.parametrize(
    ("group", "arguments"),
    [("iotlam.demos", ["demo", "broken"]), ("iotlam.streams", ["pretrain", "--streams", "broken", "--out", "decoder"])],
)
def test_what_cannot_be_loaded_is_told(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, arguments: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    install("acme_broken", "import no_such_module", {group: {"broken": "acme_broken:it"}})
    result = RUNNER.invoke(app, arguments)
    assert result.exit_code == 2 and "'broken'" in result.stderr and "no_such_module" in result.stderr


def test_sigterm_unwinds() -> None:
    """A service manager ends us with SIGTERM: what cleans up on leaving must get its turn."""
    code = (
        "import os, signal\n"
        "from iotlam.cli import main\n"
        "def app(**_):\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM); signal.pause()\n"
        "    finally:\n"
        "        print('tidied')\n"
        "main.app = app\n"
        "main.run()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (143, "tidied")


@pytest.mark.parametrize("arguments", [["doctr"], ["demo", "--seed", "x"], ["sensors", "list", "--what"]])
def test_wrong_usage_exits_2(arguments: list[str]) -> None:
    assert RUNNER.invoke(app, arguments).exit_code == 2


def test_a_demo_gets_its_options(bell: None) -> None:
    result = RUNNER.invoke(app, ["demo", "bell", "--out", "there", "--seed", "3", "--json"])
    assert json.loads(result.stdout) == {"out": "there", "seed": 3, "quick": False}
    assert "one of bell, faults, federated, sensors, traffic" in RUNNER.invoke(app, ["demo", "nothing"]).stderr


def test_doctor_names_what_is_missing_and_how_to_get_it(install: Install, monkeypatch: pytest.MonkeyPatch) -> None:
    install("acme_mute", "", {"iotlam.modalities": {"mute": "acme_mute:Mute"}})
    monkeypatch.setenv("IOTLAM_DATA", "/no/such/folder")
    report = json.loads(RUNNER.invoke(app, ["doctor", "--json"]).stdout)
    checks = {check["name"]: check for check in report["checks"]}
    assert checks["torch"]["ok"] and checks["torch"]["core"] and not checks["libsumo [traffic]"]["core"]
    assert not checks["modality mute"]["ok"] and "acme_mute" in checks["modality mute"]["fix"]
    assert not checks["IOTLAM_DATA"]["ok"]
    assert report["complete"] == all(check["ok"] for check in report["checks"] if check["core"])


def test_doctor_fails_when_a_core_dependency_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = tmp_path / "iotlam-9.dist-info"
    info.mkdir()
    needs = "Requires-Dist: no-such-core>=1\nRequires-Dist: no-such-extra ; extra == 'radio'\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: iotlam\nVersion: 9\n{needs}")
    monkeypatch.syspath_prepend(str(tmp_path))
    result = RUNNER.invoke(app, ["doctor"])
    assert result.exit_code == 1 and "pip install no-such-core" in result.stdout
    assert "pip install 'iotlam[radio]'" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--zzzz"], "iotlam: no such option '--zzzz'; see 'iotlam --help'.\n"),
        (["qqqq"], "iotlam: no such command 'qqqq'; see 'iotlam --help'.\n"),
        (["bench"], "iotlam: missing argument 'SUITE'; see 'iotlam bench --help'.\n"),
        (["demo", "--seed", "x"], "see 'iotlam demo --help'.\n"),
        (["sensors", "lst"], "'lst'. Did you mean 'list'?; see 'iotlam sensors --help'.\n"),
    ],
)
def test_a_wrong_usage_ends_in_one_sentence(arguments: list[str], sentence: str) -> None:
    result = RUNNER.invoke(app, arguments, prog_name="iotlam")
    assert result.exit_code == 2 and result.stdout == "" and result.stderr.count("\n") == 1
    assert result.stderr.endswith(sentence)
