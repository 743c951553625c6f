"""What a device sends: differences to what it was given, in eight bits, the rounding carried to the next round.

Differences, because a device and its server both know what was given, and what training changes is far smaller than
what it changes. Error feedback (Seide et al., 2014; Karimireddy et al., 2019): what rounding took this time is added
before rounding the next time, so that over rounds nothing is lost where a tensor's entries keep their meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
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


def pack(tensor: Tensor) -> Packed:
    """Round to 255 levels row by row; the greatest of a row is exact to float32."""
    rows_XY = tensor.reshape(rows(tensor), -1)
    step_X = (rows_XY.abs().amax(1) / LARGEST).float()
    by_X1 = torch.where(step_X > 0, step_X, 1.0).to(tensor.dtype)[:, None]
    values_XY = (rows_XY / by_X1).round().clamp(-LARGEST, LARGEST).to(torch.int8)
    return Packed(values_XY.reshape(tensor.shape), step_X)


def rows(tensor: Tensor) -> int:
    """How many steps its eight bits have."""
    return len(tensor) if tensor.dim() > 1 else 1


def unpack(packed: Packed, dtype: torch.dtype = torch.float32) -> Tensor:
    """The tensor that was rounded."""
    rows_XY = packed.values.reshape(len(packed.step_X), -1).to(dtype)
    return (rows_XY * packed.step_X[:, None].to(dtype)).reshape(packed.values.shape)


def packed(
    changes: Mapping[str, Tensor], residual: Mapping[str, Tensor]
) -> tuple[dict[str, Packed], dict[str, Tensor]]:
    """Round changes, what earlier rounding took added.

    Args:
        changes: by name.
        residual: what rounding has taken so far; one of another shape (a new rank) is dropped.

    Returns:
        What to send, and the new residual, which keeps what is of names that were not sent.

    Raises:
        BadInput: if a change is not finite.
    """
    found: dict[str, Packed] = {}
    left = dict(residual)
    for name, change in changes.items():
        kept = residual.get(name)
        wanted = change + kept if kept is not None and kept.shape == change.shape else change
        if not torch.isfinite(wanted).all():
            fix = "lower the learning rate, or mend the device's data"
            raise BadInput(f"Change of '{name}'", expected="finite numbers", got="NaN or infinity", fix=fix)
        found[name] = pack(wanted)
        left[name] = wanted - unpack(found[name], wanted.dtype)
    return found, left
