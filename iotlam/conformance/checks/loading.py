"""Getting a plugin from its entry point."""

from __future__ import annotations

from iotlam.conformance.catalog import Facts, Failed, check
from iotlam.conformance.subject import Subject
from iotlam.contracts import Modality
from iotlam.plugins.registry import guarded, spec_problems

AREA = "loading"


@check(AREA, "bronze", needs=("manifest-valid", "manifest-named-as-entry-point"))
def imports(subject: Subject) -> Facts:
    """What the entry point names can be imported."""
    subject.factory  # noqa: B018
    return {"import_ms": 1e3 * subject.import_s}


@check(AREA, "bronze", needs=("imports",))
def constructs(subject: Subject) -> None:
    """The class is constructed without arguments."""
    subject.plugin  # noqa: B018


@check(AREA, "bronze", needs=("constructs",))
def has_the_methods(subject: Subject) -> None:
    """The plugin has tokenize, token_spec and sample."""
    lacking = [
        name for name in ("tokenize", "token_spec", "sample") if not callable(getattr(subject.plugin, name, None))
    ]
    if lacking or not isinstance(subject.plugin, Modality):
        raise Failed(
            " and ".join(lacking),
            expected="methods tokenize, token_spec and sample",
            got="none",
            fix="write it, see iotlam.contracts.Modality",
        )


@check(AREA, "bronze", needs=("has-the-methods",))
def spec_fits_manifest(subject: Subject) -> Facts:
    """The token_spec is a TokenSpec that keeps to the manifest."""
    spec = guarded(subject.name, "token_spec", subject.plugin.token_spec)
    for field, problem in spec_problems(spec, subject.manifest).items():
        raise Failed(f"token_spec.{field}", expected="what the manifest says", got=problem, fix="make them agree")
    return {"token_width": spec.dim, "max_tokens": spec.max_tokens}


@check(AREA, "bronze", needs=("spec-fits-manifest",))
def spec_is_constant(subject: Subject) -> None:
    """The token_spec says the same every time."""
    again = guarded(subject.name, "token_spec", subject.plugin.token_spec)
    if again != subject.spec:
        raise Failed(
            "token_spec",
            expected=f"{subject.spec} every time",
            got=f"{again}",
            fix="let it depend on nothing that changes",
        )
