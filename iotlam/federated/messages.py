"""What a server asks of a device and what it gets back: named arrays and a few facts, whatever carries them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load, save
from torch import Tensor

from iotlam.contracts import BadInput, Record
from iotlam.federated.adapter import Adapter
from iotlam.federated.aggregation import Basis, Factor
from iotlam.federated.codec import Packed, rows, unpacked
from iotlam.federated.distillation import Distillation
from iotlam.federated.factors import Factors, turn

Arrays = Mapping[str, NDArray[np.generic]]

LARGEST = 1e6
"""No weight changes by more in one round; squares of such numbers are still far from overflowing."""


class Order(Record, frozen=True):
    """The facts of what a device is asked to do in a round.

    Attributes:
        run: name of the run, unique.
        number: of the round, from 0.
        device: who is asked, by its own name.
        nonce: drawn for this order; an answer repeats it.
        base: digest of the model that the run began with.
        rank: of the adapter to train.
        trains: which of its factors.
        basis: what the factors have in common with those that the device last had.
        after: nonce of the device's last answer that counted; '' for none.
        others: whether weights outside the decoder are trained and sent, too.
        eight_bits: whether changes are sent in eight bits.
        steps: optimiser steps; 0 to evaluate only.
        learning_rate: peak.
        seed: of the order of the device's data.
        distil: how the device's own module is taught and teaches; None where it needs none.
    """

    run: str
    number: int
    device: str
    nonce: str
    base: str
    rank: int
    trains: tuple[Factor, ...]
    basis: Basis
    after: str
    others: bool
    eight_bits: bool
    steps: int
    learning_rate: float
    seed: int
    distil: Distillation | None = None


class Answer(Record, frozen=True):
    """The facts of what a device did.

    Attributes:
        run: as in the order.
        number: as in the order.
        device: as in the order.
        nonce: as in the order.
        base: digest of the model that the device has.
        examples: how many it learnt from.
        score_before: of its held-out examples under what it was sent, 0 to 1; -1 where it has none.
        loss: mean over the steps; -1 without steps.
        seconds: wall time of its work.
        content: digest of the arrays.
        own_score: of its held-out examples under its own module, as this round has left it; -1 without one.
    """

    run: str
    number: int
    device: str
    nonce: str
    base: str
    examples: int
    score_before: float
    loss: float
    seconds: float
    content: str
    own_score: float = -1.0


@dataclass(frozen=True, slots=True)
class Given:
    """The arrays of an order.

    Attributes:
        start: factors to train from, by layer.
        frozen: products to add, by layer.
        others: weights outside the decoder; empty where they are not trained.
    """

    start: Adapter
    frozen: Adapter
    others: Mapping[str, Tensor]

    @property
    def rank(self) -> int:
        """Of the factors."""
        return next(iter(self.start.values())).rank

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """By name, float32; products of rank 0 are left out."""
        found = {f"start/{name}": one for name, one in self.start.items()}
        found |= {f"frozen/{name}": one for name, one in self.frozen.items() if one.rank}
        return {
            **{f"{name}/b": _numpy(one.b_OR) for name, one in found.items()},
            **{f"{name}/a": _numpy(one.a_RI) for name, one in found.items()},
            **{f"others/{name}": _numpy(tensor) for name, tensor in self.others.items()},
        }

    @classmethod
    def of(cls, arrays: Arrays) -> Given:
        """Read what `arrays` gave."""
        others = {name.removeprefix("others/"): _tensor(a) for name, a in arrays.items() if name.startswith("others/")}
        return cls(_factors(arrays, "start/"), _factors(arrays, "frozen/"), others)


def check_changes(arrays: Arrays, like: Mapping[str, Tensor], eight_bits: bool) -> None:
    """Refuse changes that are not what was asked for.

    Args:
        arrays: what was sent, by anybody.
        like: what the changes are to be of, by name.
        eight_bits: how they were to be sent.

    Raises:
        BadInput: if names, types or shapes are others, or a number is not finite or beyond `LARGEST`.
    """
    wanted: dict[str, tuple[np.dtype[Any], tuple[int, ...]]] = {}
    for name, tensor in like.items():
        if eight_bits:
            wanted[f"{name}/values"] = np.dtype(np.int8), tuple(tensor.shape)
            wanted[f"{name}/step"] = np.dtype(np.float32), (rows(tensor),)
        else:
            wanted[name] = np.dtype(np.float32), tuple(tensor.shape)
    got = {name: (array.dtype, array.shape) for name, array in arrays.items()}
    if odd := sorted(name for name in wanted.keys() | got.keys() if wanted.get(name) != got.get(name)):
        expected, found = (_said(one.get(odd[0])) for one in (wanted, got))
        raise BadInput(f"Change of '{odd[0][:100]}'", expected=expected, got=found, fix="answer what was asked for")
    most = LARGEST / 128 if eight_bits else LARGEST  # of a step, or of a number
    for name in like:
        if not bool((np.abs(arrays[f"{name}/step" if eight_bits else name]) <= most).all()):
            fix = "leave the device out, or mend its data"
            raise BadInput(f"Change of '{name}'", expected=f"numbers up to {LARGEST:g}", got="others", fix=fix)


def changes(arrays: Arrays, names: Iterable[str], eight_bits: bool) -> dict[str, Tensor]:
    """The changes that arrays hold, once these have been checked.

    Args:
        arrays: what was sent.
        names: of the changes that are wanted.
        eight_bits: how they were sent.
    """
    if not eight_bits:
        return {name: _tensor(arrays[name]) for name in names}
    parts = {name: (arrays[f"{name}/values"], arrays[f"{name}/step"]) for name in names}
    return unpacked({name: Packed(_tensor(values), _tensor(step)) for name, (values, step) in parts.items()})


def packed_arrays(packed: Mapping[str, Packed]) -> dict[str, NDArray[np.generic]]:
    """Changes in eight bits as arrays."""
    values = {f"{name}/values": one.values.numpy() for name, one in packed.items()}
    return values | {f"{name}/step": one.step_X.numpy() for name, one in packed.items()}


def flat(
    adapter: Adapter, trains: tuple[Factor, ...] = ("a", "b"), others: Mapping[str, Tensor] | None = None
) -> dict[str, Tensor]:
    """Factors and other weights by name; each row of a factor is of one rank: eight bits have a step for each row."""
    found = {f"adapter/{name}/b": one.b_OR.T for name, one in adapter.items() if "b" in trains}
    found |= {f"adapter/{name}/a": one.a_RI for name, one in adapter.items() if "a" in trains}
    return found | {f"others/{name}": tensor for name, tensor in (others or {}).items()}


def from_flat(tensors: Mapping[str, Tensor]) -> dict[str, Factors]:
    """The factors of which `flat` gave both."""
    names = [name.removeprefix("adapter/")[:-2] for name in tensors if name.startswith("adapter/") and name[-1] == "b"]
    return {
        name: Factors(tensors[f"adapter/{name}/b"].T, tensors[f"adapter/{name}/a"])
        for name in names
        if f"adapter/{name}/a" in tensors
    }


def to_bytes(arrays: Arrays) -> bytes:
    """Arrays as one file of safetensors."""
    return save({name: np.asarray(array, order="C") for name, array in arrays.items()})


def from_bytes(file: bytes) -> dict[str, NDArray[np.generic]]:
    """What `to_bytes` was given.

    Raises:
        SafetensorError: if that is no such file; or KeyError, if it holds numbers of another kind.
    """
    found: dict[str, NDArray[np.generic]] = load(file)
    return found


def content(arrays: Arrays) -> str:
    """SHA-256 of arrays, their names, shapes and types."""
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def turned(residual: Mapping[str, Tensor], trained: Adapter, start: Adapter) -> dict[str, Tensor]:
    """What rounding took from factors, in the basis of factors given anew; of another rank it is dropped.

    Args:
        residual: as `flat` names it.
        trained: the factors that it was taken from.
        start: the factors that were given.
    """
    found = {name: tensor for name, tensor in residual.items() if name.startswith("others/")}
    for layer, last in trained.items():
        if layer in start and start[layer].rank == last.rank:
            turn_RR = turn(last, start[layer])
            for name in (f"adapter/{layer}/b", f"adapter/{layer}/a"):
                if name in residual and len(residual[name]) == last.rank:
                    found[name] = turn_RR.T @ residual[name]
    return found


def size_bytes(arrays: Arrays) -> int:
    """Of arrays on the wire, without headers."""
    return sum(array.nbytes for array in arrays.values())


def check_answer(order: Order, answer: Answer, arrays: Arrays, most_examples: int) -> None:
    """Refuse an answer that is not to this order, or not what it says.

    Args:
        order: what was asked.
        answer: what came.
        arrays: what came with it.
        most_examples: more than the device can have.

    Raises:
        BadInput: naming the device and what is wrong.
    """
    who = f"Answer of device '{order.device}' in round {order.number}"
    for name in ("run", "number", "device", "nonce", "base"):
        asked, told = getattr(order, name), getattr(answer, name)
        if asked != told:
            fix = "give the device the model of this run" if name == "base" else "it is not to this order: leave it out"
            raise BadInput(who, expected=f"{name} {str(asked)[:16]}", got=str(told)[:16], fix=fix)
    if answer.content != content(arrays):
        raise BadInput(who, expected="the arrays that were sent", got="others", fix="ask again")
    if not 1 <= answer.examples <= most_examples:
        got, fix = f"{answer.examples:,}", "correct what the device says of itself"
        raise BadInput(who, expected=f"1 to {most_examples:,} examples", got=got, fix=fix)
    told = all(score == -1.0 or 0.0 <= score <= 1.0 for score in (answer.score_before, answer.own_score))
    if not (told and math.isfinite(answer.loss) and 0.0 <= answer.seconds < math.inf):
        got = f"scores {answer.score_before:g} and {answer.own_score:g}, loss {answer.loss:g}, {answer.seconds:g} s"
        fix = "leave the device out, or mend its data"
        raise BadInput(who, expected="scores up to 1, a finite loss, seconds from 0", got=got, fix=fix)


def _factors(arrays: Arrays, prefix: str) -> dict[str, Factors]:
    names = sorted({name.removeprefix(prefix)[:-2] for name in arrays if name.startswith(prefix)})
    return {name: Factors(_tensor(arrays[f"{prefix}{name}/b"]), _tensor(arrays[f"{prefix}{name}/a"])) for name in names}


def _said(wanted: tuple[np.dtype[Any], tuple[int, ...]] | None) -> str:
    return f"{wanted[0]} {'x'.join(map(str, wanted[1])) or 'scalar'}" if wanted else "none"


def _numpy(tensor: Tensor) -> NDArray[np.generic]:
    array: NDArray[np.generic] = tensor.detach().float().contiguous().numpy()
    return array


def _tensor(array: NDArray[np.generic]) -> Tensor:
    return torch.tensor(array)  # where torch's own are in memory: sums are the same, wherever it came from
