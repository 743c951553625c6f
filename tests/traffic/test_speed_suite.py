"""What suite `traffic-speed` measures with: the same traffic on both sides, and faults that are found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iotlam.training.parallel import run_parallel
from iotlam_street.scenarios import find_scenario
from iotlam_traffic.suites.any_net import NetRun, run_net
from iotlam_traffic.suites.speed import bytes_different, drive_bare, drive_env, growth_mb_after, list_of_trips, record


@pytest.mark.slow
def test_environment_and_bare_loop_have_the_same_traffic() -> None:
    scenario = find_scenario("cologne3")
    (replay,) = run_parallel(record, [replace(scenario, end_s=scenario.begin_s + 300.0)], 1, lambda _: None)
    assert len(replay.phases) == 30 and {len(phases) for phases in replay.phases} == {3}
    (ours,) = run_parallel(drive_env, [replay], 1, lambda _: None)
    (bare,) = run_parallel(drive_bare, [replay], 1, lambda _: None)
    assert (ours.departed, ours.on_road) == (bare.departed, bare.on_road)
    assert ours.departed > 100 and min(ours.cpu_s, bare.cpu_s) > 0.01


@pytest.mark.slow
def test_resets_do_not_grow() -> None:
    (growth_mb,) = run_parallel(growth_mb_after, [100], 1, lambda _: None)
    assert growth_mb < 1.5  # SUMO itself loses about 4 kB each


@pytest.mark.slow
def test_a_random_net_runs_under_greedy_and_under_anything_permitted() -> None:
    (row,) = run_parallel(run_net, [NetRun(2, 120.0)], 1, lambda _: None)
    assert row["error"] == "" and row["signals"] > 3 and row["vehicles"] > 50


def test_what_stops_a_net_is_its_row() -> None:
    row = run_net(NetRun("nonsense", 60.0))
    assert row["net"] == "nonsense" and row["error"].startswith("BadInput: Map 'nonsense'")


def test_bytes_that_differ_are_counted() -> None:
    assert bytes_different(b"abc", b"abc") == 0
    assert bytes_different(b"abc", b"axc") == 1
    assert bytes_different(b"abc", b"axcde") == 3
    scenario = find_scenario("cologne1")
    (text,) = run_parallel(
        list_of_trips, [(replace(scenario, end_s=scenario.begin_s + 60.0), "libsumo")], 1, lambda _: None
    )
    assert text.count(b"<tripinfo ") > 10 and b"generated on" not in text
