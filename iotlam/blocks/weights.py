"""Weights of an encoder as safetensors, held against the module they are for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from iotlam.contracts import BadInput, whole_file

M = TypeVar("M", bound=nn.Module)


def save_weights(module: nn.Module, path: Path) -> None:
    """Write the weights in half precision; the file appears whole or not at all."""
    with whole_file(path) as partial:
        save_file({name: value.detach().half().contiguous() for name, value in module.state_dict().items()}, partial)


def trained(make: Callable[[], M], path: Path) -> M:
    """A new module with the weights of a file, in eval mode; nobody else's random numbers are drawn for it.

    Raises:
        BadInput: as `load_weights`.
    """
    with torch.random.fork_rng(devices=[]):
        module = make()
    load_weights(module, path)
    return module.eval()


def load_weights(module: nn.Module, path: Path) -> None:
    """Put the weights of a file into a module, which keeps its own precision.

    Raises:
        BadInput: if the file is missing or broken, names other weights or other shapes, or holds values that are not
            finite; the module is then as it was.
    """
    fix = "name weights that `iotlam pretrain` wrote for this modality"
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        got = "no such file" if isinstance(error, FileNotFoundError) else str(error).rstrip(".")
        raise BadInput(f"Weights '{path}'", expected="a safetensors file", got=got, fix=fix) from error
    wanted = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    shapes = {name: tuple(value.shape) for name, value in found.items()}
    if other := sorted(name for name in wanted.keys() | shapes.keys() if wanted.get(name) != shapes.get(name)):
        name = other[0]
        expected = f"'{name}' of shape {wanted[name]}" if name in wanted else f"no '{name}'"
        got = f"shape {shapes[name]}" if name in shapes else "none"
        raise BadInput(f"Weights '{path}'", expected=expected, got=got, fix=fix)
    if broken := sorted(name for name, value in found.items() if not bool(torch.isfinite(value).all())):
        raise BadInput(f"Weights '{path}'", expected="finite values", got=f"others in '{broken[0]}'", fix=fix)
    module.load_state_dict(found)
