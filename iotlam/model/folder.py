"""A model as a folder of JSON and safetensors; pickles are neither written nor read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from peft import get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from iotlam.contracts import BadInput, Json, whole_files
from iotlam.model.card import model_card
from iotlam.model.config import IotlamConfig
from iotlam.model.model import IotlamModel

CONFIG, ADAPTER, ADAPTER_CONFIG = "config.json", "adapter_model.safetensors", "adapter_config.json"
WEIGHTS, CARD = "iotlam.safetensors", "README.md"
OWN = (WEIGHTS, ADAPTER, ADAPTER_CONFIG, CARD, CONFIG)
"""The files of a model; a folder may hold others."""

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")


def save_pretrained(model: IotlamModel, folder: Path, training: Mapping[str, object] | None = None) -> None:
    """Write the model's own files; whatever else is in the folder (metrics, checkpoints) stays.

    Each file is written beside its place and moved there, `config.json` last.

    Args:
        model: the model.
        folder: where to; made if missing.
        training: facts about the training for the model card, in order.
    """
    with whole_files(folder, last=CONFIG) as new:
        _write(model, new, training or {})


def from_pretrained(folder: Path) -> IotlamModel:
    """Read what `save_pretrained` wrote, in eval mode.

    Raises:
        BadInput: if a file is missing or unreadable, weights came as a pickle, belong to another
            architecture, or were trained on another decoder.
    """
    _refuse_pickles(folder)
    config = IotlamConfig.from_json(_text(folder / CONFIG), str(folder / CONFIG))
    _check_adapter(folder / ADAPTER_CONFIG, config)
    model = IotlamModel(config)
    adapter = _tensors(folder / ADAPTER)
    _check_same(folder / ADAPTER, adapter, get_peft_model_state_dict(model.decoder, save_embedding_layers=False))
    set_peft_model_state_dict(model.decoder, adapter)
    weights = _tensors(folder / WEIGHTS)
    _check_one_saving(folder, digest(adapter | weights))
    _check_same(folder / WEIGHTS, weights, own_state(model))
    model.load_state_dict(weights, strict=False)
    return model.eval()


def _write(model: IotlamModel, folder: Path, training: Mapping[str, object]) -> None:
    peft_config = model.decoder.peft_config["default"]
    peft_config.base_model_name_or_path = model.config.decoder
    peft_config.save_pretrained(str(folder))
    adapter = get_peft_model_state_dict(model.decoder, save_embedding_layers=False)
    own = own_state(model)
    # Both files say which weights they belong to: a save that dies between the two leaves no mixture that would load.
    metadata = {"saving": weights_sha256(model)}  # one key: safetensors writes several in any order
    save_file({name: tensor.contiguous() for name, tensor in adapter.items()}, folder / ADAPTER, metadata)
    save_file({name: tensor.contiguous() for name, tensor in own.items()}, folder / WEIGHTS, metadata)
    config = model.config.changed(decoder_sha256=model.base_sha256)
    (folder / CONFIG).write_text(config.to_json(), encoding="utf-8")
    (folder / CARD).write_text(model_card(config, model.trainable_share(), training), encoding="utf-8")


def own_state(model: IotlamModel) -> dict[str, Tensor]:
    """Weights and buffers outside the decoder."""
    return {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("decoder.")}


def weights_sha256(model: IotlamModel) -> str:
    """SHA-256 of what was learnt: the adapter and all outside the decoder."""
    return digest(get_peft_model_state_dict(model.decoder, save_embedding_layers=False) | own_state(model))


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors and their names."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(name.encode() + tensor.detach().contiguous().cpu().numpy().tobytes())
    return found.hexdigest()


def _refuse_pickles(folder: Path) -> None:
    if not folder.is_dir():
        raise BadInput(f"Model {folder}", expected="a folder", got="none", fix="name the folder of a finished run")
    named = {CONFIG, ADAPTER, WEIGHTS}
    pickles = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in PICKLES)
    if pickles and not all((folder / name).exists() for name in named):
        raise BadInput(
            f"Model {folder}", expected="safetensors", got=f"a pickle, {pickles[0]}", fix="save the model with iotlam"
        )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _tensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _check_one_saving(folder: Path, saving: str) -> None:
    if any(_saving(folder / name) != saving for name in (ADAPTER, WEIGHTS)):
        raise BadInput(
            f"Model {folder}",
            expected="adapter and weights of one saving",
            got="files of two, as an interrupted save leaves them, or damaged ones",
            fix="save the model again, restore it, or resume its training",
        )


def _saving(path: Path) -> str:
    try:
        with safe_open(path, "pt") as file:
            return str((file.metadata() or {}).get("saving", ""))
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BadInput:
    got = "no such file" if isinstance(error, FileNotFoundError) else str(error).rstrip(".")
    return BadInput(f"File {path}", expected="a readable file", got=got, fix="save the model again or restore it")


def _check_adapter(path: Path, config: IotlamConfig) -> None:
    try:
        adapter: Json = json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise _unreadable(path, error) from error
    if not isinstance(adapter, dict):
        raise _unreadable(path, ValueError(f"a {type(adapter).__name__} instead of an object"))
    got = (adapter.get("peft_type"), adapter.get("r"), adapter.get("lora_alpha"))
    if got != (want := ("LORA", config.lora_rank, config.lora_alpha)):
        raise BadInput(
            f"File {path}",
            expected=f"type {want[0]}, rank {want[1]}, alpha {want[2]}",
            got=f"type {got[0]}, rank {got[1]}, alpha {got[2]}",
            fix="use the adapter and config.json of the same run",
        )


def _check_same(path: Path, got: Mapping[str, Tensor], want: Mapping[str, Tensor]) -> None:
    """Names, shapes and types must be those of the architecture in config.json."""
    here = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in got.items()}
    there = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in want.items()}
    wrong = sorted(name for name in here.keys() | there.keys() if here.get(name) != there.get(name))
    if poisoned := sorted(name for name, tensor in got.items() if not bool(tensor.isfinite().all())):
        raise BadInput(
            f"Weights {path}", expected="finite numbers", got=f"others in {poisoned[0]}", fix="restore or train again"
        )
    if wrong:
        raise BadInput(
            f"Weights {path}",
            expected=f"{wrong[0]} {there.get(wrong[0], 'absent')}",
            got=f"{here.get(wrong[0], 'none')} ({len(wrong)} tensors differ)",
            fix="use weights and config.json of the same run",
        )
