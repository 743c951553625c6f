"""What a modality plugin is: at most four methods, and an encoder where it learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from iotlam.contracts.frames import SensorFrame
from iotlam.contracts.tokens import TokenBatch, TokenSpec

if TYPE_CHECKING:
    from torch import Tensor


@runtime_checkable
class Modality(Protocol):
    """A plugin: turns frames of one modality into tokens.

    Two things are optional: a method `reconstruct(tokens: TokenBatch) -> Sequence[SensorFrame]`, the frames as far
    as the tokens tell them; and an attribute `encoder`, a `torch.nn.Module` with the learnt weights, which
    `iotlam pretrain` trains if it is a `SelfSupervised`.
    """

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode one window of one site (all sensors of the modality) as a batch of B = 1.

        Frames may come from several sensors (`frame.sensor`) and instants; the latest `t_ns` is now.
        """
        ...

    def token_spec(self) -> TokenSpec:
        """Width and number of the tokens."""
        ...

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """One window of plausible data to try the plugin on."""
        ...


@runtime_checkable
class SelfSupervised(Protocol):
    """An encoder that can learn from frames without labels."""

    def self_supervised_loss(self, windows: Sequence[Sequence[SensorFrame]], seed: int) -> Tensor:
        """Scalar loss of a few windows, in nats or in units of variance.

        Args:
            windows: windows of frames, as `tokenize` takes them.
            seed: of whatever the loss draws (masks, negatives).
        """
        ...


FramesByModality = Mapping[str, Sequence[SensorFrame]]
Json = dict[str, Any]
