"""Training state as safetensors: trainable weights, buffers, optimiser, generator and step; no pickle."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from iotlam.contracts import BadInput, whole_file

CHECKPOINT = "checkpoint.safetensors"


def save_checkpoint(folder: Path, module: nn.Module, optimizer: Optimizer, step: int, recipe: str) -> None:
    """Write what is needed to go on from `step`; the file appears whole or not at all.

    `recipe` is whatever must be the same for the rest of the run, as text.
    """
    tensors = {f"weight/{name}": value.detach() for name, value in _state(module).items()}
    for index, parameter in enumerate(_parameters(optimizer)):
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{index}/{key}"] = torch.as_tensor(value)
    tensors["rng/torch"] = torch.get_rng_state()
    metadata = {"step": str(step), "recipe": recipe}
    with whole_file(folder / CHECKPOINT) as partial:
        save_file({key: value.clone().contiguous() for key, value in tensors.items()}, partial, metadata)


def load_checkpoint(folder: Path, module: nn.Module, optimizer: Optimizer, recipe: str) -> int:
    """Restore the state that `save_checkpoint` wrote.

    Returns:
        The step to go on from; 0 where there is no checkpoint.

    Raises:
        BadInput: if the checkpoint is broken, or of another model or recipe.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return 0
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            step, made_by = int(metadata["step"]), metadata["recipe"]
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - safe_open is no dict
        if made_by != recipe:
            raise ValueError(f"one made with {made_by}")
        _restore(module, optimizer, tensors)
    except (SafetensorError, OSError, KeyError, ValueError, RuntimeError) as error:
        got = f"a file without {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        fix = "delete it to start the stage anew"
        raise BadInput(str(path), expected=f"a checkpoint of this model, {recipe}", got=got, fix=fix) from error
    return step


def _restore(module: nn.Module, optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    state = _state(module)
    wanted = {f"weight/{name}": value.shape for name, value in state.items()}
    found = {name: value.shape for name, value in tensors.items() if name.startswith("weight/")}
    if other := sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name)):
        raise ValueError(f"{len(other)} other weights, '{other[0].removeprefix('weight/')}' among them")
    with torch.no_grad():
        for name, value in state.items():
            value.copy_(tensors[f"weight/{name}"])
    for index, parameter in enumerate(_parameters(optimizer)):
        prefix = f"optimizer/{index}/"
        entries = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
        if entries:
            moved = {key: value if key == "step" else value.to(parameter.device) for key, value in entries.items()}
            optimizer.state[parameter].update(moved)
    torch.set_rng_state(tensors["rng/torch"])


def _state(module: nn.Module) -> dict[str, Tensor]:
    trained = {name: value for name, value in module.named_parameters() if value.requires_grad}
    return trained | dict(module.named_buffers())


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
