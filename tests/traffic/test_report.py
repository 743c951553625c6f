"""The page: who won is said honestly, everything is inside one file, and what is missing is left out."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput, DecisionQuery, SensorFrame
from iotlam.model import Decision, IotlamProcessor
from iotlam_street.junction import SignalRules
from iotlam_street.metrics import TripGroup, TripMetrics
from iotlam_street.plan import SignalPlan, read_plans
from iotlam_street.rig import SensorRig
from iotlam_street.scenarios import Scenario, find_scenario
from iotlam_street.scene import Boxes, Snapshot
from iotlam_traffic.controller import Look
from iotlam_traffic.junction_map import footprints, phase_icon, returns_above_ground, winds
from iotlam_traffic.pictures import clock, radar_picture
from iotlam_traffic.query import ANCHOR_M, PHASE_FEATURES
from iotlam_traffic.report import PageData, headline, phase_name, write_page

VOID = {"meta", "br", "img", "link", "input", "hr"}
CHOSEN, IN_FORCE, FORBIDDEN = 3, 2, 1
BITS = {"lidar": 2.0, "radar": 1.0, "video": 0.5}
"""Bits of every token of each modality."""


def trips(delay_s: float, never_departed: int = 0) -> TripMetrics:
    scheduled_s_N = np.linspace(0.0, 3599.0, 100)
    delay_s_N = np.full(100, delay_s)
    return TripMetrics(delay_s, delay_s / 3.0, 40.0 + delay_s, 100, 3, never_departed, scheduled_s_N, delay_s_N)


@pytest.fixture(scope="module")
def scenario() -> Scenario:
    return find_scenario("cologne1")


@pytest.fixture(scope="module")
def plan(scenario: Scenario) -> SignalPlan:
    return read_plans(scenario.net)[0]


@pytest.fixture(scope="module")
def boxes(plan: SignalPlan) -> Boxes:
    """A queue of cars on every lane: 3, 11 and 20 m from the stop line."""
    place_N2 = plan.points_back(np.float32([3.0, 11.0, 20.0])).reshape(-1, 2)
    count = len(place_N2)
    heading = {approach.name: approach.heading for approach in plan.approaches}
    heading_N = np.repeat([heading[lane.edge] for lane in plan.lanes], 3).astype(np.float32)
    size_N3 = np.tile(np.float32([4.5, 1.8, 1.5]), (count, 1))
    return Boxes(place_N2, heading_N, size_N3, np.zeros((count, 2), np.float32), np.full((count, 3), 200, np.uint8))


@pytest.fixture(scope="module")
def look(plan: SignalPlan, boxes: Boxes) -> Look:
    torch.set_num_threads(1)
    phases = len(plan.green_states)
    features_PF = np.zeros((phases, len(PHASE_FEATURES)), np.float32)
    features_PF[IN_FORCE, 0] = 1.0
    allowed_P = np.arange(phases) != FORBIDDEN
    query = DecisionQuery(plan.points_back(ANCHOR_M), plan.serves_PK.astype(np.float32), features_PF, allowed_P)
    shots = [Snapshot(0, boxes), Snapshot(1_000_000_000, boxes)]
    frames = SensorRig(plan.approaches).sense(shots, np.random.default_rng(0))
    tokens = IotlamProcessor(tuple(BITS)).tokenize(frames, query)
    logits_P = np.log([0.1, 1.0, 0.3, 0.6])
    logits_P[FORBIDDEN] = -np.inf
    decision = Decision(
        torch.tensor(logits_P, dtype=torch.float32)[None],
        torch.zeros(1),
        {name: BITS[name] * batch.mask_BT.float() for name, batch in tokens.items()},
        torch.zeros(1, len(plan.lanes), 4),
        torch.tensor(1.0),
        torch.tensor(0.0),
        None,
    )
    return Look(25_200.0 + 3 * 60 + 5, frames, tokens, query, decision, CHOSEN, 0.0124)


@pytest.fixture(scope="module")
def data(scenario: Scenario, plan: SignalPlan, look: Look, boxes: Boxes) -> PageData:
    delays_s = {"iotlam": 18.0, "fixed": 40.0, "actuated": 70.0, "greedy": 20.0, "max-pressure": 25.0}
    time_s_N = np.arange(scenario.begin_s, scenario.end_s, 10.0)
    return PageData(
        scenario=scenario,
        plan=plan,
        signals=1,
        seed=7,
        rules=SignalRules(),
        trips={name: trips(delay_s) for name, delay_s in delays_s.items()},
        look=look,
        truth=boxes,
        decision_ms=[float(ms) for ms in range(101)],
        bits_over_time=[(float(time_s), {"lidar": 900.0, "video": 300.0}) for time_s in time_s_N],
        phases_over_time=[(float(time_s), int(time_s // 40) % 4) for time_s in time_s_N],
        queues={name: [(float(time_s), np.full(4, 3)) for time_s in time_s_N] for name in delays_s},
        facts={"Trainable": "1.2 % & no more"},
        commands=["iotlam traffic run --out <folder>"],
        quick=False,
    )


class Page(HTMLParser):
    """Attributes of every element, the text, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def said(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


@pytest.fixture(scope="module")
def text(data: PageData, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The full page, written into a folder that was not there."""
    path = tmp_path_factory.mktemp("page") / "new" / "page.html"
    assert write_page(data, path) == path
    assert path.stat().st_size < 3_000_000
    assert [child.name for child in path.parent.iterdir()] == ["page.html"]
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


@pytest.fixture
def page_of(tmp_path: Path) -> Callable[[PageData], Page]:
    return lambda data: Page(write_page(data, tmp_path / "page.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("delays_s", "sentence"),
    [
        (
            {"iotlam": 15.0, "fixed": 40.0, "greedy": 20.0},
            "iotlam won on this seed: iotlam’s mean delay was 62 % below fixed and 25 % below greedy, its best rival.",
        ),
        (
            {"iotlam": 20.4, "fixed": 40.0, "greedy": 20.0},
            "greedy won on this seed and iotlam came second of 3: "
            "iotlam’s mean delay was 49 % below fixed, but 2.0 % above greedy.",
        ),
        (
            {"iotlam": 50.0, "fixed": 40.0, "greedy": 45.0, "max-pressure": 60.0},
            "fixed won on this seed and iotlam came third of 4: iotlam’s mean delay was 25 % above fixed.",
        ),
        (
            {"iotlam": 20.001, "fixed": 40.0, "greedy": 20.0},
            "iotlam and greedy tied on this seed: "
            "iotlam’s mean delay was 50 % below fixed, but equal to that of greedy.",
        ),
        (
            {"iotlam": 18.15, "fixed": 42.97, "greedy": 18.17},
            "iotlam and greedy were level on this seed: "
            "iotlam’s mean delay was 58 % below fixed and 0.1 % below greedy.",
        ),
        ({"iotlam": 20.0, "greedy": 0.0}, "greedy won on this seed and iotlam came second of 2: "
         "iotlam’s mean delay was 20.00 s above greedy."),
        ({"iotlam": 30.0, "discharge": 10.0}, "Mean delay per vehicle: iotlam 30.00 s, discharge 10.00 s."),
        ({"greedy": 18.25}, "Mean delay per vehicle: greedy 18.25 s."),
    ],
)  # fmt: skip
def test_headline_says_who_won(delays_s: dict[str, float], sentence: str) -> None:
    said = headline({name: trips(delay_s) for name, delay_s in delays_s.items()})
    assert said.replace("\N{NO-BREAK SPACE}", " ") == sentence


def test_page_stands_alone(text: str, page: Page) -> None:
    assert page.open == []
    links = [value for _, one in page.elements for key, value in one.items() if key in ("src", "href", "xlink:href")]
    assert links and all(value and value.startswith(("data:image/png;base64,", "#")) for value in links)
    assert not {tag for tag, _ in page.elements} & {"link", "script", "iframe", "object"}
    assert not re.search(r"@import|url\((?!#)", text)


def test_ids_are_there_and_unambiguous(text: str, page: Page) -> None:
    named = [(tag, one) for tag, one in page.elements if "id" in one]
    used = {value[1:] for _, one in page.elements if (value := one.get("xlink:href")) and value.startswith("#")}
    used |= set(re.findall(r"url\(#([^)]*)\)", text))
    assert used and used <= {one["id"] for _, one in named}
    meant = {str((tag, sorted(one.items()))) for tag, one in named}
    assert len(meant) == len({one["id"] for _, one in named})  # charts may share one, if it is the same thing


def test_best_of_every_column_is_bold(data: PageData, tmp_path: Path) -> None:
    text = write_page(replace(data, trips={**data.trips, "greedy": trips(20.0, 2)}), tmp_path / "p.html").read_text()
    rows = dict(re.findall(r"<tr[^>]*><td><svg.*?</svg>([\w-]+)</td>(.*?)</tr>", text, re.DOTALL))
    bold = {name: re.findall(r"<b>([^<]*)</b>", row) for name, row in rows.items()}
    assert bold["iotlam"] == ["18.00", "6.0", "58.0", "3", "0"]
    assert bold["greedy"] == ["3"]
    assert list(rows) == list(data.trips)


def test_decision_is_told(page: Page) -> None:
    said = page.said
    assert "At 07:03:05 phase C was green and 24 vehicles were within 160 m" in said
    assert "iotlam chose phase D , 12 ms after" in said
    assert "the model does not see them" in said
    assert "median and 95 ms at the 95th percentile" in said
    assert "one seed (7)" in said and "iotlam traffic evaluate" in said


def test_candidates_show_probability_and_what_is_forbidden(data: PageData, text: str) -> None:
    rows = re.findall(r"<tr[^>]*><td><div class=\"head\".*?</tr>", text, re.DOTALL)
    told = [re.sub(r"<[^>]*>|\s+", " ", row).replace("&nbsp;", " ").split() for row in rows]
    assert [row[0] for row in told] == ["A", "B", "C", "D"]
    assert told[0][1:3] == ["10.0", "%"] and told[CHOSEN][1:3] == ["60.0", "%"]
    assert told[FORBIDDEN][1] == "–" and told[FORBIDDEN][-1] == "no"
    assert [row.count("✓") for row in told] == [1, 0, 2, 2]
    assert all(state in " ".join(row) for state, row in zip(data.plan.green_states, told, strict=True))


def test_bits_add_up(look: Look, page: Page) -> None:
    said = page.said
    count = {name: int(batch.mask_BT.sum()) for name, batch in look.tokens.items()}
    whole = sum(BITS[name] * count[name] for name in BITS)
    for name, bits in BITS.items():
        assert f"{bits * count[name]:,.0f} bits in {count[name]:,} tokens" in said
        assert f"{100 * bits * count[name] / whole:.0f} %" in said


def test_every_camera_shows_its_newest_picture(
    data: PageData, look: Look, page: Page, page_of: Callable[[PageData], Page]
) -> None:
    pictures = [one for tag, one in page.elements if tag == "img"]
    assert [one["alt"] for one in pictures] == [f"Picture of camera/{one.name}" for one in data.plan.approaches]
    older = [replace(frame, t_ns=-1, data=np.zeros_like(frame.data)) for frame in look.frames["video"][:4]]
    newest = look.frames["video"][4:]
    moved = replace(look, frames={**look.frames, "video": [*newest, *older]})
    again = [one for tag, one in page_of(replace(data, look=moved)).elements if tag == "img"]
    assert [one["src"] for one in again] == [one["src"] for one in pictures]


def test_priority_vehicles_and_people_have_a_table(data: PageData, tmp_path: Path) -> None:
    def met(name: str, one: TripMetrics) -> TripMetrics:
        waiting_s = 1.5 if name == "greedy" else 9.25
        groups = [TripGroup(4, 20.0, waiting_s), TripGroup(96, 18.0, 6.0), TripGroup(33, 31.0, 25.0)]
        return replace(one, priority=groups[0], others=groups[1], people=groups[2])

    both = replace(data, trips={name: met(name, one) for name, one in data.trips.items()})
    text = write_page(both, tmp_path / "page.html").read_text()
    said = Page(text).said
    assert "Priority vehicles , and people on foot" in said or "Priority vehicles, and people on foot" in said
    assert "4 vehicles have priority, but no signal favours them." in said and "33 people walk." in said
    assert "<b>1.5</b>" in text and ">9.2<" in text and ">25.0<" in text
    favoured = write_page(replace(both, rules=SignalRules(priority=True)), tmp_path / "page.html").read_text()
    assert "no signal favours" not in favoured and "A priority vehicle that needs green" in favoured


def test_queues_are_drawn_for_each_approach(data: PageData, page: Page) -> None:
    for wind in winds(data.plan.approaches):
        assert f"from the {wind}" in page.said
    assert "Queues on each approach" in page.said


def test_text_from_outside_is_escaped(data: PageData, tmp_path: Path) -> None:
    scenario = replace(data.scenario, name="<script>alert(1)</script>")
    text = write_page(replace(data, scenario=scenario), tmp_path / "page.html").read_text()
    assert "<script" not in text and "&lt;script&gt;" in text
    assert "--out &lt;folder&gt;" in text and "1.2 % &amp; no more" in text


def test_what_is_missing_is_left_out(data: PageData, page_of: Callable[[PageData], Page]) -> None:
    bare = replace(
        data, trips={"greedy": trips(5.0)}, look=None, truth=None, decision_ms=[], bits_over_time=[],
        phases_over_time=[], queues={}, facts={},
    )  # fmt: skip
    said = page_of(bare).said
    assert "Mean delay per vehicle: greedy 5.00 s." in said
    for words in (
        "One decision",
        "over the episode",
        "Best in bold",
        "Quick run",
        "Queues",
        "Who sees what",
        "Priority",
    ):
        assert words not in said
    assert "Quick run: only 60 minutes" in page_of(replace(bare, quick=True)).said


def test_one_sensor_is_enough(data: PageData, look: Look, page_of: Callable[[PageData], Page]) -> None:
    tokens = {"video": replace(look.tokens["video"], position_BTX=None)}
    decision = replace(look.decision, bits={"video": look.decision.bits["video"]})
    blind = replace(look, frames={"video": look.frames["video"]}, tokens=tokens, decision=decision)
    page = page_of(replace(data, look=blind, truth=None))
    assert "LiDAR returns" not in page.said and "radars" not in page.said
    assert "which carry no place" in page.said and "the model does not see them" not in page.said
    assert "100 %" in page.said


def test_failed_writing_leaves_nothing(data: PageData, tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(BadInput, match="a file that can be written"):
        write_page(data, tmp_path / "page.html")
    assert [child.name for child in tmp_path.iterdir()] == ["page.html"]
    with pytest.raises(BadInput, match="at least one episode"):
        write_page(replace(data, trips={}), tmp_path / "other.html")


def test_clock_and_names() -> None:
    assert clock(25_200.0 + 61.0) == "07:01" and clock(25_261.0, seconds=True) == "07:01:01"
    assert [phase_name(phase) for phase in (0, 25, 26)] == ["A", "Z", "27"]


def test_winds_say_where_traffic_comes_from(plan: SignalPlan) -> None:
    east_bound = replace(plan.approaches[0], heading=0.0)
    assert winds([east_bound, replace(east_bound, heading=-np.pi / 2.0)]) == ["west", "north"]
    assert winds([east_bound, replace(east_bound, heading=0.1)]) == ["west (1)", "west (2)"]


def test_icon_marks_the_lanes_served(plan: SignalPlan) -> None:
    for phase in range(len(plan.green_states)):
        icon = phase_icon(plan, phase)
        served, yielding = int(plan.serves_PK[phase].sum()), int(plan.yields_PK[phase].sum())
        assert icon.count('class="goes"') == served - yielding and icon.count('class="yields"') == yielding
        assert icon.count("<polyline") == len(plan.lanes)


def test_footprint_points_forward() -> None:
    place_N2, size_N3 = np.float32([[10.0, 5.0]]), np.float32([[4.0, 2.0, 1.5]])
    still_N2, black_N3 = np.zeros((1, 2), np.float32), np.zeros((1, 3), np.uint8)
    box = Boxes(place_N2, np.float32([np.pi / 2.0]), size_N3, still_N2, black_N3)
    outline_52 = footprints(box)[0]
    np.testing.assert_allclose(outline_52[outline_52[:, 1].argmax()], [10.0, 7.0], atol=1e-5)
    np.testing.assert_allclose(np.ptp(outline_52, axis=0), [2.0, 4.0], atol=1e-5)


def test_returns_are_those_above_ground() -> None:
    pose = np.eye(4)
    pose[:3, 3] = 1.0, 2.0, 6.0
    points_N4 = np.float32([[0.0, 0.0, -6.0, 0.2], [3.0, 0.0, -5.0, 0.5]])
    frame = SensorFrame(0, points_N4, meta={"sensor": "lidar", "pose_site": pose})
    np.testing.assert_allclose(returns_above_ground(frame), [[4.0, 2.0, 1.0]])


def test_radar_picture_shows_an_approaching_car_left_of_zero(monkeypatch: pytest.MonkeyPatch, look: Look) -> None:
    frame = look.frames["radar"][0]
    _, chirps, samples = frame.data.shape
    bin_m = 299_792_458.0 / (2.0 * float(frame.meta["bandwidth_hz"]))
    tone = np.exp(2j * np.pi * (40.0 / bin_m * np.arange(samples) / samples - 0.25 * np.arange(chirps)[:, None]))
    noise = np.random.default_rng(0).normal(size=frame.data.shape)
    shown: dict[str, Any] = {}

    def imshow(_: object, image: Any, **options: Any) -> None:
        shown.update(options, image=image)

    monkeypatch.setattr("matplotlib.axes.Axes.imshow", imshow)
    radar_picture(replace(frame, data=(tone + 0.01 * noise).astype(np.complex64)))
    row, column = np.unravel_index(shown["image"].argmax(), shown["image"].shape)
    left, right, low, high = shown["extent"]
    range_m = low + (row + 0.5) / shown["image"].shape[0] * (high - low)
    rate_m_s = left + (column + 0.5) / shown["image"].shape[1] * (right - left)
    assert abs(range_m - 40.0) < 1.0 and -11.5 < rate_m_s < -8.5
