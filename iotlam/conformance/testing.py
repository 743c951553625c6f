"""The checks as tests in an author's own repository; pytest finds this module through an entry point."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache

import pytest

from iotlam.conformance.catalog import all_checks
from iotlam.conformance.kit import Session
from iotlam.conformance.target import resolve


def modality_tests(name_or_path: str) -> Callable[..., None]:
    """A test function with one test for each check.

    Args:
        name_or_path: an installed modality, or the folder of one that is not.

    Example:
        `test_conformance = modality_tests("thermal")`
    """

    @pytest.mark.parametrize("check", all_checks())
    def test_conformance(check: str, modality_sessions: Callable[[str], Session]) -> None:
        result = modality_sessions(name_or_path).result(check)
        if result.status == "failed":
            pytest.fail(result.reason, pytrace=False)
        if result.status != "passed":
            pytest.skip(f"{result.status}: {result.reason}")

    return test_conformance


@pytest.fixture(scope="session")
def modality_sessions() -> Iterator[Callable[[str], Session]]:
    """Sessions of the kit by name or folder; a modality is loaded once for all of its tests."""
    with ExitStack() as stack:

        @cache
        def session(name_or_path: str) -> Session:
            return stack.enter_context(Session(resolve(name_or_path)))

        yield session
