"""A modality on one page: what its manifest says, the tier it reaches, what was measured of it."""

from __future__ import annotations

from iotlam.conformance.results import Report
from iotlam.contracts import Json, ModalityManifest

FACTS = {
    "latency_ms": "one window, ms",
    "memory_mb": "memory added, MB",
    "import_ms": "import, ms of CPU",
    "sample_tokens": "tokens of a sample",
    "token_width": "width of a token",
    "encoder_parameters": "learnt parameters",
}


def as_markdown(manifest: ModalityManifest, report: Report) -> str:
    """The page as Markdown."""
    counted = report.count()
    checks = ", ".join(f"{counted[status]} {status}" for status in ("passed", "failed", "blocked", "not applicable"))
    rows = [*described(manifest).items(), ("tier", report.tier or "none"), ("checks", checks)]
    rows += [(label, f"{report.facts[name]:.4g}") for name, label in FACTS.items() if name in report.facts]
    lines = [f"# {manifest.name}", "", manifest.summary + ".", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in rows]
    if manifest.meta:
        lines += ["", "## Metadata of a frame", "", *(f"- `{key}`: {text}" for key, text in manifest.meta.items())]
    if report.next_tier:
        lines += ["", f"## Missing for {report.next_tier}", ""]
        lines += [f"- {found.check}: {found.reason}" for found in report.missing(report.next_tier)]
    return "\n".join(lines) + "\n"


def as_json(manifest: ModalityManifest, report: Report) -> Json:
    """The page for programs."""
    return {
        "manifest": manifest.to_raw(),
        "tier": report.tier,
        "checks": dict(report.count()),
        "measured": report.facts,
        "missing": {found.check: found.reason for found in report.missing(report.next_tier or "platinum")},
    }


def described(manifest: ModalityManifest) -> dict[str, str]:
    """What a manifest says, in words for people."""
    dims = " x ".join(f"{dim}={size}" if size else dim for dim, size in zip(manifest.dims, manifest.shape, strict=True))
    (low_hz, high_hz), (low, high) = manifest.rate_hz, manifest.value_range
    of_what = "samples" if manifest.rate_in_meta else "readings"
    return {
        "units": " ".join(manifest.units),
        "data": f"{manifest.dtype}, {dims}",
        "values": f"{low:g} to {high:g}",
        f"rate of {of_what}": f"{low_hz:g} to {high_hz:g} Hz",
        "time": f"{manifest.stamp} of a reading, on the clock '{manifest.clock}'",
        "coordinates": manifest.frame,
        "missing data": {"none": "cannot be", "mask": "by mask", "nan": "by mask or NaN"}[manifest.missing],
        "tokens": f"at most {manifest.token_budget}" + (", causal" if manifest.causal else ""),
        "files": " ".join(manifest.files) or "none",
        "budget": f"{manifest.latency_budget_ms:g} ms, {manifest.memory_budget_mb:g} MB",
        "licence": manifest.licence,
    }
