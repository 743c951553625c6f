"""Heads that look along their place: the kernel by hand, no gaps, little of the place beside, and how it learns."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput
from iotlam.fusion import FusionConfig
from iotlam.fusion.attention import ModalityAdaptor

SIGMA_M, SHARE = 1.0, 0.5
BEND = torch.tensor([[0.0, 0.0], [10.0, 0.0], [10.0, 20.0]])
"""A place that turns left after 10 m."""


def adaptor(along: float = SHARE) -> ModalityAdaptor:
    return ModalityAdaptor(4, 6, len(BEND), SIGMA_M, along)


def nearness(points: list[tuple[float, float]], along: float = SHARE) -> torch.Tensor:
    """Of points to the three anchors of the bend, (H, T)."""
    position_BTX = torch.tensor([points])
    mask_BT = torch.ones(1, len(points), dtype=torch.bool)
    near_BHKT = adaptor(along).nearness(position_BTX, mask_BT, BEND[None, None])
    return near_BHKT[0, :, 0].detach()


def by_hand(way: float, across: float) -> list[float]:
    """For a point so far along the bend and so far from it."""
    spacings = (10.0, 15.0, 20.0)
    wide = [math.hypot(SIGMA_M, SHARE * spacing) for spacing in spacings]
    return [
        math.exp(-((way - at) ** 2) / (2 * each**2) - across**2 / (2 * SIGMA_M**2))
        for at, each in zip((0.0, 10.0, 30.0), wide, strict=True)
    ]


@pytest.mark.parametrize(
    ("point", "way", "across"),
    [
        ((4.0, 0.0), 4.0, 0.0),
        ((4.0, 1.5), 4.0, 1.5),
        ((10.0, 12.0), 22.0, 0.0),
        ((8.5, 12.0), 22.0, 1.5),
        ((11.0, -1.0), 10.0, math.sqrt(2.0)),  # outside the bend
        ((-2.0, 0.0), 0.0, 2.0),  # before the first anchor
        ((10.0, 21.0), 30.0, 1.0),  # beyond the last
    ],
)
def test_the_kernel_by_hand(point: tuple[float, float], way: float, across: float) -> None:
    assert nearness([point])[:, 0].tolist() == pytest.approx(by_hand(way, across), rel=1e-4)


def test_there_is_no_gap_along_a_place_and_little_is_seen_of_the_next() -> None:
    on_it = nearness([(10.0, y) for y in np.linspace(0.0, 20.0, 41)])
    assert float(on_it.max(0).values.min()) > 0.5
    assert float(nearness([(13.2, y) for y in np.linspace(0.0, 20.0, 41)]).max()) < 0.01  # the next lane
    around = nearness([(10.0, 10.0)], along=0.0)
    assert float(around.max()) < 1e-6  # without: half-way between two anchors nobody looks


def test_both_widths_learn_and_anchors_do_not_matter_where_they_coincide() -> None:
    one, position_BTX = adaptor(), torch.tensor([[[4.0, 1.0], [9.0, -2.0]]])
    one.nearness(position_BTX, torch.ones(1, 2, dtype=torch.bool), BEND[None, None]).sum().backward()
    for parameter in (one.sigma_raw_H, one.along_raw_H):
        assert parameter is not None and parameter.grad is not None and bool((parameter.grad > 0).any())
    same = torch.zeros(1, 1, 3, 2)
    mask_BT = torch.ones(1, 2, dtype=torch.bool)
    torch.testing.assert_close(
        one.nearness(position_BTX, mask_BT, same), adaptor(0.0).nearness(position_BTX, mask_BT, same)
    )


def test_a_single_anchor_has_no_way_along() -> None:
    with pytest.raises(BadInput, match="FusionConfig.along: expected 0 to 2, and 0 for a single anchor"):
        FusionConfig(d_fusion=8, n_anchors=1, along=0.5)
    with pytest.raises(BadInput, match="FusionConfig.along"):
        FusionConfig(along=-0.1)
