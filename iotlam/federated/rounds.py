"""A server's side of a run: plan a round, take answers, put them together, and have it on disk before the next.

What carries orders and answers is another matter (`iotlam.federated.flower`). A run killed anywhere goes on from its
last finished round: the plan of the next is in the journal with its nonces, so devices that have answered it already
give the same answer without training again.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from iotlam.contracts import BadInput, Json, Record, whole_file
from iotlam.contracts.errors import one_line
from iotlam.federated.adapter import RoundModel, finished_model
from iotlam.federated.aggregation import MODES, Assignment, Update
from iotlam.federated.config import RunConfig
from iotlam.federated.factors import Factors, total
from iotlam.federated.journal import Journal, writing
from iotlam.federated.messages import Answer, Arrays, Given, Order, changes, check_answer, flat, size_bytes
from iotlam.federated.robust import RULES, gram
from iotlam.model import IotlamModel

JOURNAL = "journal.jsonl"
LONGEST = 300
"""Characters of a reason that are kept: devices give some."""

Verdict = Literal["taken", "doubled", "late", "stranger", "refused"]


class Outcome(Record, frozen=True):
    """What came of a round.

    Attributes:
        round: its number, from 0.
        shares: how much each device counted, by name; empty where too few answered, and nothing was changed.
        missing: cause of each device that did not answer, by name.
        refused: why an answer was not taken, by name.
        scores: of what each device was sent, on its own held-out examples, by name.
        loss: mean loss of the devices' steps; -1 without answers.
        up_bytes: sent to the server.
        down_bytes: sent to devices.
        checkpoint: SHA-256 of the state after the round.
    """

    round: int
    shares: dict[str, float]
    missing: dict[str, str]
    refused: dict[str, str]
    scores: dict[str, float]
    loss: float
    up_bytes: int
    down_bytes: int
    checkpoint: str

    @classmethod
    def of(cls, record: Json, subject: str) -> Outcome:
        """Read a journal's record of a round."""
        return cls.from_raw({key: value for key, value in record.items() if key in cls.__struct_fields__}, subject)

    @property
    def score(self) -> float:
        """Mean score of what was sent, over the devices that have held-out examples; -1 without any."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else -1.0


@dataclass(frozen=True, slots=True)
class _Asked:
    order: Order
    given: dict[str, Assignment]
    size_bytes: int


@dataclass(frozen=True, slots=True)
class _Taken:
    answer: Answer
    changes: dict[str, Tensor]
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
        self._taken: dict[str, _Taken] = {}
        self._refused: dict[str, str] = {}
        self._journal = Journal(folder / JOURNAL)
        try:
            self.name = self._begin(hashlib.sha256(about.encode()).hexdigest())
            self.outcomes = [Outcome.of(record, str(folder / JOURNAL)) for record in self._journal.of("round")]
            self._counted = self._nonces_that_counted()
            if self.outcomes:
                self._load(self.outcomes[-1])
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

    def orders(self, ranks: Mapping[str, int] | None = None) -> list[tuple[Order, Arrays]]:
        """Plan the next round, or take up the plan that was made before the run stopped.

        Args:
            ranks: of those who are to take part, by name; None for all, each at its greatest.

        Raises:
            BadInput: if a device is not enrolled, or cannot train that rank.
        """
        if ranks is None:
            ranks = {name: device.rank for name, device in self._enrolled.items()}
        for name, rank in ranks.items():
            most = self._enrolled[name].rank if name in self._enrolled else 0
            if not 1 <= rank <= most:
                raise BadInput(f"Device '{name}'", expected=f"rank 1 to {most}", got=str(rank), fix="ask for less")
        planned = [record for record in self._journal.of("plan") if record["round"] == self.number]
        if not planned:
            nonces = {name: secrets.token_hex(8) for name in ranks}
            planned = [self._journal.append("plan", round=self.number, ranks=dict(ranks), nonces=nonces)]
        self._asked, self._taken, self._refused = {}, {}, {}
        found: list[tuple[Order, Arrays]] = []
        for name, rank in sorted(planned[-1]["ranks"].items()):
            given = {layer: m.assign(self._places[name], rank, self.number) for layer, m in self._modes.items()}
            order = self._order(name, rank, planned[-1]["nonces"][name], given)
            frozen = {layer: one.frozen for layer, one in given.items()}
            arrays = Given(_starts(given), frozen, self._trained_others).arrays()
            self._asked[name] = _Asked(order, given, size_bytes(arrays))
            found.append((order, arrays))
        return found

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
        if asked is None or number != self.number:
            return self._note("late", device, number)
        if device in self._taken:
            return self._note("doubled", device, number)
        try:
            check_answer(asked.order, answer, arrays, self._enrolled[device].examples)
            like = flat(_starts(asked.given), asked.order.trains, self._trained_others)
            made = changes(arrays, like, self.config.eight_bits)
        except BadInput as error:
            self.refuse(device, number, str(error))
            return "refused"
        self._taken[device] = _Taken(answer, made, size_bytes(arrays))
        self._refused.pop(device, None)
        self._journal.append("answer", device=device, round=number, content=answer.content)
        return "taken"

    def refuse(self, device: str, number: int, reason: str) -> None:
        """Go on without a device that failed, or whose answer cannot be used; it is asked again in the next round.

        Args:
            device: its name.
            number: of the round that it failed in.
            reason: why.
        """
        reason = one_line(reason)[:LONGEST]
        self._journal.append("refused", device=one_line(device), round=number, reason=reason)
        if number == self.number and device in self._asked:
            self._refused[device] = reason

    def close(self, causes: Mapping[str, str]) -> Outcome:
        """Put the answers together; the round is on disk when this returns.

        Args:
            causes: why devices have not answered, by name.
        """
        missing = {name: causes.get(name, "no answer by the deadline") for name in self.awaited}
        taken = dict(sorted(self._taken.items()))
        shares = self._merge(taken) if len(taken) >= self.config.at_least else {}
        outcome = Outcome(
            round=self.number,
            shares=shares,
            missing=missing,
            refused=self._refused,
            scores={name: one.answer.score_before for name, one in taken.items() if one.answer.score_before >= 0},
            loss=sum(one.answer.loss for one in taken.values()) / len(taken) if taken else -1.0,
            up_bytes=sum(one.size_bytes for one in taken.values()),
            down_bytes=sum(one.size_bytes for one in self._asked.values()),
            checkpoint=self._save(),
        )
        self._journal.append("round", **outcome.to_raw())
        self._checkpoint(outcome.round - 1).unlink(missing_ok=True)
        self._counted |= {name: self._asked[name].order.nonce for name in shares}
        self.outcomes.append(outcome)
        self._asked, self._taken, self._refused = {}, {}, {}
        return outcome

    def model(self, rank: int | None = None) -> IotlamModel:
        """An ordinary model of what has been learnt so far.

        Args:
            rank: of its adapter, the best of that rank; None for as much as is needed.
        """
        return finished_model(
            self.base, {layer: mode.whole() for layer, mode in self._modes.items()}, self._others, rank
        )

    def leave(self) -> None:
        """Let another process lead the run."""
        self._journal.close()

    @property
    def _trained_others(self) -> dict[str, Tensor]:
        return self._others if self.config.others else {}

    def _note(self, verdict: Verdict, device: str, number: int) -> Verdict:
        self._journal.append(verdict, device=one_line(device), round=number)
        return verdict

    def _nonces_that_counted(self) -> dict[str, str]:
        """Of each device's last answer that did."""
        nonces = {record["round"]: record["nonces"] for record in self._journal.of("plan")}
        return {name: nonces[outcome.round][name] for outcome in self.outcomes for name in outcome.shares}

    def _begin(self, about: str) -> str:
        begun = self._journal.of("begin")
        if not begun:
            facts = {"config": self.config.to_raw(), "base": self.digest, "about": about}
            return str(self._journal.append("begin", run=secrets.token_hex(8), **facts)["run"])
        config = RunConfig.from_raw(begun[0]["config"], str(self.folder / JOURNAL))
        if (config, begun[0]["base"], begun[0]["about"]) != (self.config, self.digest, about):
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
        )

    def _merge(self, taken: Mapping[str, _Taken]) -> dict[str, float]:
        """Put changes together; returns how much each device counted."""
        trained = {name: _trained(self._asked[name].given, one.changes) for name, one in taken.items()}
        shares = self._shares(taken, trained)
        for layer, mode in self._modes.items():
            given = {name: self._asked[name].given[layer] for name in taken}
            mode.merge([Update(given[name], trained[name][layer], shares[name]) for name in taken], self.number)
        for name in self._trained_others:
            change = sum(shares[device] * one.changes[f"others/{name}"].double() for device, one in taken.items())
            self._others[name] = (self._others[name].double() + change).float()
        return shares

    def _shares(self, taken: Mapping[str, _Taken], trained: Mapping[str, Mapping[str, Factors]]) -> dict[str, float]:
        """By examples where nobody is doubted; else one device, one vote: what it says of itself must not help it."""
        if self.config.rule == "mean":
            examples = sum(one.answer.examples for one in taken.values())
            return {name: one.answer.examples / examples for name, one in taken.items()}
        moved = [_moved(self._asked[name].given, trained[name]) for name in taken]
        others = [_vector(one.changes, self._trained_others) for one in taken.values()]
        attackers = min(self.config.attackers, (len(taken) - 1) // 2)
        share_N = RULES[self.config.rule](gram(moved, others), torch.ones(len(taken), dtype=torch.float64), attackers)
        return dict(zip(taken, share_N.tolist(), strict=True))

    def _checkpoint(self, number: int) -> Path:
        return self.folder / f"round-{number}.safetensors"

    def _save(self) -> str:
        """Write the state after this round; returns the file's SHA-256."""
        tensors = {f"mode/{layer}/{n}": t for layer, mode in self._modes.items() for n, t in mode.tensors().items()}
        tensors |= {f"others/{name}": tensor for name, tensor in self._others.items()}
        path = self._checkpoint(self.number)
        with writing(path), whole_file(path, durable=True) as partial:  # before the journal says that it is there
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
        return _sha256(path)

    def _load(self, last: Outcome) -> None:
        path = self._checkpoint(last.round)
        try:
            if _sha256(path) != last.checkpoint:
                raise ValueError("another file than was written")
            tensors = load_file(path)
        except (OSError, ValueError, SafetensorError) as error:
            fix = "restore it from a copy, or begin anew"
            raise BadInput(str(path), expected="the state after a round", got=str(error), fix=fix) from error
        for layer, mode in self._modes.items():
            mode.load({name: tensors[f"mode/{layer}/{name}"] for name in mode.tensors()})
        self._others = {name: tensors[f"others/{name}"] for name in self._others}
        self._checkpoint(last.round - 1).unlink(missing_ok=True)  # where the run was stopped before it was removed


def _starts(given: Mapping[str, Assignment]) -> dict[str, Factors]:
    return {layer: assignment.start for layer, assignment in given.items()}


def _trained(given: Mapping[str, Assignment], made: Mapping[str, Tensor]) -> dict[str, Factors]:
    """A device's factors after training, by layer; in float32, as it has them."""
    found = {}
    for layer, start in _starts(given).items():
        b_OR, a_RI = start.b_OR.float(), start.a_RI.float()
        if (change_RO := made.get(f"adapter/{layer}/b")) is not None:
            b_OR = b_OR + change_RO.T
        if (change_RI := made.get(f"adapter/{layer}/a")) is not None:
            a_RI = a_RI + change_RI
        found[layer] = Factors(b_OR, a_RI)
    return found


def _moved(given: Mapping[str, Assignment], trained: Mapping[str, Factors]) -> dict[str, Factors]:
    """By how much the products have changed, by layer."""
    return {
        layer: total([trained[layer].double(), start.double().scaled(-1.0)]) for layer, start in _starts(given).items()
    }


def _vector(made: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> Tensor:
    """All changes outside the decoder, one after the other."""
    return torch.cat([torch.zeros(0), *(made[f"others/{name}"].flatten() for name in others)])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
