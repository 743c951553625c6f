from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from iotlam.contracts import BadInput, ChannelState, Device
from iotlam.federated.config import Enrolled, RunConfig
from iotlam.federated.distillation import Distillation
from iotlam.federated.local import Local, LocalData, Task
from iotlam.federated.messages import size_bytes
from iotlam.federated.outcome import Outcome, Planned
from iotlam.federated.planning import Planner, Radio, _failed, _waited, channels_of
from iotlam.federated.rounds import Run
from iotlam.federated.trace import Trace
from iotlam_edge.fleet import draw_fleet

from .conftest import counted

RANKS = {"fan": 2, "press": 4, "pump": 8}
DEVICES = tuple(Device(name, 1e9, 2**30, 1e-10, transmit_w=0.1) for name in RANKS)
CONFIG = RunConfig(tuple(Enrolled(name, rank, 24) for name, rank in RANKS.items()), rounds=6, steps=1)
NOISE = 1e-20


def faded(devices: Sequence[Device], number: int) -> list[ChannelState]:
    """In even rounds the pump is hardly heard."""
    gains = {"fan": 1e-9, "press": 1e-10, "pump": 1e-10 if number % 2 else 1e-14}
    return [ChannelState(gains[device.name], NOISE) for device in devices]


@pytest.fixture
def run(task: Task, tmp_path: Path) -> Run:
    return Run(tmp_path / "run", task.base, CONFIG)


def planner(channels: object = faded, **radio: float) -> Planner:
    return Planner(Radio(1e5, **radio), DEVICES, channels, step_flops=1e8)  # type: ignore[arg-type]


def answered(run: Run, task: Task, folder: Path, planner: Planner) -> None:
    """One round in which all who are asked answer."""
    data = LocalData([counted(seed) for seed in range(4)], [])
    for order, arrays in run.orders(planner):
        answer, sent = Local(order.device, task, data, folder / f"{order.device}.st").work(order, arrays)
        assert run.take(order.device, run.number, answer, sent) == "taken"
    run.close({})


class Played:
    """As much of a run as its planner asks for, without the training."""

    def __init__(self, config: RunConfig) -> None:
        self.config, self.outcomes, self.asked_before = config, list[Outcome](), list[list[str]]()

    @property
    def number(self) -> int:
        return len(self.outcomes)

    def size_bit(self, rank: int) -> tuple[int, int]:
        return rank * 1_000_000, rank * 250_000

    def round(self, planner: Planner, dead: str) -> None:
        asked = planner(self).ranks  # type: ignore[arg-type]
        missing = {dead: "not connected"} if dead in asked else {}
        self.outcomes.append(Outcome(self.number, {}, missing, {}, {}, -1.0, 0, 0, -1.0, ""))
        self.asked_before.append(list(asked))


def test_slots_fill_the_band_and_all_end_together(run: Run) -> None:
    radio = planner(worth=100.0)(run).radio
    slots = radio["slots"]
    assert set(slots) == set(RANKS)
    assert sum(slot["down_hz"] + slot["up_hz"] for slot in slots.values()) == pytest.approx(1e5)
    for slot in slots.values():
        assert slot["down_s"] + slot["compute_s"] + slot["up_s"] == pytest.approx(radio["round_s"], rel=1e-6)
        assert slot["compute_s"] == pytest.approx(0.1)
        assert slot["energy_j"] == pytest.approx(1e8 * 1e-10 + 0.1 * slot["up_s"])


def test_bits_are_those_that_travel(run: Run, task: Task, tmp_path: Path) -> None:
    (order, arrays), *_ = run.orders()
    answer, sent = Local(order.device, task, LocalData([counted(0)], []), tmp_path / "m.st").work(order, arrays)
    run.close({})
    assert run.size_bit(order.rank) == (8 * size_bytes(arrays), 8 * size_bytes(sent))
    assert answer.device == "fan"


def test_who_is_hardly_heard_waits_until_it_is_heard_or_has_waited_long(run: Run, task: Task, tmp_path: Path) -> None:
    asked = []
    while not run.finished:
        answered(run, task, tmp_path, planner())
        asked.append(set(run.outcomes[-1].shares))
    assert "pump" not in asked[0]
    assert "pump" in asked[1]
    for name in RANKS:
        assert any(name in some for some in asked[2:])


def test_as_many_are_asked_as_make_a_round(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, CONFIG.changed(at_least=3))
    assert set(planner()(run).ranks) == set(RANKS)


def test_a_folder_of_the_same_name_hides_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "edge").mkdir()
    monkeypatch.chdir(tmp_path)
    assert channels_of(Radio(1e5))(DEVICES, 0)


def test_a_plan_is_in_the_journal_and_is_not_made_again(run: Run, task: Task, tmp_path: Path) -> None:
    first = run.orders(planner())
    run.leave()

    def again(_: Run) -> object:
        raise AssertionError("planned twice")

    resumed = Run(tmp_path / "run", task.base, CONFIG).orders(again)  # type: ignore[arg-type]
    assert [order for order, _ in resumed] == [order for order, _ in first]


def test_channels_of_a_run_come_again(run: Run, task: Task, tmp_path: Path) -> None:
    answered(run, task, tmp_path, planner())
    with pytest.raises(BadInput, match="expected a run that is over, got one of 1 rounds of 6"):
        channels_of(Radio(1e5, channels=str(tmp_path / "run")))
    while not run.finished:
        answered(run, task, tmp_path, planner())
    run.leave()
    channels = channels_of(Radio(1e5, channels=str(tmp_path / "run")))
    assert [channels(DEVICES, number) for number in (0, 1, 7)] == [faded(DEVICES, number) for number in (0, 1, 1)]


def test_channels_of_unlike_noise_are_refused(run: Run) -> None:
    """The journal keeps one density, from which the channels are to come again."""
    noisy = lambda devices, _: [ChannelState(1e-9, NOISE * (1 + place)) for place in range(len(devices))]  # noqa: E731
    with pytest.raises(BadInput, match="one noise density"):
        planner(noisy)(run)


@pytest.mark.parametrize("gain", [0.0, 1e-28])
def test_a_round_in_which_nobody_is_heard_is_not_the_last(run: Run, task: Task, tmp_path: Path, gain: float) -> None:
    def silent_at_first(devices: Sequence[Device], number: int) -> list[ChannelState]:
        return faded(devices, number) if number else [ChannelState(gain, NOISE) for _ in devices]

    for _ in range(2):
        answered(run, task, tmp_path, planner(silent_at_first))
    assert [bool(outcome.counted) for outcome in run.outcomes] == [False, True]


def test_one_device_that_is_hardly_there_leaves_the_plan_sound(run: Run) -> None:
    faint = lambda devices, _: [ChannelState(1e-9 if place else 1e-28, NOISE) for place in range(len(devices))]  # noqa: E731
    plan = planner(faint)(run)
    assert set(plan.ranks) == {"press", "pump"} and 0.0 <= plan.radio["gap"] < 0.01


def test_who_was_asked_and_did_not_answer_has_had_its_turn(run: Run) -> None:
    run.orders(lambda _: Planned({"fan": 2, "press": 4}))
    run.close({})
    assert _waited(run) == {"fan": 0, "press": 0, "pump": 1}


@pytest.mark.parametrize("seed", range(3))
def test_a_dead_device_costs_the_others_hardly_a_round(seed: int) -> None:
    fleet, radio = draw_fleet(10, seed), Radio(1e6, worth=0.3, seed=seed)
    enrolled = tuple(Enrolled(one.name, fleet.ranks[one.name], 40) for one in fleet.devices)
    config, plans = RunConfig(enrolled, at_least=7), Planner(radio, fleet.devices, channels_of(radio), step_flops=1e8)
    for dead in fleet.ranks:
        played = Played(config)
        for _ in range(20):
            played.round(plans, dead)
        asked = sum(dead in some for some in played.asked_before)
        assert sum(len(some) - (dead in some) < 7 for some in played.asked_before) <= 1
        assert 1 <= asked < 10


def test_who_is_too_faint_is_named(run: Run, task: Task, tmp_path: Path) -> None:
    mute = [DEVICES[0].changed(transmit_w=0.0), *DEVICES[1:]]
    answered(run, task, tmp_path, Planner(Radio(1e5), mute, faded, step_flops=1e8))
    assert run.outcomes[0].missing == {"fan": "not heard over the radio"}
    assert _failed(run)["fan"] == 0, "it was not asked"


def test_both_modules_of_a_device_take_their_time(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, CONFIG.changed(distil=Distillation()))
    slots = planner(worth=100.0)(run).radio["slots"]
    assert all(slot["compute_s"] == pytest.approx(0.2) for slot in slots.values())


def test_channels_are_drawn_by_who_registered(tmp_path: Path) -> None:
    one, other = (channels_of(Radio(1e5, seed=seed))(DEVICES, 0) for seed in (1, 2))
    assert one != other
    with pytest.raises(BadInput, match="Radio channels"):
        channels_of(Radio(1e5, channels="nobody"))
    with pytest.raises(BadInput, match="a run whose radio was planned"):
        channels_of(Radio(1e5, channels=str(tmp_path)))


def test_a_trace_is_met_again(tmp_path: Path) -> None:
    gain = np.random.default_rng(0).uniform(size=(3, 3))
    trace = Trace(tuple(RANKS), tuple(tuple(row) for row in gain.tolist()), NOISE)
    trace.write(tmp_path / "trace.json")
    channels = channels_of(Radio(1e5, channels=str(tmp_path / "trace.json")))
    assert [channel.gain for channel in channels(DEVICES[1:], 4)] == gain[1, 1:].tolist()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"devices": ["a"], "gain": []}', '{"devices": ["a"], "gain": [[0.1, 0.2]]}']
)
def test_what_is_no_trace_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "trace.json").write_text(text)
    with pytest.raises(BadInput):
        Trace.read(tmp_path / "trace.json")


def test_a_stranger_is_not_in_a_trace() -> None:
    with pytest.raises(BadInput, match="'fan'"):
        Trace(("other",), ((0.5,),), NOISE).channels(DEVICES, 0)
