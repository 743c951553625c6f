from __future__ import annotations

import pytest

from iotlam_faults.suites.fed_radio import OPTIONS, SMALL, WITH_RANKS, _sizes, _small


def test_small_fleets_of_every_size_ask_for_one_to_three_ranks() -> None:
    met = {_sizes(seed) for seed in range(3 * (SMALL - 1))}
    several = {(count, options) for count in range(2, WITH_RANKS + 1) for options in range(1, OPTIONS + 1)}
    assert met == several | {(count, 1) for count in range(WITH_RANKS + 1, SMALL + 1)}


def test_the_search_finds_the_best_of_all_sets_of_eight_devices_and_three_ranks() -> None:
    row = _small(24)
    assert row["devices"] == 8 and row["gap"] == pytest.approx(0.0, abs=1e-9)
