"""Modalities: listing them from their manifests alone, loading them, and holding them to what they promised."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TypeVar

from iotlam.contracts import (
    MANIFEST_NAME,
    BadInput,
    IotlamError,
    Modality,
    ModalityManifest,
    PluginError,
    SensorFrame,
    TokenBatch,
    TokenSpec,
    check_window,
)
from iotlam.plugins.discovery import find, unknown_name

GROUP = "iotlam.modalities"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ModalityInfo:
    """What is known of a modality without importing it.

    Attributes:
        name: name of its entry point.
        manifest: its manifest, None where that cannot be read.
        problem: one sentence on why it cannot be used, None where it can.
        distribution: name of the package that brings it.
    """

    name: str
    manifest: ModalityManifest | None
    problem: str | None
    distribution: str


@dataclass(frozen=True, slots=True)
class LoadedModality:
    """A modality ready for use; whatever its plugin does wrong becomes a `PluginError` that names it."""

    manifest: ModalityManifest
    spec: TokenSpec
    _plugin: Modality = field(repr=False)

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Encode one window of one site as a batch of B = 1.

        Raises:
            BadInput: if there is no frame, or one that does not fit the manifest.
            PluginError: if the plugin fails or returns tokens other than it promised.
        """
        name = self.manifest.name
        check_window(self.manifest, frames)
        tokens = _guarded(name, "tokenize", lambda: self._plugin.tokenize(frames))
        problem = _guarded(name, "tokenize", lambda: _token_problem(tokens, self.spec))
        if problem:
            raise PluginError(name, "tokenize", problem)
        return tokens

    def read(self, path: Path) -> Sequence[SensorFrame]:
        """The frames of a file, through the reader that the manifest names.

        Raises:
            BadInput: if the modality reads no files or not this one.
            PluginError: if the reader fails.
        """
        name, manifest = self.manifest.name, self.manifest
        if not any(path.name.lower().endswith(suffix) for suffix in manifest.files):
            wanted = (
                f"a file that ends in {', '.join(manifest.files)}" if manifest.files else "no file: it has no reader"
            )
            raise BadInput(f"Modality '{name}', file", expected=wanted, got=str(path), fix="convert the recording")
        if not path.is_file():
            raise BadInput(f"Modality '{name}', file", expected="a file", got=f"{path}, none", fix="check the path")
        module, _, function = manifest.reader.partition(":")
        reader = _guarded(name, "import of its reader", lambda: getattr(importlib.import_module(module), function))
        frames: Sequence[SensorFrame] = _guarded(name, "read", lambda: list(reader(path)))
        return frames

    @property
    def encoder(self) -> object | None:
        """The plugin's learnt part (`torch.nn.Module`), None where it learns nothing."""
        return getattr(self._plugin, "encoder", None)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """One window of plausible data to try the modality on.

        Raises:
            PluginError: if the plugin fails.
        """
        return _guarded(self.manifest.name, "sample", lambda: self._plugin.sample(seed))


def list_modalities() -> list[ModalityInfo]:
    """All registered modalities by name, read from their manifests; imports none of them and never raises."""
    points = sorted(entry_points(group=GROUP), key=lambda point: point.name)
    owners: dict[str, str] = {}
    infos = []
    for point in points:
        owner = point.dist.name if point.dist else ""
        first = owners.setdefault(point.name, owner)
        manifest, problem = _read_manifest(point)
        if first != owner:
            problem = f"the name is taken by distribution '{first}'"
        infos.append(ModalityInfo(point.name, manifest, problem, owner))
    return infos


def load(name: str) -> LoadedModality:
    """Import a modality and check what it says of itself.

    Raises:
        BadInput: if no modality of that name is registered.
        PluginError: if its manifest, import, constructor or `token_spec` fails.
    """
    return load_many([name])[name]


def load_many(names: Iterable[str]) -> dict[str, LoadedModality]:
    """Load several modalities, in the order given.

    Raises:
        BadInput: if one of them is not registered.
        PluginError: if one of them cannot be loaded.
    """
    infos = {info.name: info for info in reversed(list_modalities())}
    return {name: _load(name, infos) for name in names}


def _load(name: str, infos: dict[str, ModalityInfo]) -> LoadedModality:
    if name not in infos:
        raise unknown_name("Modality", name, infos)
    manifest = infos[name].manifest
    if manifest is None:
        raise PluginError(name, "read its manifest", infos[name].problem)
    factory = _guarded(name, "import", find(GROUP, name, "Modality").load)
    plugin = _guarded(name, "construct", factory)
    if not isinstance(plugin, Modality):
        raise PluginError(name, "construct", f"a {type(plugin).__name__} without tokenize, token_spec and sample")
    spec = _guarded(name, "token_spec", plugin.token_spec)
    if problem := _guarded(name, "token_spec", lambda: _spec_problem(spec, manifest)):
        raise PluginError(name, "token_spec", problem)
    return LoadedModality(manifest, spec, plugin)


def _guarded(name: str, step: str, call: Callable[[], T]) -> T:
    """Run foreign code; SystemExit too, since an import may try to end the program."""
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints must not spoil what commands print
            return call()
    except IotlamError:
        raise  # the user's to mend, and said so
    except (Exception, SystemExit) as error:
        raise PluginError(name, step, error) from error


def _read_manifest(point: EntryPoint) -> tuple[ModalityManifest | None, str | None]:
    """The manifest in the folder of the package that the entry point names, or why there is none."""
    try:
        package, *inner = point.module.split(".")
        # For a top-level name this locates the package without running it.
        spec = importlib.util.find_spec(package)
        folders = spec.submodule_search_locations if spec else None
        if not folders:
            return None, f"package '{package}' is not importable"
        manifest = ModalityManifest.from_toml(Path(folders[0], *inner) / MANIFEST_NAME)
    except Exception as error:  # a broken plugin must not hide the others
        return None, str(error)
    if manifest.name != point.name:
        return None, f"the manifest says name '{manifest.name}', the entry point '{point.name}'"
    return manifest, None


def _spec_problem(spec: TokenSpec, manifest: ModalityManifest) -> str | None:
    if not isinstance(spec, TokenSpec):
        return f"a {type(spec).__name__} instead of a TokenSpec"
    if spec.modality != manifest.name:
        return f"modality '{spec.modality}'"
    if not 0 < spec.max_tokens <= manifest.token_budget:
        return f"max_tokens {spec.max_tokens} against a token budget of {manifest.token_budget}"
    return None


def _token_problem(tokens: TokenBatch, spec: TokenSpec) -> str | None:
    """The first way in which tokens break the plugin's promise, None if they keep it."""
    if not isinstance(tokens, TokenBatch):
        return f"a {type(tokens).__name__} instead of a TokenBatch"
    batch, count, _ = tokens.tokens_BTD.shape
    values = [tokens.tokens_BTD, tokens.time_BT, *([] if tokens.position_BTX is None else [tokens.position_BTX])]
    checks = {
        f"modality '{tokens.modality}' instead of '{spec.modality}'": tokens.modality == spec.modality,
        f"a batch of {batch} instead of 1": batch == 1,
        f"tokens of {tokens.tokens_BTD.dtype}": str(tokens.tokens_BTD.dtype) == "torch.float32",
        f"a mask of {tokens.mask_BT.dtype}": str(tokens.mask_BT.dtype) == "torch.bool",
        f"dim {tokens.dim} instead of the promised {spec.dim}": tokens.dim == spec.dim,
        f"{count} tokens, more than the promised {spec.max_tokens}": count <= spec.max_tokens,
        "tokens without the promised positions": not spec.positioned or tokens.position_BTX is not None,
        "values that are not finite": all(bool(value.isfinite().all()) for value in values),
    }
    return next((problem for problem, kept in checks.items() if not kept), None)
