"""From waveform messages to features and alarms, many windows at a time."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from iotlam.contracts import BadInput
from iotlam.streams.envelope import CONFIRMED, Block, Envelope, NotOurs
from iotlam.streams.transport import Message
from iotlam_faults.baseline import profile
from iotlam_faults.checks import FEWEST_S, mended
from iotlam_faults.evidence import LINES, levels, lines
from iotlam_faults.monitor.alarm import Rules, Sensor
from iotlam_faults.monitor.ledger import Alarm, Key, Ledger, Window, rate_of
from iotlam_faults.verdict import WORDS, judge, unfit
from iotlam_machine.bearings import FaultOrders, find_bearing

NOTHING: NDArray[np.float64] = np.zeros(0)
TOO_LARGE = "expected samples that can be squared, got larger ones"
STANDS_OUT = 1.2
"""Nats from which a first line is worth a verdict, which takes as long as fifty windows; sound ones have less."""

FAULT_LINES = {fault: LINES.index(f"{fault} 1") for fault in ("outer", "inner", "ball")}


@dataclass(frozen=True, slots=True)
class Heard:
    """A channel of a block that is next in its machine's turn.

    Attributes:
        envelope: whose it is and which.
        block: as it came.
        key: machine and sensor.
        values_N: its samples, m/s2 or ampere; none where it is dead.
        orders: of the bearing, None where it is not known.
        dead: why it says nothing; empty where it says something.
    """

    envelope: Envelope
    block: Block
    key: Key
    values_N: NDArray[np.float32]
    orders: FaultOrders | None
    dead: str = ""

    @property
    def rate_hz(self) -> float:
        """Sample rate of its sensor, about what the block states: windows are compared in the same bands."""
        return rate_of(self.key)


@dataclass
class Watch:
    """Watches machines.

    Attributes:
        ledger: what it knows.
        rules: when an alarm is raised.
        refused: why payloads were refused, the newest last.
        fresh: alarms of the last batch.
    """

    ledger: Ledger
    rules: Rules = field(default_factory=Rules)
    refused: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    fresh: list[Alarm] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._recent: dict[Key, deque[Heard]] = defaultdict(lambda: deque(maxlen=self.rules.raise_after))

    def handle(self, messages: Sequence[Message]) -> list[tuple[str, bytes]]:
        """Take a batch of messages in; returns the confirmations to send: topic and payload.

        Payloads that are not ours are refused, and the others of the batch are not harmed. A window whose signal says
        nothing is taken as dead.

        Raises:
            BadInput: if the disk is full; then nothing was taken, and senders will send again.
        """
        senders: dict[str, set[str]] = defaultdict(set)
        heard: list[Heard] = []
        for message in messages:
            try:
                envelope = Envelope.unpack(message.payload)
                if message.reply_to.startswith(CONFIRMED) and not set(message.reply_to) & set("+#\0"):
                    senders[message.reply_to].add(envelope.source)
                if self.ledger.inbox.admits(envelope):
                    heard += self._heard(envelope)
            except NotOurs as error:
                self.refused.append(f"{message.topic}: {error}")
        touched = {one.key for one in heard}
        with self.ledger.effect(touched):
            windows, alarms = self._judge(heard)
            self.ledger.write(windows, alarms, touched)
        self.fresh = alarms
        return self.ledger.inbox.confirmations(senders)

    def _heard(self, envelope: Envelope) -> list[Heard]:
        """The channels in an envelope; none where it is no waveform or too short: it has been taken all the same."""
        try:
            block = Block.unpack(envelope.body)
            values_NC = _long_enough(block)
        except NotOurs as error:
            self.refused.append(f"{envelope.source}: {error}")
            return []
        orders = self._orders(envelope.source, block)
        return [self._channel(envelope, block, values_NC[:, at], orders, at) for at in range(block.channels)]

    def _channel(
        self, envelope: Envelope, block: Block, values_N: NDArray[np.float32], orders: FaultOrders | None, channel: int
    ) -> Heard:
        """A channel of a block; each at each rate has a baseline of its own."""
        which = f".{channel + 1}" if block.channels > 1 else ""
        key, dead = self.ledger.key(envelope.source, f"{block.sensor}{which}", block.rate_hz), ""
        try:
            values_N = mended(values_N, block.rate_hz, "Signal").values_N
        except BadInput as error:
            dead = str(error)
        return Heard(envelope, block, key, values_N, orders, dead)

    def _orders(self, machine: str, block: Block) -> FaultOrders | None:
        try:
            return find_bearing(block.bearing).orders if block.bearing else None
        except BadInput as error:  # it is watched all the same, and no fault can be named
            self.refused.append(f"{machine}: {error}")
            return None

    def _judge(self, heard: Sequence[Heard]) -> tuple[list[Window], list[Alarm]]:
        windows: list[Window] = []
        alarms: list[Alarm] = []
        alike: dict[tuple[int, float], list[Heard]] = defaultdict(list)
        for one in heard:
            if not one.dead:
                alike[len(one.values_N), one.rate_hz].append(one)
        features = {id(one): row for group in alike.values() for one, row in zip(group, _features(group), strict=True)}
        taken_ns = time.time_ns()
        for one in heard:  # in the order they came: a sensor's windows one after the other
            profile_C, shape = features.get(id(one), (NOTHING, {}))
            dead = one.dead or ("" if np.isfinite(profile_C).all() else TOO_LARGE)
            change, judged, found = self._dead(one, dead) if dead else self._alive(one, profile_C, shape)
            self.ledger.sensor(one.key).taken_ns = taken_ns
            windows.append(self._window(one, taken_ns, change, judged, {} if dead else shape))
            alarms += found
        return windows, alarms

    def _window(self, one: Heard, taken_ns: int, change: float | None, judged: str, shape: dict[str, Any]) -> Window:
        epoch, number, t_ns = one.envelope.epoch, one.envelope.number, one.block.t_ns
        shaft_hz = one.block.shaft_hz
        return Window(*one.key, epoch, number, t_ns, taken_ns, judged, change, shaft_hz=shaft_hz, **shape)

    def _dead(self, one: Heard, reason: str) -> tuple[None, str, list[Alarm]]:
        self._interrupt(one.key)
        if self.ledger.sensor(one.key).dead.turn(True, False, self.rules):
            return None, "dead", [_alarm(one, "dead", True, None, "dead", reason)]
        return None, "dead", []

    def _alive(
        self, one: Heard, profile_C: NDArray[np.float64], shape: dict[str, float]
    ) -> tuple[float | None, str, list[Alarm]]:
        """Change, judgement and alarms of a window that says something."""
        sensor = self.ledger.sensor(one.key)
        alarms = []
        if sensor.dead.turn(False, True, self.rules):
            alarms.append(_alarm(one, "dead", False, None, "", "its signal is back"))
        if sensor.stood(one.block.shaft_hz) and not sensor.alarmed:
            sensor.anew()
            self._interrupt(one.key)
        settled = sensor.settled
        if not sensor.settle(self.rules):
            if not sensor.alarmed:
                sensor.learn(profile_C, one.block.shaft_hz, self._shown(one, shape))
            return None, "learning", alarms
        if sensor.learnt_fault and not settled:
            alarms.append(_learnt_damaged(one, sensor))
        if not sensor.at_speed(one.block.shaft_hz):
            self._interrupt(one.key)
            sensor.unjudged += 1
            return None, "other speed", alarms
        sensor.unjudged = 0
        self._recent[one.key].append(one)
        change = float(sensor.baseline().change(profile_C[None])[0])
        if sensor.changed.turn(change >= self.rules.raise_at, change < self.rules.clear_at, self.rules):
            raised = sensor.changed.stands
            faults, because = self._named(one) if raised else ((), "back to its baseline")
            fault = ("+".join(faults) or "unclear") if raised else ""
            alarms.append(_alarm(one, "changed", raised, round(change, 3), fault, because))
        as_learnt = "learnt while damaged" if sensor.learnt_fault else "sound"
        return change, "changed" if change >= self.rules.raise_at else as_learnt, alarms

    def _shown(self, one: Heard, shape: dict[str, float]) -> tuple[str, ...]:
        """Faults that show in a window which is learnt."""
        self._recent[one.key].append(one)
        stands_out = max(shape.get(fault, 0.0) for fault in FAULT_LINES)
        return self._named(one)[0] if stands_out >= STANDS_OUT else ()

    def _interrupt(self, key: Key) -> None:
        """A window that is not judged comes between: changed ones before it and after it are not in a row."""
        self.ledger.sensor(key).changed.turn(False, False, self.rules)
        self._recent.pop(key, None)

    def _named(self, one: Heard) -> tuple[tuple[str, ...], str]:
        """What physics says of the newest windows: the faults that it names, and why or why none."""
        if one.orders is None or one.block.shaft_hz is None:
            return (), "speed or bearing is not known: no fault can be told by its lines"
        rate_hz, shaft_hz = one.block.rate_hz, one.block.shaft_hz
        values_N = torch.from_numpy(np.concatenate([before.values_N for before in self._recent[one.key]]))
        if reason := unfit(len(values_N), rate_hz, shaft_hz, one.orders):
            return (), reason
        verdict = judge(values_N, rate_hz, shaft_hz, one.orders)
        return verdict.faults, "; ".join(verdict.because) or "it vibrates otherwise than it did"


def _long_enough(block: Block) -> NDArray[np.float32]:
    """The samples of a block; one that is too short says nothing of the sensor, not even that it is dead."""
    values_NC = block.values_NC()
    if len(values_NC) < FEWEST_S * block.rate_hz:
        seconds = len(values_NC) / block.rate_hz
        raise NotOurs(
            f"expected blocks of {FEWEST_S:g} s or longer, got {seconds:.3g} s; join them before they are sent"
        )
    return values_NC


def _alarm(one: Heard, kind: str, raised: bool, change: float | None, fault: str, because: str) -> Alarm:
    epoch, number, t_ns = one.envelope.epoch, one.envelope.number, one.block.t_ns
    name = "/".join((*one.key, str(epoch), str(number), kind))
    return Alarm(*one.key, epoch, number, t_ns, kind, raised, change, fault, because, name)


def _learnt_damaged(one: Heard, sensor: Sensor) -> Alarm:
    """That the machine was damaged already while its baseline was learnt; it ends when that is learnt anew."""
    fault, count = sensor.learnt_fault, len(sensor.learnt)
    shown = ", ".join(f"the {WORDS[one]} in {sensor.shown[one]}" for one in fault.split("+"))
    because = f"learnt while damaged: of the {count} windows of its baseline, lines name {shown}"
    return _alarm(one, "damaged", True, None, fault, because)


def _features(group: Sequence[Heard]) -> list[tuple[NDArray[np.float64], dict[str, float]]]:
    """Profile and shape of windows of one length, of sensors of one rate."""
    values_BN = torch.from_numpy(np.stack([one.values_N for one in group]))
    profile_BC = profile(levels(values_BN, group[0].rate_hz), values_BN)
    centred_BN = values_BN - values_BN.mean(1, keepdim=True)
    rms_B = centred_BN.square().mean(1).sqrt()
    kurtosis_B = (centred_BN / rms_B[:, None]).pow(4).mean(1)
    shapes = [
        {"rms": round(float(rms), 5), "kurtosis": round(float(kurtosis), 3), **first}
        for rms, kurtosis, first in zip(rms_B, kurtosis_B, _first_lines(group, values_BN), strict=True)
    ]
    return list(zip(profile_BC, shapes, strict=True))


def _first_lines(group: Sequence[Heard], values_BN: torch.Tensor) -> list[dict[str, float]]:
    """Of each window how far each fault's first line stands out; nothing where speed or bearing is not known."""
    found: list[dict[str, float]] = [{} for _ in group]
    known = [  # the speed by the sensor's rate, as the lines are
        (row, one.block.shaft_hz * (one.rate_hz / one.block.rate_hz), one.orders)
        for row, one in enumerate(group)
        if one.orders and one.block.shaft_hz
    ]
    if known:
        rows, shafts, orders = zip(*known, strict=True)
        lines_BC = lines(values_BN[list(rows)], group[0].rate_hz, torch.tensor(shafts), orders)
        for row, white_L in zip(rows, lines_BC[:, 2 * len(LINES) : 3 * len(LINES)], strict=True):
            found[row] = {fault: round(float(white_L[at]), 3) for fault, at in FAULT_LINES.items()}
    return found
