"""The model as a whole: configuration, processor, network, and the folder that it is saved in.

Names are imported when first asked for: padding tokens needs no transformers, which takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iotlam.model.config import IotlamConfig
    from iotlam.model.folder import OWN, from_pretrained, save_pretrained
    from iotlam.model.model import Decision, IotlamModel, Share, Wording
    from iotlam.model.processor import IotlamProcessor, ModelInput, collate

_MODULES = {
    "config": ("IotlamConfig",),
    "folder": ("OWN", "from_pretrained", "save_pretrained"),
    "model": ("Decision", "IotlamModel", "Share", "Wording"),
    "processor": ("IotlamProcessor", "ModelInput", "collate"),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "OWN",
    "Decision",
    "IotlamConfig",
    "IotlamModel",
    "IotlamProcessor",
    "ModelInput",
    "Share",
    "Wording",
    "collate",
    "from_pretrained",
    "save_pretrained",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
