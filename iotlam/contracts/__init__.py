"""The words all parts of iotlam share. Importing this loads numpy, never torch."""

from iotlam.contracts.errors import BadInput, IotlamError, MissingExtra, PluginError
from iotlam.contracts.frames import SensorFrame
from iotlam.contracts.modality import API_VERSION, MANIFEST_NAME, FramesByModality, Json, Modality, ModalityManifest
from iotlam.contracts.paths import check_writable
from iotlam.contracts.query import DecisionQuery
from iotlam.contracts.tokens import TokenBatch, TokenSpec

__all__ = [
    "API_VERSION",
    "MANIFEST_NAME",
    "BadInput",
    "DecisionQuery",
    "FramesByModality",
    "IotlamError",
    "Json",
    "MissingExtra",
    "Modality",
    "ModalityManifest",
    "PluginError",
    "SensorFrame",
    "TokenBatch",
    "TokenSpec",
    "check_writable",
]
