"""Our policy, from a folder or as shipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iotlam.contracts import BadInput
from iotlam.fusion import FusionConfig
from iotlam.model import IotlamConfig, IotlamModel, from_pretrained
from iotlam.plugins import registry
from iotlam_traffic.lanes import COUNTS
from iotlam_traffic.query import ANCHOR_M, PHASE_FEATURES

SHIPPED = Path(__file__).parent / "weights"
"""The policy that comes with iotlam."""

FUSION = FusionConfig(n_anchors=len(ANCHOR_M), sigma_m=1.0, along=0.5)
"""Lanes are 3 m wide and lie side by side: a head looks along its own."""


def new_config(modalities: Sequence[str], decoder: str = "nano") -> IotlamConfig:
    """A policy on these sensors, which also learns to tell what is on each lane.

    Raises:
        BadInput: if there is no such modality.
    """
    specs = tuple(registry.load(name).spec for name in modalities)
    return IotlamConfig(specs, len(PHASE_FEATURES), COUNTS, decoder=decoder, fusion=FUSION)


def load_policy(folder: Path | None) -> IotlamModel:
    """The policy in a folder, or the shipped one.

    Raises:
        BadInput: if the folder holds no such model, or one for other questions.
    """
    model = from_pretrained(folder or SHIPPED)
    if model.config.n_features != len(PHASE_FEATURES):
        raise BadInput(
            str(folder),
            expected=f"a traffic policy ({len(PHASE_FEATURES)} features per phase)",
            got=f"a model with {model.config.n_features} features per candidate",
            fix="train one with: iotlam traffic train",
        )
    return model
