"""From waveform messages to features and alarms, many windows at a time."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from iotlam.contracts import BadInput
from iotlam.streams.envelope import CONFIRMED, Block, Envelope, NotOurs
from iotlam.streams.transport import Message
from iotlam_faults.baseline import profile
from iotlam_faults.checks import mended
from iotlam_faults.evidence import LINES, levels, lines
from iotlam_faults.monitor.alarm import Rules
from iotlam_faults.monitor.ledger import Alarm, Ledger, Window
from iotlam_faults.verdict import judge, unfit
from iotlam_machine.bearings import FaultOrders, find_bearing

FAULT_LINES = {fault: LINES.index(f"{fault} 1") for fault in ("outer", "inner", "ball")}


@dataclass(frozen=True, slots=True)
class Heard:
    """A window that is next in its machine's turn.

    Attributes:
        envelope: whose it is and which.
        block: as it came.
        values_N: its first channel, m/s2.
        orders: of the bearing, None where it is not known.
    """

    envelope: Envelope
    block: Block
    values_N: NDArray[np.float32]
    orders: FaultOrders | None


@dataclass
class Watch:
    """Watches machines.

    Attributes:
        ledger: what it knows.
        rules: when an alarm is raised.
        refused: why payloads were refused, the newest last.
        fresh: windows of the last batch.
    """

    ledger: Ledger
    rules: Rules = field(default_factory=Rules)
    refused: deque[str] = field(default_factory=lambda: deque(maxlen=100))
    fresh: list[Window] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._recent: dict[str, deque[Heard]] = defaultdict(lambda: deque(maxlen=self.rules.raise_after))

    def handle(self, messages: Sequence[Message]) -> list[tuple[str, bytes]]:
        """Take a batch of messages in; returns the confirmations to send: topic and payload.

        Payloads that are not ours are refused, and the others of the batch are not harmed. A window whose signal says
        nothing is taken, with nothing known of it.

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
        touched = {one.envelope.source for one in heard}
        with self.ledger.effect(touched):
            windows, alarms = self._judge(heard)
            self.ledger.write(windows, alarms, touched)
        self.fresh = windows
        return self.ledger.inbox.confirmations(senders)

    def _heard(self, envelope: Envelope) -> list[Heard]:
        """The window in an envelope; none where it is no waveform or a dead one: it has been taken all the same."""
        try:
            block = Block.unpack(envelope.body)
            values_N, _ = mended(block.values_NC()[:, 0], block.rate_hz, f"Machine '{envelope.source}'")
            orders = find_bearing(block.bearing).orders if block.bearing else None
        except (NotOurs, BadInput) as error:
            self.refused.append(f"{envelope.source}: {error}")
            return []
        return [Heard(envelope, block, values_N, orders)]

    def _judge(self, heard: Sequence[Heard]) -> tuple[list[Window], list[Alarm]]:
        windows: list[Window] = []
        alarms: list[Alarm] = []
        alike: dict[tuple[int, float], list[Heard]] = defaultdict(list)
        for one in heard:
            alike[len(one.values_N), one.block.rate_hz].append(one)
        features = {id(one): row for group in alike.values() for one, row in zip(group, _features(group), strict=True)}
        for one in heard:  # in the order they came: a machine's windows one after the other
            profile_C, shape = features[id(one)]
            if not np.isfinite(profile_C).all():
                self.refused.append(f"{one.envelope.source}: expected samples that can be squared, got larger ones")
                continue
            self._recent[one.envelope.source].append(one)
            window, alarm = self._step(one, profile_C, shape)
            windows.append(window)
            alarms += [alarm] if alarm else []
        return windows, alarms

    def _step(self, one: Heard, profile_C: NDArray[np.float64], shape: dict[str, float]) -> tuple[Window, Alarm | None]:
        name, block, machine = one.envelope.source, one.block, self.ledger.machine(one.envelope.source)
        sensor = f"{block.sensor} at {block.rate_hz:g} Hz"
        change, alarm = None, None
        if machine.sensor not in ("", sensor):
            judged = "other sensor"
        elif not machine.ready(self.rules):
            judged = "learning"
            machine.learn(profile_C, sensor, block.shaft_hz)
        elif not machine.at_speed(block.shaft_hz):
            judged = "other speed"
        else:
            change = float(machine.baseline().change(profile_C[None])[0])
            judged = "changed" if change >= self.rules.raise_at else "sound"
            if machine.turn(change, self.rules):
                alarm = self._alarm(name, one, change, machine.alarmed)
        return Window(
            machine=name,
            epoch=one.envelope.epoch,
            number=one.envelope.number,
            t_ns=block.t_ns,
            change=change,
            shaft_hz=block.shaft_hz,
            judged=judged,
            **shape,
        ), alarm

    def _alarm(self, name: str, one: Heard, change: float, raised: bool) -> Alarm:
        fault, because = self._named(name, one) if raised else ("", "back to its baseline")
        return Alarm(name, one.envelope.number, one.block.t_ns, raised, round(change, 3), fault, because)

    def _named(self, name: str, one: Heard) -> tuple[str, str]:
        """What physics says of the newest windows."""
        if one.orders is None or one.block.shaft_hz is None:
            return "unclear", "speed or bearing is not known: no fault can be told by its lines"
        rate_hz, shaft_hz = one.block.rate_hz, one.block.shaft_hz
        values_N = torch.from_numpy(np.concatenate([before.values_N for before in self._recent[name]]))
        if reason := unfit(len(values_N), rate_hz, shaft_hz, one.orders):
            return "unclear", reason
        verdict = judge(values_N, rate_hz, shaft_hz, one.orders)
        return "+".join(verdict.faults) or "unclear", "; ".join(verdict.because) or "it vibrates otherwise than it did"


def _features(group: Sequence[Heard]) -> list[tuple[NDArray[np.float64], dict[str, float]]]:
    """Profile and shape of windows of one length and rate."""
    values_BN = torch.from_numpy(np.stack([one.values_N for one in group]))
    profile_BC = profile(levels(values_BN, group[0].block.rate_hz), values_BN)
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
    known = [
        (row, one.block.shaft_hz, one.orders) for row, one in enumerate(group) if one.orders and one.block.shaft_hz
    ]
    if known:
        rows, shafts, orders = zip(*known, strict=True)
        lines_BC = lines(values_BN[list(rows)], group[0].block.rate_hz, torch.tensor(shafts), orders)
        for row, white_L in zip(rows, lines_BC[:, 2 * len(LINES) : 3 * len(LINES)], strict=True):
            found[row] = {fault: round(float(white_L[at]), 3) for fault, at in FAULT_LINES.items()}
    return found
