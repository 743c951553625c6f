"""The model as a whole: configuration, processor, network, and the folder that it is saved in."""

from iotlam.model.config import IotlamConfig
from iotlam.model.folder import OWN, from_pretrained, save_pretrained
from iotlam.model.model import Decision, IotlamModel, Share
from iotlam.model.processor import IotlamProcessor, ModelInput, collate

__all__ = [
    "OWN",
    "Decision",
    "IotlamConfig",
    "IotlamModel",
    "IotlamProcessor",
    "ModelInput",
    "Share",
    "collate",
    "from_pretrained",
    "save_pretrained",
]
