from __future__ import annotations

import json
import math
import random
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import iotlam
from iotlam.bench import Metric, SuiteResult, describe_host, median_ci95, run_suite, write_result
from iotlam.bench.suite import default_path
from iotlam.contracts import BadInput

SUITE = """
from iotlam.bench import Metric, SuiteResult

def toy(quick, progress):
    with progress("Toy", total=2) as step:
        step(2, loss=0.5)
    value = 1.0 if quick else 2.0
    return SuiteResult("toy", [{"seed": 0, "value": value}], {"toy_s": Metric(value, "s", "", "", None, 1, None)}, 0.1)
"""
Install = Callable[..., Path]


@pytest.fixture
def toy(install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    install("acme_toy", SUITE, {"iotlam.suites": {"toy": "acme_toy:toy"}})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_suite_is_found_run_and_written(toy: Path) -> None:
    assert run_suite("toy").metrics["toy_s"].value == 2.0
    written = json.loads((toy / "benchmarks/results/toy.json").read_text())
    assert set(written) == {"suite", "version", "commit", "host", "seconds", "rows", "metrics"}
    assert set(written["host"]) == {"cpu", "cores", "load", "threads"} and written["host"]["cores"] >= 1
    assert set(written["metrics"]["toy_s"]) == {"value", "unit", "anchor", "target", "met", "n", "ci95"}
    assert written["version"] == iotlam.__version__ and written["rows"] == [{"seed": 0, "value": 2.0}]


def test_a_quick_run_leaves_quotable_figures_alone(toy: Path) -> None:
    run_suite("toy", quick=True)
    assert not default_path("toy", quick=False).exists() and default_path("toy", quick=True).exists()
    run_suite("toy", quick=True, json_path=Path("deep/mine.json"))
    assert json.loads((toy / "deep/mine.json").read_text())["rows"][0]["value"] == 1.0


def test_a_wrong_suite_or_file_is_told_before_measuring(toy: Path) -> None:
    with pytest.raises(BadInput, match=r"skeleton, toy.*perhaps 'toy'"):
        run_suite("toi")
    (toy / "file").write_text("")
    for path in (toy, toy / "file" / "x.json"):
        with pytest.raises(BadInput, match="--json"):
            run_suite("toy", json_path=path)


def test_what_json_has_no_word_for_is_null_and_nothing_else_is_left(tmp_path: Path) -> None:
    metric = Metric(math.nan, "s", "", "", False, 2, (-math.inf, 1.0))
    write_result(tmp_path / "x.json", SuiteResult("x", [{"a": [math.inf]}], {"m": metric}, 1.0), describe_host())
    written = json.loads((tmp_path / "x.json").read_text())
    assert written["rows"] == [{"a": [None]}]
    assert written["metrics"]["m"]["value"] is None and written["metrics"]["m"]["ci95"] == [None, 1.0]
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_a_failed_write_keeps_the_former_result(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text("former")
    with pytest.raises(TypeError):
        write_result(path, SuiteResult("x", [{"a": object()}], {}, 1.0), describe_host())
    assert path.read_text() == "former"


def test_the_commit_is_that_of_the_source(tmp_path: Path) -> None:
    write_result(tmp_path / "x.json", SuiteResult("x", [], {}, 1.0), describe_host())
    source = Path(iotlam.__file__).parent
    done = subprocess.run(["git", "-C", source, "rev-parse", "HEAD"], capture_output=True, text=True)
    expected = done.stdout.strip() if done.returncode == 0 else "unknown"
    assert json.loads((tmp_path / "x.json").read_text())["commit"] == expected


@pytest.mark.parametrize(
    ("count", "low", "high"), [(1, 0, 0), (5, 0, 4), (6, 0, 5), (9, 1, 7), (10, 1, 8), (20, 5, 14)]
)
def test_the_interval_has_the_tabled_ranks(count: int, low: int, high: int) -> None:
    assert median_ci95(list(range(count))[::-1])[1] == (low, high)


def test_the_interval_covers_the_median_as_often_as_it_says() -> None:
    draw = random.Random(0)
    intervals = [median_ci95([draw.expovariate(1.0) for _ in range(15)])[1] for _ in range(2000)]
    covered = sum(low <= math.log(2) <= high for low, high in intervals) / len(intervals)
    assert 0.95 <= covered <= 0.98


def test_no_values_have_no_median() -> None:
    with pytest.raises(ValueError):
        median_ci95([])
