"""What a device sends: differences to what it was given, in eight bits, the rounding carried to the next round.

Differences, because a device and its server both know what was given, and what training changes is far smaller than
what it changes. Error feedback (Seide et al., 2014; Karimireddy et al., 2019): what rounding took this time is added
before rounding the next time, so that over rounds nothing is lost.
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
        step_X: float32, what one unit is in each row (along the first dimension).
    """

    values: Tensor
    step_X: Tensor

    @property
    def size_bytes(self) -> int:
        """On the wire, headers not counted."""
        return self.values.numel() + 4 * self.step_X.numel()


def pack(tensor: Tensor) -> Packed:
    """Round to 255 levels row by row; the greatest of a row is exact to float32."""
    rows_XY = tensor.reshape(len(tensor), -1) if tensor.dim() else tensor.reshape(1, 1)
    step_X = (rows_XY.abs().amax(1) / LARGEST).float()
    by_X1 = torch.where(step_X > 0, step_X, 1.0).to(tensor.dtype)[:, None]
    values_XY = (rows_XY / by_X1).round().clamp(-LARGEST, LARGEST).to(torch.int8)
    return Packed(values_XY.reshape(tensor.shape), step_X)


def unpack(packed: Packed, dtype: torch.dtype = torch.float32) -> Tensor:
    """The tensor that was rounded."""
    rows_XY = packed.values.reshape(len(packed.step_X), -1).to(dtype)
    return (rows_XY * packed.step_X[:, None].to(dtype)).reshape(packed.values.shape)


class ErrorFeedback:
    """Packs what a device sends round after round.

    Args:
        residual: what rounding has taken so far, by name; as `residual` was when the device last stopped.
    """

    def __init__(self, residual: Mapping[str, Tensor] | None = None) -> None:
        self.residual = dict(residual or {})

    def pack(self, changes: Mapping[str, Tensor]) -> dict[str, Packed]:
        """Round changes, what earlier rounding took added; a residual of another shape (a new rank) is dropped.

        Raises:
            BadInput: if a change is not finite; then nothing has been taken over.
        """
        found: dict[str, Packed] = {}
        residual: dict[str, Tensor] = {}
        for name, change in changes.items():
            kept = self.residual.get(name)
            wanted = change + kept if kept is not None and kept.shape == change.shape else change
            if not torch.isfinite(wanted).all():
                fix = "lower the learning rate, or mend the device's data"
                raise BadInput(f"Update of '{name}'", expected="finite numbers", got="NaN or infinity", fix=fix)
            found[name] = pack(wanted)
            residual[name] = wanted - unpack(found[name], wanted.dtype)
        self.residual = residual
        return found
