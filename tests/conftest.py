"""What all tests share. One thread each: tests run side by side."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from iotlam.bench.mosquitto import Mosquitto

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a distribution of one package, found by its metadata as pip's would be.

    `install(package, code, points, files)`: `points` maps a group to its entry points.
    """
    site = tmp_path / "site"
    site.mkdir()
    monkeypatch.syspath_prepend(str(site))
    installed: list[str] = []

    def _install(
        package: str,
        code: str,
        points: Mapping[str, Mapping[str, str]],
        files: Mapping[str, str] | None = None,
    ) -> Path:
        folder, info = site / package, site / f"{package}-1.0.dist-info"
        folder.mkdir()
        info.mkdir()
        for name, text in {"__init__.py": code, **(files or {})}.items():
            (folder / name).write_text(text)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        lines = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in names.items()) for group, names in points.items()]
        (info / "entry_points.txt").write_text("\n".join(lines))
        installed.append(package)
        return folder

    yield _install
    for package in installed:
        sys.modules.pop(package, None)


@pytest.fixture(scope="session")
def tiny_decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random decoder of one narrow layer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("decoder")
    sizes = LlamaConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, vocab_size=16)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        LlamaForCausalLM(sizes).save_pretrained(folder)
    return folder


@pytest.fixture
def mosquitto() -> None:
    """Skips the test where Mosquitto is not installed."""
    from iotlam.bench.mosquitto import find_mosquitto
    from iotlam.contracts import BadInput

    try:
        find_mosquitto()
    except BadInput as error:
        pytest.skip(str(error))


@pytest.fixture
def broker(mosquitto: None, tmp_path: Path) -> Iterator[Mosquitto]:
    """A real Mosquitto that can be killed and started again."""
    from iotlam.bench.mosquitto import Mosquitto

    found = Mosquitto(tmp_path)
    found.start()
    yield found
    found.kill()
