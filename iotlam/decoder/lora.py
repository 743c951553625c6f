"""LoRA on the decoder, and on nothing else."""

from __future__ import annotations

import re
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from torch import nn
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

from iotlam.contracts import BadInput


def add_lora(decoder: PreTrainedModel, rank: int, alpha: float, seed: int) -> PeftModel:
    """Adapt every linear layer of every block (attention, MLP, each expert); all base weights are frozen.

    Experts that transformers keeps as one three-dimensional parameter are adapted expert by expert, each at `rank`; the
    router that chooses among them is not. LoRA: Hu et al., 2021; all layers rather than attention alone: "LoRA Without
    Regret", 2025.

    The new matrices are drawn from `seed`; at the start the model computes what it did before.

    Raises:
        BadInput: if the decoder has no numbered blocks with linear layers.
    """
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type]  # PEFT divides by the rank: a float is as good
        target_modules=_block_linears(decoder),
        target_parameters=_fused_experts(decoder),
        task_type="CAUSAL_LM",
        bias="none",
    )
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # PEFT and transformers warn each other of names to come
        torch.manual_seed(seed)
        adapted = get_peft_model(decoder, config)
    assert isinstance(adapted, PeftModel)
    return adapted


def adapted_modules(model: nn.Module) -> list[str]:
    """Full names of what carries a LoRA, in order: modules, and parameters of fused experts."""
    return [
        ".".join(filter(None, [name.replace(".base_layer", ""), getattr(module, "parameter_name", "")]))
        for name, module in model.named_modules()
        if isinstance(module, LoraLayer)
    ]


def _block_linears(decoder: PreTrainedModel) -> str:
    """A regular expression over full module names.

    Never short names such as `q_proj`: PEFT would match them in any other part of a model too.
    """
    patterns = sorted(
        {
            re.sub(r"\\\.\d+\\\.", r"\\.\\d+\\.", re.escape(name))
            for name, module in decoder.named_modules()
            if isinstance(module, nn.Linear | Conv1D) and re.search(r"\.\d+\.", name)
        }
    )
    if not patterns:
        raise BadInput(
            "Decoder", expected="blocks with linear layers", got=type(decoder).__name__, fix="use a causal transformer"
        )
    return "|".join(patterns)


def _fused_experts(decoder: PreTrainedModel) -> list[str]:
    """Full names of the three-dimensional parameters (experts, out, in) of blocks."""
    return [
        name
        for name, parameter in decoder.named_parameters()
        if parameter.dim() == 3
        and re.search(r"\.\d+\.", name)
        and not type(decoder.get_submodule(name.rpartition(".")[0])).__module__.startswith("torch.nn")  # convolutions
    ]
