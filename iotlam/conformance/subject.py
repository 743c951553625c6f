"""The modality under check, as the checks see it: each part is made when it is first asked for."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from iotlam.conformance.catalog import Failed, NotApplicable
from iotlam.conformance.target import Target
from iotlam.conformance.watch import Watch, peak_private_mb, private_mb
from iotlam.contracts import BadInput, ModalityManifest, PluginError, SensorFrame, TokenBatch, TokenSpec
from iotlam.plugins.discovery import Entry
from iotlam.plugins.registry import LoadedModality, guarded, hold

if TYPE_CHECKING:
    from torch import nn


@dataclass
class Subject:
    """A modality under check, in a process of its own.

    Attributes:
        target: where it is.
        watch: sees what it does to the machine.
        import_s: CPU seconds that its import took beyond torch, numpy and iotlam.
        base_mb: memory of this process before the import; None where that cannot be told.
        added_mb: the most memory that loading it and one window added; None where that cannot be told.
        state_before_import: settings of the process before the plugin was imported.
    """

    target: Target
    watch: Watch
    import_s: float = 0.0
    base_mb: float | None = None
    added_mb: float | None = None
    state_before_import: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the modality."""
        return self.target.name

    @cached_property
    def manifest(self) -> ModalityManifest:
        """What its modality.toml says."""
        return ModalityManifest.from_toml(self.target.manifest_path)

    @cached_property
    def factory(self) -> Any:
        """What its entry point names; imports it."""
        from iotlam.conformance.state import process_state

        self.base_mb = private_mb()
        self.state_before_import = process_state()
        if self.target.search is not None:
            sys.path.insert(0, str(self.target.search))
        start = time.process_time()
        factory = guarded(self.name, "import", Entry(self.name, self.target.value).load)
        self.import_s = time.process_time() - start
        return factory

    def construct(self) -> Any:
        """A new plugin object."""
        return guarded(self.name, "construct", self.factory)

    @cached_property
    def plugin(self) -> Any:
        """The plugin object."""
        return self.construct()

    @cached_property
    def modality(self) -> LoadedModality:
        """The plugin as iotlam uses it."""
        return hold(self.manifest, self.plugin)

    @property
    def spec(self) -> TokenSpec:
        """What it promises of its tokens."""
        return self.modality.spec

    @cached_property
    def raw_tokens(self) -> Any:
        """What `tokenize` returns of the first sample, not yet held to any promise."""
        frames = self.sample(0)
        tokens = guarded(self.name, "tokenize", lambda: self.plugin.tokenize(frames))
        peak_mb = peak_private_mb()
        if peak_mb is not None and self.base_mb is not None:
            self.added_mb = max(peak_mb - self.base_mb, 0.0)
        return tokens

    def sample(self, seed: int) -> list[SensorFrame]:
        """Its own sample data."""
        return list(guarded(self.name, "sample", lambda: self.plugin.sample(seed)))

    def tokenize(self, frames: Sequence[SensorFrame]) -> TokenBatch:
        """Tokens, as iotlam asks for them.

        Raises:
            BadInput, PluginError: what the modality says.
        """
        return self.modality.tokenize(frames)

    def another(self) -> LoadedModality:
        """A second, independent object of the plugin."""
        return hold(self.manifest, self.construct())

    @property
    def encoder(self) -> nn.Module:
        """Its learnt part.

        Raises:
            NotApplicable: if it learns nothing.
        """
        encoder: Any = getattr(self.plugin, "encoder", None)
        if encoder is None:
            raise NotApplicable("the modality has no attribute 'encoder': it learns nothing")
        module: nn.Module = encoder
        return module

    def survives(self, frames: Sequence[SensorFrame], field_name: str, what: str) -> TokenBatch | None:
        """Tokens of odd input, or None where it is refused in a sentence.

        Raises:
            Failed: for any other error.
        """
        try:
            return self.tokenize(frames)
        except BadInput:
            return None
        except PluginError as error:
            fix = "check for it in tokenize and raise BadInput, or give tokens with mask False"
            raise Failed(field_name, expected=f"tokens or a BadInput for {what}", got=error.reason, fix=fix) from error

    def refuses(self, frames: Sequence[SensorFrame], field_name: str, what: str, fix: str) -> None:
        """Hold the modality to refusing wrong input.

        Raises:
            Failed: if it gives tokens, or fails in another way.
        """
        if self.survives(frames, field_name, what) is not None:
            raise Failed(field_name, expected=f"a BadInput for {what}", got="tokens", fix=fix)
