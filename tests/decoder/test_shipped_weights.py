"""What is shipped of the presets: readable, better than guessing, and small enough."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from iotlam.decoder import PRESETS, build_decoder, decoder_folder, load_tokenizer
from iotlam.decoder.vocabulary import SAY, TOKENIZER, code_range
from iotlam.training.streams import load_quantizers


def shipped() -> list[tuple[str, Path]]:
    folders = []
    for preset in PRESETS:
        with decoder_folder(preset) as folder:
            if folder.is_dir():
                folders.append((preset, folder))
    return folders


@pytest.mark.parametrize(("preset", "folder"), shipped())
def test_a_shipped_preset_is_what_its_facts_say(preset: str, folder: Path) -> None:
    told = json.loads((folder / "pretraining.json").read_text())
    decoder = build_decoder(preset)
    assert told["preset"] == preset and sum(p.numel() for p in decoder.parameters()) == told["parameters"]
    assert all(each["held_out_nats"] < 0.6 * each["unigram_nats"] for each in told["streams"].values())
    streets = told["streams"]["traffic"]  # along a machine's orders, repeating is hard to beat (docs/decoder.md)
    assert streets["held_out_hits"] > streets["repeat_hits"]
    assert not [path for path in folder.iterdir() if path.suffix not in (".json", ".jsonl", ".safetensors")]


@pytest.mark.parametrize(("preset", "folder"), shipped())
def test_a_preset_reads_streams_and_writes_words(preset: str, folder: Path) -> None:
    if not (folder / TOKENIZER).is_file():
        pytest.skip(f"the weights of {preset} are older than the vocabulary of streams and words")
    tokenizer, decoder = load_tokenizer(folder), build_decoder(preset)
    for name, quantizer in load_quantizers(folder).items():
        assert len(code_range(tokenizer, name)) == len(quantizer.codebook_QD)
    text = torch.tensor([[0, SAY]])
    written = decoder.generate(text, attention_mask=torch.ones_like(text), max_new_tokens=40, do_sample=False)
    assert tokenizer.decode(written[0].tolist()).endswith(".")


def test_all_decoders_together_are_small_enough_to_ship() -> None:
    sizes = {name: sum(path.stat().st_size for path in folder.iterdir()) for name, folder in shipped()}
    assert sizes.pop("nano-street") < 11e6  # until the traffic policy stands on nano
    assert 0 < sum(sizes.values()) < 32e6
