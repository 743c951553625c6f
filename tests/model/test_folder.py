import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from iotlam.contracts import BadInput, DecisionQuery, TokenBatch
from iotlam.model import IotlamModel, collate, from_pretrained, save_pretrained
from iotlam.model.folder import ADAPTER, ADAPTER_CONFIG, CARD, CONFIG, WEIGHTS

Make = Callable[..., tuple[dict[str, TokenBatch], DecisionQuery]]


@pytest.fixture
def run(model: IotlamModel, tmp_path: Path) -> Path:
    save_pretrained(model, tmp_path / "run", {"steps": 12})
    return tmp_path / "run"


def test_reloading_changes_no_logit(model: IotlamModel, example: Make, run: Path) -> None:
    examples = [example(i) for i in range(3)]
    model.train()(collate(examples))  # gives the whitening moments to save
    model.fusion.freeze_whitening()
    save_pretrained(model, run)
    restored = from_pretrained(run)
    inputs = collate(examples)
    with torch.inference_mode():
        want, got = model.eval()(inputs), restored(inputs)
    assert torch.equal(want.logits_BP, got.logits_BP)
    assert torch.equal(want.value_B, got.value_B)
    assert bool(restored.fusion.whitening["lidar"].frozen)


def test_the_folder_holds_json_safetensors_and_a_card(model: IotlamModel, run: Path) -> None:
    assert sorted(path.name for path in run.iterdir()) == sorted([ADAPTER, ADAPTER_CONFIG, CARD, CONFIG, WEIGHTS])
    assert sorted(path.name for path in run.parent.iterdir()) == ["run"]
    card = (run / CARD).read_text()
    assert model.base_sha256 in card
    assert f"{model.trainable_share().trainable:,} of" in card
    assert "- steps: 12" in card
    assert "| lidar | m m m / | 0.2 to 20 Hz | 3 | 100 | yes |" in card
    assert json.loads((run / ADAPTER_CONFIG).read_text())["base_model_name_or_path"] == model.config.decoder


def test_the_adapter_is_one_that_peft_reads(model: IotlamModel, run: Path) -> None:
    from peft import PeftModel

    from iotlam.decoder import build_decoder

    theirs = PeftModel.from_pretrained(build_decoder(model.config.decoder), str(run))
    embeds = torch.randn(1, 4, 32)
    with torch.no_grad():
        assert torch.equal(theirs(inputs_embeds=embeds).logits, model.decoder(inputs_embeds=embeds).logits)


def test_saving_again_keeps_other_files_even_open_ones(model: IotlamModel, run: Path) -> None:
    with (run / "metrics.jsonl").open("a") as log:
        log.write("1\n")
        log.flush()
        (run / "mine").mkdir()
        (run / "mine" / CONFIG).write_text("my settings")
        (run / "mine" / CARD).write_text("my notes")
        save_pretrained(model, run)
        log.write("2\n")
    assert (run / "metrics.jsonl").read_text() == "1\n2\n"
    assert {path.name: path.read_text() for path in (run / "mine").iterdir()} == {
        CONFIG: "my settings",
        CARD: "my notes",
    }


def test_it_saves_where_one_stands(model: IotlamModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        save_pretrained(model, Path("."))
    assert from_pretrained(Path(".")).base_sha256 == model.base_sha256
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("failing", ["iotlam.model.folder.model_card", "iotlam.model.folder.save_file"])
def test_a_failed_save_leaves_the_old_model_whole(
    model: IotlamModel, run: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    before = {path.name: path.read_bytes() for path in run.iterdir()}
    with torch.no_grad():
        model.head.net[1].weight.add_(1.0)

    def fail(*_: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(failing, fail)
    with pytest.raises(OSError, match="disk full"):
        save_pretrained(model, run)
    assert {path.name: path.read_bytes() for path in run.iterdir()} == before  # no .writing-* among them
    assert [path.name for path in run.parent.iterdir()] == ["run"]


def test_the_configuration_is_moved_last(model: IotlamModel, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sees the new config.json sees new weights."""
    moved, replace_file = [], os.replace

    def watch(source: Path, target: Path) -> None:
        moved.append(Path(target).name)
        replace_file(source, target)

    monkeypatch.setattr("iotlam.contracts.paths.os.replace", watch)
    save_pretrained(model, run)
    assert moved[-1] == CONFIG and len(moved) == 5


def test_a_save_that_died_between_two_files_is_no_model(model: IotlamModel, run: Path, tmp_path: Path) -> None:
    with torch.no_grad():
        model.head.net[1].weight.add_(1.0)
    save_pretrained(model, tmp_path / "newer")
    (run / WEIGHTS).write_bytes((tmp_path / "newer" / WEIGHTS).read_bytes())
    with pytest.raises(BadInput, match="adapter and weights of one saving"):
        from_pretrained(run)


@pytest.mark.parametrize("name", [ADAPTER, WEIGHTS])
def test_a_flipped_bit_in_the_weights_is_found(run: Path, name: str) -> None:
    content = bytearray((run / name).read_bytes())
    content[-3] ^= 0x01
    (run / name).write_bytes(content)
    with pytest.raises(BadInput, match="or damaged ones"):
        from_pretrained(run)


def test_the_same_weights_are_saved_as_the_same_bytes(model: IotlamModel, run: Path, tmp_path: Path) -> None:
    save_pretrained(model, tmp_path / "again")
    for name in (ADAPTER, WEIGHTS, CONFIG):
        assert (run / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


@pytest.mark.parametrize("name", [CONFIG, ADAPTER, ADAPTER_CONFIG, WEIGHTS])
def test_a_missing_or_broken_file_is_named(run: Path, name: str) -> None:
    content = (run / name).read_bytes()
    (run / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match=name):
        from_pretrained(run)
    (run / name).unlink()
    with pytest.raises(BadInput, match=name):
        from_pretrained(run)


@pytest.mark.parametrize("pickle", ["adapter_model.bin", "model.pt"])
def test_pickles_are_refused_by_name(run: Path, pickle: str) -> None:
    (run / ADAPTER).rename(run / pickle)
    with pytest.raises(BadInput, match=f"a pickle, {pickle}"):
        from_pretrained(run)


def test_weights_of_another_architecture_are_refused(model: IotlamModel, run: Path, tmp_path: Path) -> None:
    config = model.config
    wider = IotlamModel(config.changed(fusion=config.fusion.changed(d_fusion=32), lora_rank=2))
    save_pretrained(wider, tmp_path / "other")
    mixed = tmp_path / "mixed"
    for name, reason in ((WEIGHTS, "of one saving"), (ADAPTER, "tensors differ"), (ADAPTER_CONFIG, "rank 4")):
        shutil.copytree(run, mixed)
        shutil.copy(tmp_path / "other" / name, mixed / name)
        with pytest.raises(BadInput, match=reason):
            from_pretrained(mixed)
        shutil.rmtree(mixed)


def test_a_configuration_of_another_architecture_is_refused(model: IotlamModel, run: Path) -> None:
    config = model.config.changed(fusion=model.config.fusion.changed(d_fusion=32), decoder_sha256=model.base_sha256)
    (run / CONFIG).write_text(config.to_json())
    with pytest.raises(BadInput, match="tensors differ"):
        from_pretrained(run)


def test_another_base_decoder_is_refused(model: IotlamModel, run: Path) -> None:
    text = (run / CONFIG).read_text()
    (run / CONFIG).write_text(text.replace(model.base_sha256, "0" * 64))
    with pytest.raises(BadInput, match="expected base weights 000000000000"):
        from_pretrained(run)


def test_no_folder_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="expected a folder, got none"):
        from_pretrained(tmp_path / "nothing")
