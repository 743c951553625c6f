"""A device's side of a round: it trains what it is sent on its own data, which stay where they are."""

from __future__ import annotations

import fcntl
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
from iotlam.federated.adapter import Adapter, RoundModel
from iotlam.federated.codec import packed
from iotlam.federated.journal import writing
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
    """

    learnt: Sequence[Sample]
    held_out: Sequence[Sample]


class Local:
    """One device.

    Args:
        name: its own.
        task: what is learnt.
        data: its own.
        memory: file in which it keeps its last answer and what eight bits have taken from it.
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
            made = self._made(order, arrays, memory)
            assert made.answer is not None
            if memory.answer is None or memory.answer.run != order.run or memory.answer.number <= order.number:
                made.write(self._memory)
            return made.answer, made.sent

    def _made(self, order: Order, arrays: Arrays, memory: _Memory) -> _Memory:
        """Train, and round what has changed."""
        given = Given.of(arrays)
        with TRAINING:
            start = time.monotonic()
            torch.set_num_threads(1)  # the order of sums, and so the weights, are those of any other runtime
            model = self._model(order)
            score = self._load(model, given)
            loss = self._train(order, model)
            trained, others = model.adapter, model.others if order.others else {}
        before, after = flat(given.start, order.trains, given.others), flat(trained, order.trains, others)
        changed, left = packed({name: after[name] - before[name] for name in after}, memory.residual_for(order, given))
        if order.eight_bits:
            sent = packed_arrays(changed)
        else:
            sent, left = {name: (after[name] - before[name]).numpy() for name in after}, {}
        answer = Answer(
            run=order.run,
            number=order.number,
            device=self.name,
            nonce=order.nonce,
            base=model.digest,
            examples=len(self._data.learnt),
            score_before=score,
            loss=loss,
            seconds=time.monotonic() - start,
            content=content(sent),
        )
        return _Memory(answer, sent, left, trained)

    @property
    def examples(self) -> int:
        """How many it learns from."""
        return len(self._data.learnt)

    def _load(self, model: RoundModel, given: Given) -> float:
        """Give the model what was sent; returns its score on the device's held-out examples, -1 without any."""
        model.freeze(given.frozen)
        model.adapter = given.start
        if given.others:
            model.others = given.others
        return self._task.score(model.model.eval(), self._data.held_out) if self._data.held_out else -1.0

    def _model(self, order: Order) -> RoundModel:
        if order.rank not in self._models:
            self._models[order.rank] = RoundModel(self._task.base, order.rank)
        model = self._models[order.rank]
        if model.digest != order.base:
            fix = "give the device the model that the run began with"
            got = model.digest[:12]
            raise BadInput(f"Device '{self.name}'", expected=f"model {order.base[:12]}", got=got, fix=fix)
        return model

    def _train(self, order: Order, model: RoundModel) -> float:
        """Take the steps; returns their mean loss, -1 where there are none."""
        config = replace(self._task.learning, steps=order.steps, learning_rate=order.learning_rate, seed=order.seed)
        losses: list[float] = []

        def loss_at(step: int) -> Tensor:
            rng = np.random.default_rng((order.seed, order.number, step))
            rows = rng.integers(len(self._data.learnt), size=config.batch)
            samples = [shuffle(self._data.learnt[row], rng) for row in rows]
            return self._task.loss(config, model.model, Part(samples, 1.0, 1.0, int(rng.integers(2**62))))

        model.learns(order.trains, order.others)
        optimise(
            model.model,
            loss_at,
            steps=order.steps,
            learning_rate=order.learning_rate,
            warmup=0,
            weight_decay=0.0,
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


@dataclass(frozen=True, slots=True)
class _Memory:
    """What a device keeps: its last answer, what was sent with it, what eight bits took, its factors then."""

    answer: Answer | None
    sent: Arrays
    residual: Mapping[str, Tensor]
    trained: Adapter

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
        part: dict[str, dict[str, NDArray[np.generic]]] = {"residual": {}, "trained": {}, "sent": {}}
        for name, array in arrays.items():
            kind, _, rest = name.partition("/")
            part[kind][rest] = array
        residual, trained = ({n: torch.tensor(a) for n, a in part[k].items()} for k in ("residual", "trained"))
        return cls(answer, part["sent"], residual, from_flat(trained))
