"""What the manifest says."""

from __future__ import annotations

import re

from iotlam.conformance.catalog import SAMPLED, Failed, NotApplicable, check
from iotlam.conformance.subject import Subject
from iotlam.conformance.windows import largest

AREA = "manifest"
SPDX = re.compile(r"[A-Za-z0-9.+-]+(?: (?:AND|OR|WITH) [A-Za-z0-9.+-]+)*")


@check(AREA, "bronze")
def manifest_valid(subject: Subject) -> None:
    """modality.toml is read, and every field is known, typed and in range."""
    subject.manifest  # noqa: B018


@check(AREA, "bronze", needs=("manifest-valid",))
def manifest_named_as_entry_point(subject: Subject) -> None:
    """The manifest and the entry point give one name."""
    if subject.manifest.name != subject.name:
        raise Failed(
            "name",
            expected=f"'{subject.name}', as the entry point says",
            got=f"'{subject.manifest.name}'",
            fix="give both the same name",
        )


@check(AREA, "silver", needs=("manifest-valid",))
def licence_is_spdx(subject: Subject) -> None:
    """The licence is an SPDX expression, which programs can read."""
    licence = subject.manifest.licence
    if not SPDX.fullmatch(licence):
        raise Failed(
            "licence",
            expected="an SPDX identifier such as Apache-2.0",
            got=f"'{licence}'",
            fix="take it from spdx.org/licenses",
        )


@check(AREA, "silver", needs=("manifest-valid",))
def summary_is_one_line(subject: Subject) -> None:
    """The summary is one line of at most 120 characters."""
    summary = subject.manifest.summary
    if len(summary) > 120 or "\n" in summary:
        raise Failed(
            "summary",
            expected="one line of at most 120 characters",
            got=f"{len(summary)} characters in {summary.count(chr(10)) + 1} lines",
            fix="shorten it",
        )


@check(AREA, "silver", needs=("manifest-valid",))
def metadata_explained(subject: Subject) -> None:
    """Every key that SensorFrame.meta must carry says what it is."""
    for key, meaning in subject.manifest.meta.items():
        if len(meaning.split()) < 2:
            raise Failed(f"meta.{key}", expected="what it is, and its unit", got=f"'{meaning}'", fix="explain it")


@check(AREA, "gold", needs=SAMPLED)
def value_range_is_tight(subject: Subject) -> None:
    """The value range is within 10,000 times what the sample reaches, so that a wrong unit can be seen."""
    if set(subject.manifest.units) <= {"/", "count"}:
        raise NotApplicable("its data have no unit that could be wrong")
    bound = max(map(abs, subject.manifest.value_range))
    reached = max(largest(frame) for frame in subject.sample(0))
    if reached * 1e4 < bound:
        raise Failed(
            "value_range",
            expected=f"bounds within {reached * 1e4:g}, as the sample reaches {reached:g}",
            got=f"{bound:g}",
            fix="give the range of the sensor, not of the dtype",
        )
