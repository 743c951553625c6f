"""A server's side of a run: plan a round, take answers, put them together, and have it on disk before the next.

What carries orders and answers is another matter (`iotlam.federated.flower`). A run killed anywhere goes on from its
last finished round: the plan of the next is in the journal with its nonces, and answers to it that were taken are on
disk. A device whose answer was under way gives the same again, without training.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from iotlam.contracts import BadInput, Json
from iotlam.contracts.errors import one_line
from iotlam.federated import checkpoint
from iotlam.federated.adapter import RoundModel, finished_model
from iotlam.federated.aggregation import MODES, Assignment, Mode, Update
from iotlam.federated.answers import Answers, Taken
from iotlam.federated.codec import rows
from iotlam.federated.config import RunConfig
from iotlam.federated.factors import Factors, total
from iotlam.federated.journal import Journal
from iotlam.federated.messages import (
    Answer,
    Arrays,
    Given,
    Order,
    changes,
    check_answer,
    check_changes,
    flat,
    size_bytes,
)
from iotlam.federated.outcome import JOURNAL, Outcome, Planned
from iotlam.federated.robust import RULES, gram
from iotlam.model import IotlamModel

LONGEST = 300
"""Characters of a reason or a name that are kept: devices give some."""

UNHEARD = "not heard over the radio"
"""Why a device was not asked."""

Verdict = Literal["taken", "doubled", "late", "stranger", "refused"]


@dataclass(frozen=True, slots=True)
class _Asked:
    order: Order
    given: dict[str, Assignment]
    size_bytes: int


class Run:
    """A run in its folder; begun anew, or gone on with where it stopped.

    Args:
        folder: the run's folder.
        base: folder of the model that devices begin with.
        config: what decides it.
        about: what else it is, such as where its devices' data come from; another is another run.

    Raises:
        BadInput: if the folder holds another run, another process leads it, or its files are not as they were written.
    """

    def __init__(self, folder: Path, base: Path, config: RunConfig, about: str = "") -> None:
        torch.set_num_threads(1)  # the order of sums, and so the weights, are those of any other machine
        self.folder, self.base, self.config = folder, base, config
        model = RoundModel(base, max(device.rank for device in config.devices), config.seed)
        self.digest = model.digest
        self._enrolled = {device.name: device for device in sorted(config.devices, key=lambda one: one.name)}
        self._places = {name: place for place, name in enumerate(self._enrolled)}
        self._modes = {
            layer: MODES[config.mode](factors, config.seed + place)
            for place, (layer, factors) in enumerate(sorted(model.adapter.items()))
        }
        self._others = model.others
        self._asked: dict[str, _Asked] = {}
        self._taken: dict[str, Taken] = {}
        self._answers: Answers | None = None
        self._refused: dict[str, str] = {}
        self._radio_s, self._unheard, self._sent_bytes = -1.0, list[str](), 0
        self._journal = Journal(folder / JOURNAL)
        try:
            self.name = self._begin(hashlib.sha256(about.encode()).hexdigest())
            self.outcomes = [Outcome.of(record, str(folder / JOURNAL)) for record in self._journal.of("round")]
            self._counted = self._nonces_that_counted()
            if self.outcomes:
                last = self.outcomes[-1]
                self._go_on_from(checkpoint.read(self._checkpoint(last.round), last.checkpoint))
                self._clear(self.number - 1)  # left where it was killed in between
        except BaseException:
            self._journal.close()
            raise

    @property
    def number(self) -> int:
        """Of the round that is to come, or under way."""
        return len(self.outcomes)

    @property
    def finished(self) -> bool:
        """Whether all rounds are done."""
        return self.number >= self.config.rounds

    @property
    def awaited(self) -> list[str]:
        """Devices that have been asked in this round and have neither answered nor been refused."""
        return [name for name in self._asked if name not in self._taken and name not in self._refused]

    @property
    def complete(self) -> bool:
        """Whether nothing more is waited for in this round."""
        return not self.awaited or 0 < self.config.enough <= len(self._taken)

    def orders(self, planner: Callable[[Run], Planned] | None = None) -> list[tuple[Order, Arrays]]:
        """Plan the next round, or take up the plan that was made before the run stopped.

        Args:
            planner: says who is to take part; None for all, each at its greatest rank.

        Raises:
            BadInput: if a device is planned that is not enrolled, or cannot train that rank.
        """
        plan = self._planned(planner)
        self._radio_s, self._unheard = float(plan["radio"].get("round_s", -1.0)), plan["radio"].get("unheard", [])
        self._asked, self._taken, self._refused, self._sent_bytes = {}, {}, {}, 0
        found: list[tuple[Order, Arrays]] = []
        made: dict[tuple[int, ...], tuple[dict[str, Assignment], Arrays]] = {}
        for name, rank in sorted(plan["ranks"].items()):
            columns = tuple(self._some_mode.columns(self._places[name], rank, self.number))
            if columns not in made:
                made[columns] = self._given(self._places[name], rank)
            given, arrays = made[columns]
            order = self._order(name, rank, plan["nonces"][name], given)
            self._asked[name] = _Asked(order, given, size_bytes(arrays))
            found.append((order, arrays))
        self._take_up()
        return found

    def _take_up(self) -> None:
        """Take the answers to this round that were taken before the run stopped."""
        self._close_answers()
        self._answers = Answers(self._kept(self.number))
        for kept in self._answers.take_up():
            asked = self._asked.get(kept.answer.device)
            if asked and kept.answer.nonce == asked.order.nonce:
                self._taken[kept.answer.device] = kept

    def _given(self, place: int, rank: int) -> tuple[dict[str, Assignment], Arrays]:
        """What a device is given in this round, by layer, and as it is sent."""
        given = {layer: mode.assign(place, rank, self.number) for layer, mode in self._modes.items()}
        frozen = {layer: one.frozen for layer, one in given.items()}
        return given, Given(_starts(given), frozen, self._trained_others).arrays()

    def sent(self, device: str) -> None:
        """A device's order is on its way to it; again, where it was not there or has come back."""
        self._sent_bytes += self._asked[device].size_bytes

    def take(self, device: str, number: int, answer: Answer, arrays: Arrays) -> Verdict:
        """Take a device's answer; it counts once, however often it comes, and not at all if it is not to its order.

        Args:
            device: who sent it, as the transport knows.
            number: of the round whose order it answers, as the transport knows.
            answer: what it says.
            arrays: what came with it.
        """
        asked = self._asked.get(device)
        if device not in self._enrolled:
            return self._note("stranger", device, number)
        if asked is None or self._answers is None or number != self.number:
            return self._note("late", device, number)
        if device in self._taken:
            return self._note("doubled", device, number)
        try:
            check_answer(asked.order, answer, arrays, self._enrolled[device].examples)
            like = flat(_starts(asked.given), asked.order.trains, self._trained_others)
            check_changes(arrays, like, self.config.eight_bits)
        except BadInput as error:
            self.refuse(device, number, str(error))
            return "refused"
        taken = self._taken[device] = Taken(answer, dict(arrays))
        self._refused.pop(device, None)
        self._answers.add(taken)
        return "taken"

    def keep(self) -> None:
        """Have the answers on disk that were taken; one that is not when the run is killed is asked for again.

        Raises:
            BadInput: if there is no room; resumed, the run goes on with those that are.
        """
        if self._answers:
            self._answers.keep()

    def refuse(self, device: str, number: int, reason: str) -> None:
        """Go on without a device that failed, or whose answer cannot be used; it is asked again in the next round.

        Args:
            device: its name.
            number: of the round that it failed in.
            reason: why.
        """
        reason = one_line(reason)[:LONGEST]
        self._journal.append("refused", device=one_line(device)[:LONGEST], round=number, reason=reason)
        if number == self.number and device in self._asked and device not in self._taken:
            self._refused[device] = reason

    def close(self, causes: Mapping[str, str]) -> Outcome:
        """Put the answers together; the round is on disk when this returns.

        Args:
            causes: why devices have not answered, by name.
        """
        missing = dict.fromkeys(self._unheard, UNHEARD)
        missing |= {name: causes.get(name, "no answer by the deadline") for name in self.awaited}
        taken = dict(sorted(self._taken.items()))
        shares = self._merge(taken) if len(taken) >= self.config.needed else {}
        outcome = Outcome(
            round=self.number,
            shares=shares,
            missing=missing,
            refused=self._refused,
            scores={name: one.answer.score_before for name, one in taken.items() if one.answer.score_before >= 0},
            loss=sum(one.answer.loss / len(taken) for one in taken.values()) if taken else -1.0,
            up_bytes=sum(size_bytes(one.arrays) for one in taken.values()),
            down_bytes=self._sent_bytes,
            radio_s=self._radio_s,
            checkpoint=self._save(),
            own_scores={name: one.answer.own_score for name, one in taken.items() if one.answer.own_score >= 0},
        )
        self._journal.append("round", **outcome.to_raw())
        self._close_answers()
        self._clear(outcome.round)
        self._counted |= {name: self._asked[name].order.nonce for name in outcome.counted}
        self.outcomes.append(outcome)
        self._asked, self._taken, self._refused = {}, {}, {}
        return outcome

    @property
    def asked_before(self) -> list[list[str]]:
        """Who was asked in each round that is over, by name."""
        plans = {record["round"]: list(record["ranks"]) for record in self._journal.of("plan")}
        return [plans[outcome.round] for outcome in self.outcomes]

    def size_bit(self, rank: int) -> tuple[int, int]:
        """Bits of an order of the round to come, and of its answer.

        Args:
            rank: that it asks for.
        """
        given, arrays = self._given(0, rank)
        down = size_bytes(arrays)
        trains = next(iter(given.values())).trains
        sent = flat(_starts(given), trains, self._trained_others).values()
        if self.config.eight_bits:
            return 8 * down, sum(8 * tensor.numel() + 32 * rows(tensor) for tensor in sent)
        return 8 * down, sum(32 * tensor.numel() for tensor in sent)

    def model(self, rank: int | None = None) -> IotlamModel:
        """An ordinary model of what has been learnt so far.

        Args:
            rank: of its adapter, the best of that rank; None for as much as is needed.
        """
        return finished_model(
            self.base, {layer: mode.whole() for layer, mode in self._modes.items()}, self._others, rank
        )

    def held(self, rank: int) -> IotlamModel:
        """What a device of a rank has of it: the model that it is given in the next round.

        Args:
            rank: that it can train.
        """
        given = {layer: mode.assign(0, rank, self.number) for layer, mode in self._modes.items()}
        together = {layer: total([one.start, one.frozen]) for layer, one in given.items()}
        return finished_model(self.base, together, self._others, None)

    def leave(self) -> None:
        """Let another process lead the run."""
        self._close_answers()
        self._journal.close()

    @property
    def _some_mode(self) -> Mode:
        """Of the layers' modes, which differ in their weights only."""
        return next(iter(self._modes.values()))

    @property
    def _trained_others(self) -> dict[str, Tensor]:
        return self._others if self.config.others else {}

    def _planned(self, planner: Callable[[Run], Planned] | None) -> Json:
        """The journal's plan of this round, made where there is none."""
        for record in self._journal.of("plan"):
            if record["round"] == self.number:
                return record
        everybody = {name: device.rank for name, device in self._enrolled.items()}
        plan = planner(self) if planner else Planned(everybody)
        for name, rank in plan.ranks.items():
            most = everybody.get(name, 0)
            if not 1 <= rank <= most:
                raise BadInput(f"Device '{name}'", expected=f"rank 1 to {most}", got=str(rank), fix="ask for less")
        nonces = {name: secrets.token_hex(8) for name in plan.ranks}
        facts = {"ranks": dict(plan.ranks), "nonces": nonces, "radio": plan.radio}
        return self._journal.append("plan", round=self.number, **facts)

    def _note(self, verdict: Verdict, device: str, number: int) -> Verdict:
        self._journal.append(verdict, device=one_line(device)[:LONGEST], round=number)
        return verdict

    def _nonces_that_counted(self) -> dict[str, str]:
        """Of each device's last answer that did."""
        nonces = {record["round"]: record["nonces"] for record in self._journal.of("plan")}
        return {name: nonces[outcome.round][name] for outcome in self.outcomes for name in outcome.counted}

    def _begin(self, about: str) -> str:
        begun = self._journal.of("begin")
        if not begun:
            facts = {"config": self.config.to_raw(), "base": self.digest, "about": about}
            return str(self._journal.append("begin", run=secrets.token_hex(8), **facts)["run"])
        config = RunConfig.from_raw(begun[0]["config"], str(self.folder / JOURNAL))
        same = (begun[0]["base"], begun[0]["about"]) == (self.digest, about)
        if same:
            config.check_counts(self.config)
        if not same or config != self.config:
            raise BadInput(
                str(self.folder),
                expected="an empty folder or a run with the same options",
                got="a run with other options or another model",
                fix="give another --out, or the same options to resume",
            )
        return str(begun[0]["run"])

    def _order(self, name: str, rank: int, nonce: str, given: Mapping[str, Assignment]) -> Order:
        return Order(
            run=self.name,
            number=self.number,
            device=name,
            nonce=nonce,
            base=self.digest,
            rank=rank,
            trains=next(iter(given.values())).trains,
            basis=MODES[self.config.mode].basis,
            after=self._counted.get(name, ""),
            others=self.config.others,
            eight_bits=self.config.eight_bits,
            steps=self.config.steps,
            learning_rate=self.config.learning_rate,
            seed=self.config.seed * 1_000_003 + self._places[name],
            distil=self.config.distil,
        )

    def _merge(self, taken: Mapping[str, Taken]) -> dict[str, float]:
        """Put changes together; returns how much each device counted."""
        shares = self._shares(taken)
        for layer, mode in self._modes.items():
            mode.merge([self._update(name, taken[name], layer, shares[name]) for name in taken], self.number)
        if self._trained_others:
            change_X = torch.zeros((), dtype=torch.float64)
            for name, one in taken.items():
                change_X = change_X + shares[name] * self._others_change_X(one).double()
            parts = torch.split(change_X, [tensor.numel() for tensor in self._others.values()])
            for (name, tensor), change in zip(self._others.items(), parts, strict=True):
                self._others[name] = (tensor.double() + change.reshape(tensor.shape)).float()
        return shares

    def _update(self, name: str, taken: Taken, layer: str, share: float) -> Update:
        """What a device made of a layer; in float32, as it has it."""
        given = self._asked[name].given[layer]
        sent = [f"adapter/{layer}/{factor}" for factor in given.trains]
        made = changes(taken.arrays, sent, self.config.eight_bits)
        b_OR, a_RI = given.start.b_OR.float(), given.start.a_RI.float()
        if (change_RO := made.get(f"adapter/{layer}/b")) is not None:
            b_OR = b_OR + change_RO.T
        if (change_RI := made.get(f"adapter/{layer}/a")) is not None:
            a_RI = a_RI + change_RI
        return Update(given, Factors(b_OR, a_RI), share)

    def _others_change_X(self, taken: Taken) -> Tensor:
        """All changes of a device outside the decoder, one after the other."""
        names = [f"others/{name}" for name in self._trained_others]
        made = changes(taken.arrays, names, self.config.eight_bits) if names else {}
        return torch.cat([torch.zeros(0), *(tensor.flatten() for tensor in made.values())])

    def _shares(self, taken: Mapping[str, Taken]) -> dict[str, float]:
        """By examples where nobody is doubted; else one device, one vote: what it says of itself must not help it."""
        if self.config.rule == "mean":
            examples = sum(one.answer.examples for one in taken.values())
            return {name: one.answer.examples / examples for name, one in taken.items()}
        moved = [self._moved(name, one) for name, one in taken.items()]
        others = [self._others_change_X(one) for one in taken.values()]
        share_N = RULES[self.config.rule](gram(moved, others), self.config.attackers)
        return dict(zip(taken, share_N.tolist(), strict=True))

    def _moved(self, name: str, taken: Taken) -> dict[str, Factors]:
        """By how much a device has changed the products, by layer."""
        found = {}
        for layer in self._modes:
            update = self._update(name, taken, layer, 1.0)
            found[layer] = total([update.trained.double(), update.assignment.start.double().scaled(-1.0)])
        return found

    def _checkpoint(self, number: int) -> Path:
        return self.folder / f"round-{number}.safetensors"

    def _close_answers(self) -> None:
        if self._answers:
            self._answers.close()
        self._answers = None

    def _kept(self, number: int) -> Path:
        """The answers to a round under way."""
        return self.folder / f"answers-{number}.bin"

    def _clear(self, number: int) -> None:
        """Remove what a round that is done needs no more: the state before it, and its answers."""
        self._checkpoint(number - 1).unlink(missing_ok=True)
        self._kept(number).unlink(missing_ok=True)

    def _save(self) -> str:
        """Write the state after this round; returns the file's SHA-256."""
        tensors = {f"mode/{layer}/{n}": t for layer, mode in self._modes.items() for n, t in mode.tensors().items()}
        tensors |= {f"others/{name}": tensor for name, tensor in self._others.items()}
        digest = checkpoint.write(self._checkpoint(self.number), tensors)  # before the journal says that it is there
        self._go_on_from(tensors)
        return digest

    def _go_on_from(self, tensors: Mapping[str, Tensor]) -> None:
        """Take over a state, saved or read, in torch's own memory: elsewhere, sums may go in another order."""
        own = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in tensors.items()}
        for layer, mode in self._modes.items():
            mode.load({name: own[f"mode/{layer}/{name}"] for name in mode.tensors()})
        self._others = {name: own[f"others/{name}"] for name in self._others}


def _starts(given: Mapping[str, Assignment]) -> dict[str, Factors]:
    return {layer: assignment.start for layer, assignment in given.items()}
