"""Our model of machine faults, from a folder or as shipped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from iotlam.contracts import BadInput
from iotlam.fusion import FusionConfig
from iotlam.model import IotlamConfig, IotlamModel, from_pretrained
from iotlam.plugins import registry
from iotlam_faults.query import ANCHORS, FEATURES
from iotlam_faults.windows import ROI

SHIPPED = Path(__file__).parent / "weights"
"""The model that comes with iotlam."""

FUSION = FusionConfig(n_anchors=ANCHORS, sigma_m=1.5)
"""A head looks around its line: slip moves it by a step or two."""

TOLD = 1
"""Facts of each place: how bad the damage there is."""


def new_config(modalities: Sequence[str], decoder: str = "nano") -> IotlamConfig:
    """A model on these sensors.

    Raises:
        BadInput: if there is no such modality.
    """
    specs = tuple(registry.load(name).spec for name in modalities)
    return IotlamConfig(specs, len(FEATURES), TOLD, head="classify", decoder=decoder, roi_m=ROI, fusion=FUSION)


def load_model(folder: Path | None) -> IotlamModel:
    """The model in a folder, or the shipped one.

    Raises:
        BadInput: if the folder holds no such model, or one for other questions.
    """
    model = from_pretrained(folder or SHIPPED)
    if (model.config.n_features, model.config.n_facts, model.config.head) != (len(FEATURES), TOLD, "classify"):
        raise BadInput(
            str(folder),
            expected=f"a model of machine faults ({len(FEATURES)} features per fault)",
            got=f"a model to {model.config.head} with {model.config.n_features} features per candidate",
            fix="train one with: iotlam faults train",
        )
    return model
