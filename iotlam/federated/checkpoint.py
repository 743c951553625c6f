"""The server's state after a round, in a file that is whole or not there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from iotlam.contracts import BadInput, whole_file
from iotlam.federated.appended import writing


def write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a state; it is on the disk when this returns.

    Returns:
        The file's SHA-256.

    Raises:
        BadInput: if there is no room.
    """
    with writing(path), whole_file(path, durable=True) as partial:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial)
    return _sha256(path)


def read(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read what was written.

    Raises:
        BadInput: if the file is not there any more as it was.
    """
    try:
        if _sha256(path) != sha256:
            raise ValueError("another file than was written")
        return load_file(path)
    except (OSError, ValueError, SafetensorError) as error:
        fix = "restore it from a copy, or begin anew"
        raise BadInput(str(path), expected="the state after a round", got=str(error), fix=fix) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
