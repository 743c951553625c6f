"""The tokens in iotlam's fusion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from iotlam.conformance.catalog import STEADY, Failed, check
from iotlam.conformance.subject import Subject
from iotlam.conformance.windows import Frames, resized, variable_axes
from iotlam.contracts import BadInput, DecisionQuery, TokenBatch, TokenSpec

if TYPE_CHECKING:
    from iotlam.fusion import BottleneckFusion, FusionOutput

AREA = "fusion"
FUSES = (*STEADY, "fuses-alone")
OTHER = TokenSpec("another_of_the_kit", dim=4, max_tokens=8)
TOLERANCE = 1e-4


@check(AREA, "gold", needs=(*STEADY, "tokens-scaled", "positions-on-site", "times-in-window"))
def fuses_alone(subject: Subject) -> None:
    """Tokens of a sample are fused: finite latents, and bits that are finite and not negative."""
    tokens = subject.tokenize(subject.sample(0))
    _sound(_fuse(_fusion(subject), {subject.name: tokens}), "tokens of a sample")


@check(AREA, "gold", needs=FUSES)
def fuses_with_another(subject: Subject) -> None:
    """Together with another modality it is fused."""
    tokens = {subject.name: subject.tokenize(subject.sample(0)), OTHER.modality: _other()}
    _sound(_fuse(_fusion(subject), tokens), "two modalities")


@check(AREA, "gold", needs=FUSES)
def fusion_without_it(subject: Subject) -> None:
    """Without this modality, and with all of its tokens masked, the other is fused as if it were alone."""
    fusion, other = _fusion(subject), {OTHER.modality: _other()}
    alone = _fuse(fusion, other)
    _sound(alone, "the other modality alone")
    tokens = subject.tokenize(subject.sample(0))
    masked = replace(tokens, mask_BT=tokens.mask_BT & False)
    _near(alone, _fuse(fusion, {subject.name: masked, **other}), "masked tokens and none at all")


@check(AREA, "gold", needs=FUSES)
def fusion_of_noise(subject: Subject) -> None:
    """Tokens replaced by noise are fused."""
    import torch

    tokens = subject.tokenize(subject.sample(0))
    noise_BTD = torch.randn(tokens.tokens_BTD.shape, generator=torch.Generator().manual_seed(0))
    _sound(_fuse(_fusion(subject), {subject.name: replace(tokens, tokens_BTD=noise_BTD)}), "noise")


@check(AREA, "gold", needs=FUSES)
def fusion_learns(subject: Subject) -> None:
    """A gradient from the latents reaches the modality's part of the fusion, and is finite."""
    fusion = _fusion(subject).train()
    latents_BKD = _fuse(fusion, {subject.name: subject.tokenize(subject.sample(0))}, learn=True).latents_BKD
    latents_BKD.sum().backward()  # type: ignore[no-untyped-call]
    gradients = [parameter.grad for parameter in fusion.gates[subject.name].parameters()]
    if not all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients):
        raise Failed(
            "tokenize, tokens_BTD",
            expected="tokens that a gate can learn from",
            got="no finite gradient",
            fix="return plain float32 tensors of usual size",
        )


@check(AREA, "gold", needs=FUSES)
def padding_makes_no_difference(subject: Subject) -> None:
    """A window in a padded batch gives the latents that it gives alone."""
    from iotlam.model import collate

    fusion, query = _fusion(subject), _query()
    examples = [({subject.name: subject.tokenize(frames)}, query) for frames in _short_and_long(subject)]
    padded = collate(examples)
    together = _fuse(fusion, padded.batches)
    for row, example in enumerate(examples):
        single = collate([example])
        alone = _fuse(fusion, single.batches)
        found = float((together.latents_BKD[row] - alone.latents_BKD[0]).abs().max())
        if not found <= TOLERANCE * (1.0 + float(alone.latents_BKD.abs().max())):
            raise Failed(
                "tokenize",
                expected="the same latents in a padded batch as alone",
                got=f"{found:.3g} apart",
                fix="give tokens and mask of one window only",
            )


def _short_and_long(subject: Subject) -> list[Frames]:
    """Windows of different length where the manifest lets it vary, else two samples."""
    frames = subject.sample(0)
    for axis in variable_axes(subject.manifest):
        short = [resized(frame, axis, max(frame.data.shape[axis] // 2, 1)) for frame in frames]
        try:
            subject.tokenize(short)
        except BadInput:
            continue
        return [frames, short]
    return [frames, subject.sample(1)]


def _fusion(subject: Subject) -> BottleneckFusion:
    """A small fusion of this modality and another, with the same weights every time; its whitening has seen samples."""
    import torch

    from iotlam.fusion import BottleneckFusion, FusionConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        try:
            fusion = BottleneckFusion([subject.spec, OTHER], FusionConfig(d_fusion=16, n_anchors=2))
        except KeyError as error:
            raise Failed(
                "name", expected="a name that torch can register", got=str(error), fix="choose another name"
            ) from error
        for seed in range(2):
            tokens = subject.tokenize(subject.sample(seed))
            _fuse(fusion, {subject.name: replace(tokens, tokens_BTD=tokens.tokens_BTD.detach().clone())})
    return fusion.eval()


def _query() -> DecisionQuery:
    anchors_KHX = np.array([[[0.0, 0.0], [5.0, 0.0]], [[20.0, 10.0], [25.0, 10.0]]], dtype=np.float32)
    ones = np.ones((1, 2), dtype=np.float32)
    return DecisionQuery(anchors_KHX, ones, np.ones((1, 1), np.float32), np.ones(1, np.bool_))


def _other() -> TokenBatch:
    import torch

    tokens_BTD = torch.randn(1, 5, OTHER.dim, generator=torch.Generator().manual_seed(1))
    return TokenBatch(tokens_BTD, torch.ones(1, 5, dtype=torch.bool), torch.zeros(1, 5), OTHER.modality)


def _fuse(fusion: BottleneckFusion, tokens: Mapping[str, TokenBatch], learn: bool = False) -> FusionOutput:
    import torch

    windows = len(next(iter(tokens.values())).mask_BT)
    anchors_BKHX = torch.from_numpy(_query().anchors_KHX).expand(windows, -1, -1, -1)
    with torch.set_grad_enabled(learn):
        fused: FusionOutput = fusion(tokens, anchors_BKHX, torch.ones(anchors_BKHX.shape[:2], dtype=torch.bool))
    return fused


def _sound(fused: FusionOutput, what: str) -> None:
    import torch

    bits = torch.cat([bits_BT.flatten() for bits_BT in fused.bits.values()])
    if not bool(fused.latents_BKD.isfinite().all()) or not bool(bits.isfinite().all()) or bool((bits < -1e-5).any()):
        raise Failed(
            "tokenize",
            expected=f"finite latents and bits from {what}",
            got="values that are not",
            fix="scale the tokens",
        )


def _near(one: FusionOutput, other: FusionOutput, what: str) -> None:
    apart = float((one.latents_BKD - other.latents_BKD).abs().max())
    if not apart <= TOLERANCE:
        raise Failed("tokenize", expected=f"the same latents from {what}", got=f"{apart:.3g} apart", fix="mask tokens")
