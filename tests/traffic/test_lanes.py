"""The lane policy: what it sees, that order and padding do not matter, and that its file is its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.street import Street
from iotlam_traffic.lanes import (
    EDGES_M,
    LANE_FEATURES,
    PHASE_FEATURES,
    REACH_M,
    LaneNet,
    LanePolicy,
    LaneView,
    LaneViews,
    lane_view,
    load_lanes,
    save_lanes,
)

BINS = len(EDGES_M)


@pytest.fixture
def net() -> LaneNet:
    """A network whose scores differ."""
    torch.manual_seed(0)
    net = LaneNet()
    torch.nn.init.normal_(net.score[1].weight)
    return net.eval()


@pytest.fixture
def views() -> list[LaneView]:
    """Views of four junctions of different size, with traffic."""
    found = []
    for name in ("cologne1", "cologne3"):
        scenario = find_scenario(name)
        with Street(replace(scenario, end_s=scenario.begin_s + 200), 1) as street:
            while street.time_s < scenario.begin_s + 90:
                street.advance([0] * len(street.junctions))
            found += [lane_view(junction) for junction in street.junctions]
    return found


def test_what_is_seen_is_what_is_there(short: Scenario) -> None:
    with Street(short, 1) as street:
        (junction,) = street.junctions
        for phase in (0, 0, 0, 2):
            street.advance([phase])
        view, traffic, plan = lane_view(junction), junction.traffic(), junction.plan
        inside = junction.inside()
        exits = [junction.outgoing_halting(lane) for lane in range(len(plan.lanes))]
    assert view.lanes_KF.shape == (8, LANE_FEATURES) and view.phases_PF.shape == (4, PHASE_FEATURES)
    assert sum(len(lane.distance_N) for lane in traffic) > 5
    for row, lane in zip(view.lanes_KF, traffic, strict=True):
        near = lane.distance_N < REACH_M
        counts = np.histogram(lane.distance_N[near], [*EDGES_M, REACH_M])[0]
        standing = np.histogram(lane.distance_N[near & (lane.speed_N < 0.1)], [*EDGES_M, REACH_M])[0]
        np.testing.assert_allclose(row[:BINS] * 2.0, counts)
        np.testing.assert_allclose(row[BINS : 2 * BINS] * 2.0, standing)
        waiting, longest, speed, coming, total, further = row[2 * BINS : 2 * BINS + 6]
        assert waiting * 120.0 == pytest.approx(lane.waiting_N[near].sum(), rel=1e-5)
        assert longest * 60.0 == pytest.approx(lane.waiting_N[near].max(initial=0.0), rel=1e-5)
        assert speed * 10.0 == pytest.approx(lane.speed_N[near].mean() if near.any() else 0.0, rel=1e-5, abs=1e-6)
        assert coming * 4.0 == pytest.approx((lane.distance_N[near] < 10.0 * lane.speed_N[near]).sum())
        assert total * 8.0 == pytest.approx(near.sum()) and further * 8.0 == pytest.approx((~near).sum())
    red_s = view.lanes_KF[:, 2 * BINS + 6] * 60.0
    np.testing.assert_allclose(red_s, np.where(plan.serves_PK[2], 0.0, 10.0), atol=1e-5)
    np.testing.assert_allclose(view.lanes_KF[:, -4] * 5.0, exits, atol=1e-5)
    np.testing.assert_array_equal(view.lanes_KF[:, -6:-4] * 2.0, inside)
    assert view.phases_PF[:, 0].tolist() == [0, 0, 1, 0] and view.phases_PF[2, 1] * 60.0 == pytest.approx(7.0)
    np.testing.assert_array_equal(view.serves_PK > 0, plan.serves_PK)


def test_the_lights_of_the_next_signals_are_seen() -> None:
    scenario = find_scenario("ingolstadt7")
    with Street(replace(scenario, end_s=scenario.begin_s + 60), 1) as street:
        street.advance([1] * len(street.junctions))
        for junction in street.junctions:
            np.testing.assert_array_equal(lane_view(junction).lanes_KF[:, -2:], junction.onward())
        assert any(junction.onward().any() for junction in street.junctions)


@torch.no_grad()
def test_lanes_and_phases_in_another_order_get_the_same_scores(net: LaneNet, views: list[LaneView]) -> None:
    rng = np.random.default_rng(0)
    for view in views:
        p, k = (rng.permutation(size) for size in view.serves_PK.shape)
        other = LaneView(view.lanes_KF[k], view.phases_PF[p], view.serves_PK[np.ix_(p, k)], view.allowed_P[p])
        (scores, value), (turned, same) = net(LaneViews.of([view])), net(LaneViews.of([other]))
        torch.testing.assert_close(turned[0], scores[0, torch.from_numpy(p)], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(value, same, rtol=1e-4, atol=1e-5)
        assert float(scores.std()) > 1e-3


@torch.no_grad()
def test_company_in_the_batch_changes_nothing(net: LaneNet, views: list[LaneView]) -> None:
    together, values = net(LaneViews.of(views))
    for row, view in enumerate(views):
        alone, value = net(LaneViews.of([view]))
        torch.testing.assert_close(together[row, : len(view.allowed_P)], alone[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(values[row], value[0], rtol=1e-4, atol=1e-5)
        assert (together[row, len(view.allowed_P) :] == -1e9).all()


def test_only_what_is_allowed_is_chosen(net: LaneNet, views: list[LaneView]) -> None:
    for phase in range(4):
        view = replace(views[0], allowed_P=np.arange(4) == phase)
        scores_BP, _ = net(LaneViews.of([view]))
        assert int(scores_BP.argmax()) == phase


def test_a_file_holds_the_same_policy(net: LaneNet, views: list[LaneView], tmp_path: Path) -> None:
    save_lanes(net, tmp_path / "lanes.safetensors")
    again = load_lanes(tmp_path / "lanes.safetensors")
    assert all(a.equal(b) for a, b in zip(net(LaneViews.of(views)), again(LaneViews.of(views)), strict=True))


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected weights of a lane policy, got no such file; train one"):
        load_lanes(tmp_path / "absent.safetensors")
    (tmp_path / "other.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BadInput, match="other.safetensors: expected weights of a lane policy"):
        load_lanes(tmp_path / "other.safetensors")


def test_it_runs_a_net_of_several_junctions(net: LaneNet) -> None:
    scenario = find_scenario("cologne3")
    with Street(replace(scenario, end_s=scenario.begin_s + 60), 1) as street:
        policy = LanePolicy(net)
        while not street.done:
            phases = policy.choose(street.junctions)
            street.advance(phases)
            assert [junction.phase for junction in street.junctions] == phases
