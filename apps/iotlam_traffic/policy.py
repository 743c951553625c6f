"""Our policy, from a folder or as shipped."""

from __future__ import annotations

from pathlib import Path

from iotlam.contracts import BadInput
from iotlam.model import IotlamModel, from_pretrained
from iotlam_traffic.query import PHASE_FEATURES

SHIPPED = Path(__file__).parent / "weights"
"""The policy that comes with iotlam."""


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
