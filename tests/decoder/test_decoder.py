import socket
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from iotlam.contracts import BadInput
from iotlam.decoder import (
    CandidateHead,
    ValueHead,
    adapted_modules,
    add_lora,
    build_decoder,
    choose,
    decoder_sha256,
    new_decoder,
    presets,
    project,
)

LINEARS = ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"] + [f"self_attn.{x}_proj" for x in "koqv"]


def _tiny() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(
        LlamaConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, vocab_size=8)
    )


def test_nano_has_the_promised_size_and_its_seed_decides() -> None:
    first, again, other = (new_decoder("nano", seed) for seed in (0, 0, 1))
    assert sum(p.numel() for p in first.parameters()) == 5_074_176
    assert decoder_sha256(first) == decoder_sha256(again) != decoder_sha256(other)


def test_making_a_decoder_leaves_the_global_random_state_alone() -> None:
    before = torch.get_rng_state()
    add_lora(new_decoder("nano", 3), rank=2, alpha=4, seed=3)
    assert torch.equal(before, torch.get_rng_state())


def test_decoder_by_path_round_trips(tmp_path: Path) -> None:
    decoder = _tiny()
    decoder.save_pretrained(tmp_path / "tiny")
    loaded = build_decoder(str(tmp_path / "tiny"))
    assert decoder_sha256(loaded) == decoder_sha256(decoder)
    assert not loaded.training and not any(parameter.requires_grad for parameter in loaded.parameters())


def test_decoder_by_relative_path_and_bare_folder_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoder = _tiny()
    decoder.save_pretrained(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "./tiny"):
        assert decoder_sha256(build_decoder(name)) == decoder_sha256(decoder)


@pytest.mark.parametrize(
    "name", ["./nowhere", "../nowhere/at-all", "{tmp_path}/nowhere", "~/no/such/decoder", "a-file"]
)
def test_a_path_that_is_no_folder_never_reaches_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").write_text("no folder")
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: pytest.fail("the network was asked"))
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    name = name.format(tmp_path=tmp_path)
    with pytest.raises(
        BadInput, match="a folder of safetensors weights or OWNER/MODEL of the hub, got no such folder"
    ) as caught:
        build_decoder(name)
    assert f"'{name}'" in str(caught.value)


def test_a_folder_without_weights_ends_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected readable safetensors weights") as caught:
        build_decoder(str(tmp_path))
    assert "\n" not in str(caught.value)


def test_missing_presets_say_how_to_make_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(presets, "files", lambda package: tmp_path)
    with pytest.raises(BadInput, match="run: iotlam pretrain"):
        build_decoder("nano")
    with pytest.raises(BadInput, match="one of nano, nano-moe, nano-street, got 'giant'"):
        new_decoder("giant", 0)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    decoder = _tiny()
    decoder.config.save_pretrained(tmp_path)
    torch.save(decoder.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(BadInput, match="safetensors"):
        build_decoder(str(tmp_path))


def test_lora_changes_nothing_at_the_start_and_adapts_all_block_linears() -> None:
    decoder = _tiny().eval()
    embeds = torch.randn(2, 5, 16)
    with torch.no_grad():
        before, sha256 = decoder(inputs_embeds=embeds).logits, decoder_sha256(decoder)
        adapted = add_lora(decoder, rank=2, alpha=4, seed=1)
        after = adapted(inputs_embeds=embeds).logits
    assert torch.equal(before, after)
    assert decoder_sha256(adapted.get_base_model()) == sha256
    assert sorted(adapted_modules(adapted)) == sorted(
        f"base_model.model.model.layers.{layer}.{linear}" for layer in (0, 1) for linear in LINEARS
    )
    assert all(("lora_" in name) == p.requires_grad for name, p in adapted.named_parameters())


def test_nano_moe_uses_two_of_eight_experts() -> None:
    decoder = new_decoder("nano-moe", 0)
    experts = sum(p.numel() for name, p in decoder.named_parameters() if ".experts." in name)
    everything = sum(p.numel() for p in decoder.parameters())
    assert everything == 10_173_696 and everything - experts + experts * 2 // 8 == 3_980_544
    used = decoder(input_ids=torch.arange(40)[None], output_router_logits=True).router_logits
    assert len(used) == 6 and all(logits.shape == (40, 8) for logits in used)


def test_projection_masks_chooses_the_first_best_and_refuses_an_empty_row() -> None:
    scores = torch.tensor([[5.0, 1.0, 1.0], [0.0, 2.0, 2.0]])
    logits = project(scores, torch.tensor([[False, True, True], [True, False, True]]))
    assert logits[0, 0] == float("-inf")
    assert choose(logits).tolist() == [1, 2]
    with pytest.raises(BadInput, match="at least one per query"):
        project(scores, torch.tensor([[True, True, True], [False, False, False]]))


def test_heads_ignore_padding_and_other_candidates() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(1, 3, 8)
    mask = torch.tensor([[True, True, False]])
    moved = hidden.clone()
    moved[0, 2] = 100.0
    value, head = ValueHead(8), CandidateHead(8)
    torch.testing.assert_close(value(hidden, mask), value(moved, mask))
    assert torch.equal(head(hidden)[0, :2], head(moved)[0, :2])
