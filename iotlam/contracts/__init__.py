"""The words all parts of iotlam share. Importing this loads numpy, never torch."""

from iotlam.contracts.checking import check_window
from iotlam.contracts.diagnosis import Diagnosis
from iotlam.contracts.edge import ChannelState, Device, Link
from iotlam.contracts.errors import BadInput, IotlamError, MissingExtra, PluginError, Terminated
from iotlam.contracts.frames import SensorFrame
from iotlam.contracts.manifest import API_VERSION, MANIFEST_NAME, ModalityManifest
from iotlam.contracts.modality import FramesByModality, Json, Modality, SelfSupervised
from iotlam.contracts.paths import check_page_path, check_writable, whole_file, whole_files
from iotlam.contracts.query import DecisionQuery
from iotlam.contracts.records import Record
from iotlam.contracts.tokens import TokenBatch, TokenSpec
from iotlam.contracts.units import UNITS, unit_factor

__all__ = [
    "API_VERSION",
    "MANIFEST_NAME",
    "UNITS",
    "BadInput",
    "ChannelState",
    "DecisionQuery",
    "Device",
    "Diagnosis",
    "FramesByModality",
    "IotlamError",
    "Json",
    "Link",
    "MissingExtra",
    "Modality",
    "ModalityManifest",
    "PluginError",
    "Record",
    "SelfSupervised",
    "SensorFrame",
    "Terminated",
    "TokenBatch",
    "TokenSpec",
    "check_window",
    "check_page_path",
    "check_writable",
    "unit_factor",
    "whole_file",
    "whole_files",
]
