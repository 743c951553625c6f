"""Finding and loading what others registered through entry points."""

from iotlam.plugins.discovery import find, load_entry, names, unknown_name
from iotlam.plugins.registry import LoadedModality, ModalityInfo, list_modalities, load, load_many

__all__ = [
    "LoadedModality",
    "ModalityInfo",
    "find",
    "list_modalities",
    "load",
    "load_entry",
    "load_many",
    "names",
    "unknown_name",
]
