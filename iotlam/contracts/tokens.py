"""What every encoder returns: a batch of tokens of one modality."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from iotlam.contracts.errors import BadInput
from iotlam.contracts.records import Record

if TYPE_CHECKING:
    from torch import Tensor


class TokenSpec(Record, frozen=True):
    """What a plugin promises of its tokens, without running it on data.

    Attributes:
        modality: name of the modality.
        dim: width D of a token.
        max_tokens: the most tokens one call of `tokenize` returns.
        positioned: whether tokens carry ground positions (docs/adr/0002).
    """

    modality: str
    dim: int
    max_tokens: int
    positioned: bool = False


@dataclass(frozen=True, slots=True)
class TokenBatch:
    """Tokens of one modality.

    Attributes:
        tokens_BTD: float32, B windows of T tokens of width D.
        mask_BT: bool, False marks padding and missing data.
        time_BT: float32, seconds after now (0 now, -1 a second older). A plugin knows its own frames only: its now is
            its newest frame; the processor moves it to the newest frame of the site.
        modality: name of the modality.
        position_BTX: float32 (B, T, 2), place of each token on the ground in site coordinates,
            metres; None for a modality that measures no place.

    Raises:
        BadInput: if the shapes do not fit together.
    """

    tokens_BTD: Tensor
    mask_BT: Tensor
    time_BT: Tensor
    modality: str
    position_BTX: Tensor | None = None

    def __post_init__(self) -> None:
        shape = tuple(self.tokens_BTD.shape)
        if len(shape) != 3:
            raise self._bad("tokens_BTD", "three dimensions (B, T, D)", shape)
        for name in ("mask_BT", "time_BT"):
            if tuple(getattr(self, name).shape) != shape[:2]:
                raise self._bad(name, f"shape {shape[:2]}", tuple(getattr(self, name).shape))
        if self.position_BTX is not None and tuple(self.position_BTX.shape) != (*shape[:2], 2):
            raise self._bad("position_BTX", f"shape {(*shape[:2], 2)}", tuple(self.position_BTX.shape))

    def _bad(self, field: str, expected: str, got: object) -> BadInput:
        return BadInput(
            f"TokenBatch.{field} of modality '{self.modality}'",
            expected=expected,
            got=f"shape {got}",
            fix="return tensors whose batch and token dimensions agree",
        )

    def nothing(self) -> TokenBatch:
        """As many windows of the same modality without a token: for what lacks it."""
        position_BTX = None if self.position_BTX is None else self.position_BTX[:, :0]
        return TokenBatch(self.tokens_BTD[:, :0], self.mask_BT[:, :0], self.time_BT[:, :0], self.modality, position_BTX)

    @property
    def dim(self) -> int:
        """Width D of a token."""
        return int(self.tokens_BTD.shape[2])
