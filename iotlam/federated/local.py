"""A device's side of a round: it trains what it is sent on its own data, which stay where they are."""

from __future__ import annotations

import fcntl
import hashlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from iotlam.contracts import BadInput, whole_file
from iotlam.federated.adapter import Adapter, RoundModel, finished_model
from iotlam.federated.appended import writing
from iotlam.federated.codec import packed
from iotlam.federated.distillation import Opinion, taught
from iotlam.federated.factors import total
from iotlam.federated.messages import (
    Answer,
    Arrays,
    Given,
    Order,
    content,
    flat,
    from_bytes,
    from_flat,
    packed_arrays,
    to_bytes,
    turned,
)
from iotlam.model import IotlamModel
from iotlam.training.imitation import ImitationConfig, Loss, Part, shuffle
from iotlam.training.loop import optimise
from iotlam.training.shards import Sample

Rows = NDArray[np.int64]

Examples = Sequence[Sample] | Mapping[int, Sample]
"""By row."""

JUDGED_EVERY = 5
"""One group of examples in so many is not learnt by a device's own module."""

Score = Callable[[IotlamModel, Sequence[Sample]], float]
"""How good a model is on examples, 0 to 1."""

TRAINING = Lock()
"""One device of a process trains at a time: they share their models, and torch has one generator."""


@dataclass(frozen=True, slots=True)
class Task:
    """What is learnt, and by which measure.

    Attributes:
        base: folder of the model that all devices begin with.
        loss: of examples.
        score: of a model on examples.
        learning: examples a step and weights of the loss; steps and learning rate come with each order.
        step_flops: floating-point operations of one optimiser step, about; a planned radio reckons with them.
    """

    base: Path
    loss: Loss
    score: Score
    learning: ImitationConfig
    step_flops: float = 0.0


@dataclass(frozen=True, slots=True)
class LocalData:
    """What one device has.

    Attributes:
        learnt: examples to learn from.
        held_out: examples to measure with; may be none.
        groups: of each to learn from, what it has in common with some others, such as its bearing; where empty, none
            has anything.
    """

    learnt: Sequence[Sample]
    held_out: Sequence[Sample]
    groups: Sequence[int] = ()

    def set_aside(self) -> list[int]:
        """Rows by which modules are judged when they teach each other: of one group in `JUDGED_EVERY`."""
        groups = self.groups or range(len(self.learnt))
        chosen = set(list(dict.fromkeys(groups))[JUDGED_EVERY - 1 :: JUDGED_EVERY])
        return [row for row, group in enumerate(groups) if group in chosen]


class Local:
    """One device.

    Args:
        name: its own.
        task: what is learnt.
        data: its own.
        memory: file in which it keeps its last answer, what eight bits have taken from it, and its own module.
        models: models by rank, which devices in one process share.

    Raises:
        BadInput: if it has nothing to learn from.
    """

    def __init__(
        self, name: str, task: Task, data: LocalData, memory: Path, models: dict[int, RoundModel] | None = None
    ) -> None:
        if not data.learnt:
            raise BadInput(f"Device '{name}'", expected="examples to learn from", got="none", fix="leave it out")
        self.name, self._task, self._data, self._memory = name, task, data, memory
        self._models = {} if models is None else models
        self._rows = np.arange(len(data.learnt))
        self._aside = data.set_aside()
        self._own_rows = np.setdiff1d(self._rows, self._aside)

    def work(self, order: Order, arrays: Arrays) -> tuple[Answer, Arrays]:
        """Train as ordered; asked the same again, give the same answer.

        One process at a time: Flower's child that trains outlives a node that was killed. An order of an earlier round
        than the last, whoever sends it, is answered and not remembered.

        Returns:
            What was done, and the changes.

        Raises:
            BadInput: if the order is for another device or another model, what was learnt is not finite, or the disk is
                full; what the device remembers is as it was.
        """
        if order.device != self.name:
            raise BadInput("Order", expected=f"one for '{self.name}'", got=f"'{order.device}'", fix="address it anew")
        with _alone(self._memory):
            memory = _Memory.read(self._memory)
            if memory.answer and memory.answer.nonce == order.nonce:
                return memory.answer, memory.sent
            if memory.answer and memory.answer.run != order.run:
                memory = _Memory(None, {}, {}, {})  # another run's module and rounding mean nothing here
            made = self._made(order, arrays, memory)
            assert made.answer is not None
            if memory.answer is None or memory.answer.number <= order.number:
                made.write(self._memory)
            return made.answer, made.sent

    def _made(self, order: Order, arrays: Arrays, memory: _Memory) -> _Memory:
        """Train, and round what has changed."""
        given = Given.of(arrays)
        with TRAINING:
            start = time.monotonic()
            torch.set_num_threads(1)  # the order of sums, and so the weights, are those of any other runtime
            model = self._model(order)
            _load(model, given)
            score, own, own_score = self._score(model), memory.own, -1.0
            if order.distil:
                own, own_score, loss = self._teach(order, given, model, own or given)
            else:
                loss = self._train(order, model, self._task.loss, self._rows, self._data.learnt)
            trained, others = model.adapter, model.others if order.others else {}
        before, after = flat(given.start, order.trains, given.others), flat(trained, order.trains, others)
        change = {name: after[name] - before[name] for name in after}
        changed, left = packed(change, memory.residual_for(order, given))
        if order.eight_bits:
            sent = packed_arrays(changed)
        else:
            sent, left = {name: tensor.numpy() for name, tensor in change.items()}, {}
        answer = Answer(
            run=order.run,
            number=order.number,
            device=self.name,
            nonce=order.nonce,
            base=model.digest,
            examples=self.examples,
            score_before=score,
            loss=loss,
            seconds=time.monotonic() - start,
            content=content(sent),
            own_score=own_score,
        )
        return _Memory(answer, sent, left, trained, own)

    @property
    def examples(self) -> int:
        """How many it learns from."""
        return len(self._data.learnt)

    def fit(self, given: Given, number: int, steps: int, learning_rate: float) -> tuple[Given, float]:
        """Train what a strategy of Flower's own has sent; nothing is remembered.

        Args:
            given: factors, all of which learn, and the weights outside the decoder.
            number: of the round.
            steps: of the optimiser.
            learning_rate: peak.

        Returns:
            The same after training, and the mean loss.
        """
        order = Order(
            run="",
            number=number,
            device=self.name,
            nonce="",
            base="",
            rank=given.rank,
            trains=("a", "b"),
            basis="kept",
            after="",
            others=bool(given.others),
            eight_bits=False,
            steps=steps,
            learning_rate=learning_rate,
            seed=int.from_bytes(hashlib.sha256(self.name.encode()).digest()[:4]),
        )
        with TRAINING:
            torch.set_num_threads(1)
            model = self._of_rank(given.rank)
            _load(model, given)
            loss = self._train(order, model, self._task.loss, self._rows, self._data.learnt)
            return Given(model.adapter, given.frozen, model.others if given.others else {}), loss

    def judge(self, given: Given) -> tuple[float, int]:
        """Score of what a strategy has sent on the device's held-out examples, -1 without any; and their number."""
        with TRAINING:
            torch.set_num_threads(1)
            model = self._of_rank(given.rank)
            _load(model, given)
            return self._score(model), len(self._data.held_out)

    def _score(self, model: RoundModel) -> float:
        """Of a model on the device's held-out examples, -1 without any."""
        return self._task.score(model.model.eval(), self._data.held_out) if self._data.held_out else -1.0

    def _teach(self, order: Order, given: Given, shared: RoundModel, own: Given) -> tuple[Given, float, float]:
        """Train both modules: the device's own, taught by the shared as it was given, then the shared, taught by that.

        Args:
            order: steps and seeds of both.
            given: what was sent.
            shared: the model for that; it is trained when this returns.
            own: the own module; at first, what was sent.

        Returns:
            The own module, its score, and the shared one's loss.
        """
        assert order.distil
        how, loss = order.distil, self._task.loss
        mine = order.changed(trains=("a", "b"), others=True, learning_rate=how.rate * order.learning_rate)
        _load(shared, given)
        theirs = self._opinion(order, shared, self._own_rows)
        model = self._of_rank(own.rank)
        _load(model, own)
        before = self._opinion(order, model, self._own_rows)
        teaches = before.clearly_better(theirs)
        if not teaches:
            own, before, model = given, theirs, shared
            _load(model, own)
        learnt = taught(loss, how.own, how, before.flattery - theirs.flattery)
        self._train(mine, model, learnt, self._own_rows, theirs.said)
        own, score = Given(model.adapter, own.frozen, model.others), self._score(model)
        said: Examples = self._data.learnt
        if teaches:  # a copy has nothing to teach: it would only hold the shared module back
            ahead = theirs.flattery - self._opinion(order, model, self._own_rows).flattery
            loss, said = taught(loss, how.shared, how, ahead), self._opinion(order, model, self._rows).said
        _load(shared, given)
        return own, score, self._train(order, shared, loss, self._rows, said)

    def _opinion(self, order: Order, model: RoundModel, rows: Rows) -> Opinion:
        """What a module says of those of some examples that an order's steps draw."""
        drawn = sorted({int(row) for step in range(order.steps) for row in self._draw(order, step, rows)[1]})
        learnt = {row: self._data.learnt[row] for row in drawn}
        judged = [self._data.learnt[row] for row in self._aside]
        return Opinion.of(model.model, learnt, judged, self._task.learning)

    def _model(self, order: Order) -> RoundModel:
        model = self._of_rank(order.rank)
        if model.digest != order.base:
            fix = "give the device the model that the run began with"
            got = model.digest[:12]
            raise BadInput(f"Device '{self.name}'", expected=f"model {order.base[:12]}", got=got, fix=fix)
        return model

    def _of_rank(self, rank: int) -> RoundModel:
        if rank not in self._models:
            self._models[rank] = RoundModel(self._task.base, rank)
        return self._models[rank]

    def _draw(self, order: Order, step: int, rows: Rows) -> tuple[np.random.Generator, Rows]:
        """Which of some examples a step learns from, and the generator that drew them."""
        rng = np.random.default_rng((order.seed, order.number, step))
        return rng, rows[rng.integers(len(rows), size=self._task.learning.batch)]

    def _train(self, order: Order, model: RoundModel, loss: Loss, rows: Rows, learnt: Examples) -> float:
        """Take the steps.

        Args:
            order: how many, and what learns.
            model: what is trained.
            loss: of examples.
            rows: of the examples that it learns from.
            learnt: at least those that the steps draw.

        Returns:
            The mean loss of the steps, -1 where there are none.
        """
        config = replace(self._task.learning, steps=order.steps, learning_rate=order.learning_rate, seed=order.seed)
        losses: list[float] = []

        def loss_at(step: int) -> Tensor:
            rng, drawn = self._draw(order, step, rows)
            samples = [shuffle(learnt[int(row)], rng) for row in drawn]
            return loss(config, model.model, Part(samples, 1.0, 1.0, int(rng.integers(2**62))))

        model.learns(order.trains, order.others)
        optimise(
            model.model,
            loss_at,
            steps=order.steps,
            learning_rate=order.learning_rate,
            on_step=lambda _, loss: losses.append(loss),
        )
        return float(np.mean(losses)) if losses else -1.0


@contextmanager
def _alone(memory: Path) -> Iterator[None]:
    """Wait until no other process works for the same device."""
    path = memory.with_suffix(".lock")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def own_model(base: Path, memory: Path) -> IotlamModel:
    """A device's own module as an ordinary model.

    Args:
        base: folder of the model that the device began with.
        memory: file that the device keeps.

    Raises:
        BadInput: if the file is no memory of a device, or of one without a module of its own.
    """
    if not memory.exists():
        fix = "call it on the machine where the device is, once it has answered"
        raise BadInput(str(memory), expected="a device's memory", got="no such file", fix=fix)
    own = _Memory.read(memory).own
    if own is None:
        fix = "run with rounds = {distil = {}}"
        raise BadInput(str(memory), expected="a device's own module", got="none", fix=fix)
    frozen = {name: [own.frozen[name]] if name in own.frozen else [] for name in own.start}
    learnt = {name: total([*frozen[name], one]) for name, one in own.start.items()}
    return finished_model(base, learnt, own.others, None)


def _load(model: RoundModel, given: Given) -> None:
    """Make a model what was given; what is not given is as at the start."""
    model.freeze(given.frozen)
    model.adapter = given.start
    model.others = given.others or model.others_at_start


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a device keeps: its last answer, what was sent with it, what eight bits took, its factors then.

    Its own module, too, in the same file: answer and module are of the same round, whenever the power fails.
    """

    answer: Answer | None
    sent: Arrays
    residual: Mapping[str, Tensor]
    trained: Adapter
    own: Given | None = None

    def residual_for(self, order: Order, given: Given) -> Mapping[str, Tensor]:
        """What rounding took, as far as it still means something: of an answer that counted, and in the basis given."""
        if self.answer is None or order.after != self.answer.nonce:
            return {}
        if order.basis == "turned":
            return turned(self.residual, self.trained, given.start)
        if order.basis == "new":
            return {name: tensor for name, tensor in self.residual.items() if name.startswith("others/")}
        return self.residual

    def write(self, path: Path) -> None:
        """Write it, whole or not at all."""
        assert self.answer is not None
        arrays = {f"residual/{name}": tensor.numpy() for name, tensor in self.residual.items()}
        arrays |= {f"trained/{name}": tensor.numpy() for name, tensor in flat(self.trained).items()}
        arrays |= {f"sent/{name}": array for name, array in self.sent.items()}
        if self.own:
            arrays |= {f"own/{name}": array for name, array in self.own.arrays().items()}
        arrays["answer"] = np.frombuffer(self.answer.to_json().encode(), np.uint8)
        with writing(path), whole_file(path, durable=True) as partial:
            partial.write_bytes(to_bytes(arrays))

    @classmethod
    def read(cls, path: Path) -> _Memory:
        """Read what was written; nothing where nothing was.

        Raises:
            BadInput: if the file is no memory of a device.
        """
        if not path.exists():
            return cls(None, {}, {}, {})
        try:
            arrays = from_bytes(path.read_bytes())
            answer = Answer.from_json(arrays.pop("answer").tobytes().decode(), str(path))
        except (OSError, SafetensorError, KeyError, UnicodeDecodeError) as error:
            fix = "delete it; the device begins anew"
            raise BadInput(str(path), expected="a device's memory", got=str(error), fix=fix) from error
        part: dict[str, dict[str, NDArray[np.generic]]] = {"residual": {}, "trained": {}, "sent": {}, "own": {}}
        for name, array in arrays.items():
            kind, _, rest = name.partition("/")
            part[kind][rest] = array
        residual, trained = ({n: torch.tensor(a) for n, a in part[k].items()} for k in ("residual", "trained"))
        own = Given.of(part["own"]) if part["own"] else None
        return cls(answer, part["sent"], residual, from_flat(trained), own)
