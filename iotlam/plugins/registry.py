"""Modalities: listing them from their manifests alone, loading them, and holding them to what they promised."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
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
    Terminated,
    TokenBatch,
    TokenSpec,
    check_window,
)
from iotlam.plugins.discovery import Entry, entries, find, unknown_name

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
        tokens = guarded(name, "tokenize", lambda: self._plugin.tokenize(frames))
        problems = guarded(name, "tokenize", lambda: token_problems(tokens, self.spec))
        if problems:
            raise PluginError(name, "tokenize", next(iter(problems.values())))
        return tokens

    def read(self, path: Path) -> Iterator[SensorFrame]:
        """The frames of a file one by one, through the reader that the manifest names.

        Raises:
            BadInput: at once, if the modality reads no files or not this one; on the way, what the reader refuses.
            PluginError: on the way, if the reader fails.
        """
        subject, manifest = f"Modality '{self.manifest.name}', file", self.manifest
        if not manifest.files:
            raise BadInput(subject, expected="none: the modality has no reader", got=str(path), fix="leave it out")
        if not path.name.lower().endswith(manifest.files):
            expected = f"one that ends in {', '.join(manifest.files)}"
            raise BadInput(subject, expected=expected, got=str(path), fix="convert the recording")
        if not path.is_file():
            raise BadInput(subject, expected="a file", got=f"{path}, none", fix="check the path")
        return self._frames(path)

    def _frames(self, path: Path) -> Iterator[SensorFrame]:
        name = self.manifest.name
        module, _, function = self.manifest.reader.partition(":")
        reader = guarded(name, "import of its reader", lambda: getattr(importlib.import_module(module), function))
        frames = guarded(name, "read", lambda: iter(reader(path)))
        while (frame := self._next(frames, path)) is not None:
            if not isinstance(frame, SensorFrame):
                raise PluginError(name, "read", f"a {type(frame).__name__} instead of a SensorFrame")
            yield frame

    def _next(self, frames: Iterator[SensorFrame], path: Path) -> SensorFrame | None:
        try:
            return guarded(self.manifest.name, "read", lambda: next(frames, None))
        except PluginError as error:
            if not isinstance(error.__cause__, OSError):
                raise
            reason = error.__cause__.strerror or str(error.__cause__)
            raise BadInput(f"File {path}", expected="a readable file", got=reason, fix="check it") from error

    @property
    def encoder(self) -> object | None:
        """The plugin's learnt part (`torch.nn.Module`), None where it learns nothing."""
        return getattr(self._plugin, "encoder", None)

    def sample(self, seed: int) -> Sequence[SensorFrame]:
        """One window of plausible data to try the modality on.

        Raises:
            PluginError: if the plugin fails.
        """
        return guarded(self.manifest.name, "sample", lambda: self._plugin.sample(seed))


def list_modalities() -> list[ModalityInfo]:
    """All registered modalities by name, read from their manifests; imports none of them and never raises."""
    owners: dict[str, str] = {}
    infos = []
    for entry in entries(GROUP):
        first = owners.setdefault(entry.name, entry.distribution)
        manifest, problem = _read_manifest(entry)
        if first != entry.distribution:
            problem = f"the name is taken by distribution '{first}'"
        infos.append(ModalityInfo(entry.name, manifest, problem, entry.distribution))
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
    factory = guarded(name, "import", find(GROUP, name, "Modality").load)
    return hold(manifest, guarded(name, "construct", factory))


def hold(manifest: ModalityManifest, plugin: object) -> LoadedModality:
    """A plugin that has been constructed, held to its manifest.

    Raises:
        PluginError: if it lacks a method, or its `token_spec` fails or does not fit the manifest.
    """
    name = manifest.name
    if not isinstance(plugin, Modality):
        raise PluginError(name, "construct", f"a {type(plugin).__name__} without tokenize, token_spec and sample")
    spec = guarded(name, "token_spec", plugin.token_spec)
    if problems := guarded(name, "token_spec", lambda: spec_problems(spec, manifest)):
        raise PluginError(name, "token_spec", next(iter(problems.values())))
    return LoadedModality(manifest, spec, plugin)


def guarded(name: str, step: str, call: Callable[[], T]) -> T:
    """Run foreign code, which may raise anything, SystemExit too.

    Raises:
        PluginError: for whatever it raises, but for our own errors, which are the user's to mend; of a plugin that
            does not even load, for those as well, since its user has done nothing yet.
    """
    try:
        with contextlib.redirect_stdout(sys.stderr):  # a plugin that prints must not spoil what commands print
            return call()
    except (KeyboardInterrupt, Terminated):
        raise
    except IotlamError as error:
        if isinstance(error, BadInput) and step in ("import", "construct"):
            raise PluginError(name, step, error) from error
        raise
    except BaseException as error:
        raise PluginError(name, step, error) from error


def package_folders(module: str) -> list[Path]:
    """The folders of an entry point's package, found without importing it; several for a namespace package.

    Raises:
        Exception: whatever the import system raises for a broken name.
    """
    package, *inner = module.split(".")
    # For a top-level name this locates the package without running it.
    spec = importlib.util.find_spec(package)
    return [Path(root, *inner) for root in (spec.submodule_search_locations or ())] if spec else []


def _read_manifest(entry: Entry) -> tuple[ModalityManifest | None, str | None]:
    """The manifest in the folder of the package that the entry point names, or why there is none."""
    try:
        paths = [folder / MANIFEST_NAME for folder in package_folders(entry.module)]
        if not paths:
            return None, f"package '{entry.module.partition('.')[0]}' is not importable"
        manifest = ModalityManifest.from_toml(next((path for path in paths if path.exists()), paths[0]))
    except Exception as error:  # a broken plugin must not hide the others
        return None, str(error)
    if manifest.name != entry.name:
        return None, f"the manifest says name '{manifest.name}', the entry point '{entry.name}'"
    return manifest, None


def spec_problems(spec: object, manifest: ModalityManifest) -> dict[str, str]:
    """Where a `token_spec` breaks its contract, by field; empty if it keeps it."""
    if not isinstance(spec, TokenSpec):
        return {"type": f"a {type(spec).__name__} instead of a TokenSpec"}
    budget = manifest.token_budget
    kept = {
        ("modality", f"modality '{spec.modality}'"): spec.modality == manifest.name,
        ("dim", f"dim {spec.dim}"): spec.dim > 0,
        ("max_tokens", f"max_tokens {spec.max_tokens} against a token budget of {budget}"): 0
        < spec.max_tokens
        <= budget,
    }
    return {field: problem for (field, problem), ok in kept.items() if not ok}


def token_problems(tokens: object, spec: TokenSpec) -> dict[str, str]:
    """Where tokens break the plugin's promise, by field; empty if they keep it."""
    if not isinstance(tokens, TokenBatch):
        return {"type": f"a {type(tokens).__name__} instead of a TokenBatch"}
    batch, count, _ = tokens.tokens_BTD.shape
    values = [tokens.tokens_BTD, tokens.time_BT, *([] if tokens.position_BTX is None else [tokens.position_BTX])]
    promised = "with" if spec.positioned else "without"
    kept = {
        ("modality", f"modality '{tokens.modality}' instead of '{spec.modality}'"): tokens.modality == spec.modality,
        ("batch", f"a batch of {batch} instead of 1"): batch == 1,
        ("tokens_BTD", f"tokens of {tokens.tokens_BTD.dtype}"): str(tokens.tokens_BTD.dtype) == "torch.float32",
        ("mask_BT", f"a mask of {tokens.mask_BT.dtype}"): str(tokens.mask_BT.dtype) == "torch.bool",
        ("dim", f"dim {tokens.dim} instead of the promised {spec.dim}"): tokens.dim == spec.dim,
        ("count", f"{count} tokens, more than the promised {spec.max_tokens}"): count <= spec.max_tokens,
        ("position_BTX", f"tokens not {promised} positions, as promised"): spec.positioned
        == (tokens.position_BTX is not None),
        ("values", "values that are not finite"): all(bool(value.isfinite().all()) for value in values),
    }
    return {field: problem for (field, problem), ok in kept.items() if not ok}
