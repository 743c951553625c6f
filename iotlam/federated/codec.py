"""What a device sends: differences to what it was given, in eight bits, the rounding carried to the next round.

Differences, because a device and its server both know what was given, and what training changes is far smaller than
what it changes. Error feedback (Seide et al., 2014; Karimireddy et al., 2019): what rounding took this time is added
before rounding the next time, so that over rounds nothing is lost where a tensor's entries keep their meaning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from iotlam.contracts import BadInput

LARGEST = 127


@dataclass(frozen=True, slots=True)
class Packed:
    """A tensor in eight bits.

    Attributes:
        values: integers from -127 to 127, of the tensor's shape.
        step_X: float32, what one unit is in each row (along the first dimension; a vector is one row).
    """

    values: Tensor
    step_X: Tensor


def rows(tensor: Tensor) -> int:
    """How many steps its eight bits have."""
    return len(tensor) if tensor.dim() > 1 else 1


def unpacked(packed: Mapping[str, Packed]) -> dict[str, Tensor]:
    """The tensors that were rounded, in float32."""
    parts = list(packed.values())
    value_X = torch.cat([part.values.reshape(-1) for part in parts])
    step_R = torch.cat([part.step_X for part in parts])
    all_X = value_X.float() * step_R.repeat_interleave(_lengths([(p.values.numel(), len(p.step_X)) for p in parts]))
    tensors = torch.split(all_X, [part.values.numel() for part in parts])
    return {name: x.reshape(part.values.shape) for (name, part), x in zip(packed.items(), tensors, strict=True)}


def packed(
    changes: Mapping[str, Tensor], residual: Mapping[str, Tensor]
) -> tuple[dict[str, Packed], dict[str, Tensor]]:
    """Round changes, what earlier rounding took added.

    Args:
        changes: by name, of one type.
        residual: what rounding has taken so far; one of another shape (a new rank) is dropped.

    Returns:
        What to send, and the new residual, which keeps what is of names that were not sent.

    Raises:
        BadInput: if a change is not finite.
    """
    wanted: dict[str, Tensor] = {}
    for name, change in changes.items():
        kept = residual.get(name)
        wanted[name] = change + kept if kept is not None and kept.shape == change.shape else change
    found, left = _pack_all(wanted)
    return found, {**residual, **left}


def _pack_all(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Packed], dict[str, Tensor]]:
    """Eight bits of tensors, and what rounding took; all are one vector, since small tensors cost more than numbers."""
    sizes = [tensor.numel() for tensor in tensors.values()]
    counts = [rows(tensor) for tensor in tensors.values()]
    all_X = torch.cat([tensor.reshape(-1) for tensor in tensors.values()]) if tensors else torch.zeros(0)
    if not torch.isfinite(all_X).all():
        name = next(name for name, tensor in tensors.items() if not torch.isfinite(tensor).all())
        fix = "lower the learning rate, or mend the device's data"
        raise BadInput(f"Change of '{name}'", expected="finite numbers", got="NaN or infinity", fix=fix)
    length_R = _lengths(zip(sizes, counts, strict=True))
    step_R = (torch.segment_reduce(all_X.abs(), "max", lengths=length_R) / LARGEST).float()
    by_R = torch.where(step_R > 0, step_R, 1.0).to(all_X.dtype)
    value_X = (all_X / by_R.repeat_interleave(length_R)).round().clamp(-LARGEST, LARGEST).to(torch.int8)
    left_X = all_X - value_X.to(all_X.dtype) * step_R.to(all_X.dtype).repeat_interleave(length_R)
    parts = zip(
        tensors.items(),
        torch.split(value_X, sizes),
        torch.split(step_R, counts),
        torch.split(left_X, sizes),
        strict=True,
    )
    found, left = {}, {}
    for (name, tensor), values, step_X, rest in parts:
        found[name], left[name] = Packed(values.reshape(tensor.shape), step_X), rest.reshape(tensor.shape)
    return found, left


def _lengths(sizes: Iterable[tuple[int, int]]) -> Tensor:
    """Of the rows of tensors, from their numbers of entries and of rows."""
    return torch.tensor([entries // count for entries, count in sizes for _ in range(count)])
