"""What the figures of `faults-honest`, `faults-stream` and `faults-speed` count, from rows made up for it."""

from __future__ import annotations

import numpy as np
import pytest

from iotlam_faults.data.catalogue import entries
from iotlam_faults.evaluate import Bench, run_split
from iotlam_faults.head import Columns
from iotlam_faults.methods import METHODS, Seen
from iotlam_faults.monitor.ledger import Alarm
from iotlam_faults.pasts import fit_baselines
from iotlam_faults.protocols import Window, rosa
from iotlam_faults.splits import Piece
from iotlam_faults.suites import honest, speed, stream
from iotlam_machine.machine import BEARING_FAULTS

SCORE = {"iotlam": 0.99, "forest": 0.93, "encoder": 0.95}
PERFECT = np.diag([2, 5, 5, 5]).tolist()
SOUND = {"s1": [2, 0, 0, 0]}


def row(protocol: str, method: str, split: str, labels: float = 1.0, **more: object) -> dict:
    value = SCORE.get(method, 0.5)
    bearings = {f"{split}-{fault}": value for fault in ("inner", "outer", "ball")}
    leaky = protocol == "random-windows"
    return {
        "protocol": protocol, "labels": labels, "split": split, "digest": "00", "leaky": leaky, "method": method,
        "auroc": value, "by_bearing": bearings, "confusion": PERFECT, "sound": SOUND, **more,
    }  # fmt: skip


def told(true: str, named: str, alarm: bool, recording: str = "r") -> dict:
    return {"recording": recording, "true": true, "named": named, "alarm": alarm}


def rows() -> list[dict]:
    said = [told("sound", "", True, "s1"), told("sound", "", False, "s2"), told("sound", "", False, "s1")]
    said += [told("ball", "ball", True), told("outer", "ball", True), told("inner", "", True), told("inner", "", False)]
    trust = {"recordings": said, "bins": [[10, 9.0, 8]]}
    found = [row("rosa", name, split) for split in ("a", "b", "c") for name in METHODS]
    found += [row("rosa", name, "a", 0.1) for name in honest.FEWEST_LABELLED]
    found += [row("unseen-bearing-and-load", name, "a", **trust) for name in honest.TRUSTED]
    found += [row("unseen-machine", name, f"unseen machine {end}") for end in ("DE", "FE") for name in METHODS]
    found += [row("random-windows", name, "random windows") for name in METHODS]
    rig = {"auroc": 0.97, "detection": 0.7, "damaged": 120, "false_alarms": 1, "sound": 20}
    found.append({"protocol": "healthy-only on adi_cbm", **rig})
    found += [{"protocol": "between-recordings", "change": change} for change in (1.0, 2.5, 3.0)]
    return found + [{"protocol": "seeded-leaks", "kind": kind, "refused": 1.0} for kind in ("window", "load")]


def test_honest_counts_what_it_says() -> None:
    found = honest.figures(rows())
    assert found["rosa_auroc_mean"].value == 0.99 and "forest 0.930" in found["rosa_auroc_mean"].anchor
    above = found["rosa_above_forest_lower95"]
    assert above.value == pytest.approx(0.06) and above.n == 9  # bearings, not splits
    assert found["frozen_encoder_above_forest_points"].value == pytest.approx(2.0)
    assert (found["gate_false_alarms"].value, found["gate_false_alarms"].n) == (1, 2)  # two recordings, whatever folds
    assert found["gate_detection"].value == 0.75 and found["gate_coverage"].value == 0.5
    assert found["gate_precision"].value == 0.5 and found["calibration_error"].value == pytest.approx(0.1)
    assert found["unseen_bearing_and_load_macro_f1"].value == 1.0 and found["cwru_to_adi_auroc"].met
    assert "nothing of CWRU" in found["cwru_to_adi_auroc"].anchor
    assert (found["adi_detection_at_changed"].value, found["adi_detection_at_changed"].n) == (0.7, 120)
    assert (found["adi_false_alarms_at_changed"].value, found["adi_false_alarms_at_changed"].n) == (1, 20)
    assert found["same_bearing_other_recording_changed"].value == 2
    assert found["same_bearing_other_recording_change_median"].value == 2.5


@pytest.fixture(scope="module")
def bench() -> Bench:
    """CWRU's windows with columns that mean nothing."""
    chosen = [e for e in entries("cwru") if (e.rate_hz == 12e3 or not e.faults) and (e.severity_mm or 0.0) < 0.6]
    windows = [
        Window(Piece(f"{e.file} {e.part}", e.group, start, start + 12_000, e.load, f"{e.file} {e.part}"), e)
        for e in chosen
        for start in (0, 12_000)
    ]
    noise_WC = np.random.default_rng(0).normal(size=(len(windows), 10))
    parts_W = np.array([one.entry.part for one in windows])
    columns = Columns(noise_WC, noise_WC, noise_WC, noise_WC, noise_WC, parts_W, noise_WC)
    present_WL = np.array([[fault in one.entry.faults for fault in BEARING_FAULTS] for one in windows])
    seen = Seen(columns, np.array([one.piece.group for one in windows]), present_WL)
    return Bench(tuple(windows), seen, noise_WC, fit_baselines(windows, noise_WC), frozenset())


@pytest.mark.parametrize("kind", honest.SEEDED)
def test_every_leak_that_is_seeded_is_refused(bench: Bench, kind: str) -> None:
    split = next(rosa(bench.windows))
    assert all(honest._is_refused(bench, split, kind, np.random.default_rng(seed)) for seed in range(5))


def test_without_a_seeded_leak_nothing_is_refused(bench: Bench) -> None:
    split = next(rosa(bench.windows))
    assert run_split(bench, split, "dummy", trusted=True)["auroc"] == 0.5


def machine(taken: range | list[int] = range(10), heard: range | list[int] = range(10), **changes: object) -> dict:
    sound = stream.alarms_row([], {}, [0.0] * 10, None)
    return {"machine": "m0", **stream.windows_row(taken, heard, 10), **sound, **changes}


def alarm(number: int, raised: bool = True) -> Alarm:
    return Alarm("m0", "a/1Hz", 1, number, 0, "changed", raised, 3.0, "outer", "", f"m0/a/1Hz/1/{number}/changed")


FACTS = dict.fromkeys(("kills", "most_waiting", "caught_up_s", "monitor_cpu_s", "seconds", "monitor_rss_mb"), 1.0)
FACTS["heard_again"] = 3.0


def test_an_alarm_that_never_came_is_no_short_delay() -> None:
    good = stream.figures([machine(), machine(damaged_at=4, alarm_delay_windows=2, alarm_delay_s=1.5)], FACTS)
    assert good["alarm_delay_windows"].value == 2 and good["alarm_delay_s"].value == 1.5
    assert good["lost"].met and good["lost"].n == 20 and good["features_lost"].met and good["alarms_lost"].met
    bad = stream.figures([machine(lost=1, doubled=2), machine(damaged_at=4)], FACTS)
    assert bad["alarm_delay_windows"].value == float("inf") and not bad["alarm_delay_windows"].met
    assert bad["alarm_delay_s"].value == float("inf")
    assert (bad["lost"].value, bad["doubled"].value) == (1, 2) and not bad["lost"].met


def test_what_a_listener_did_not_hear_is_lost_though_it_is_on_disk() -> None:
    row = machine(heard=[0, 1, 2, 4, 3, 5, 5])
    assert (row["lost"], row["features_lost"]) == (0, 4)
    assert (row["features_doubled"], row["features_out_of_order"]) == (1, 1)
    put_at_s = [float(second) for second in range(10)]
    told = stream.alarms_row([alarm(2), alarm(6), alarm(8, raised=False)], {alarm(6).id: 12.5}, put_at_s, 5)
    assert (told["alarms"], told["alarms_lost"], told["alarms_doubled"], told["false_alarms"]) == (3, 2, 0, 1)
    assert (told["alarm_delay_windows"], told["alarm_delay_s"]) == (
        2,
        7.5,
    )  # windows count none while the broker is away
    found = stream.figures([{**row, **told}], FACTS)
    assert not found["features_lost"].met and not found["alarms_lost"].met and found["alarms_lost"].n == 3


def test_speed_takes_the_median_turn_and_the_slowest_windows() -> None:
    found = speed.figures(
        [{"what": "ours", "windows_per_s": v, "windows_per_cpu_s": v, "rss_mb": v} for v in (100.0, 300.0, 200.0)]
        + [{"what": "scipy features", "windows_per_s": 50.0}]
        + [{"what": "single", "ms": float(value)} for value in range(1, 101)]
        + [{"what": "diagnose", "wall_s": value, "cpu_s": value, "report_kb": 90.0} for value in (1.0, 1.5, 9.0)]
    )
    assert found["windows_per_s"].value == 200.0 and "scipy features 50" in found["windows_per_s"].anchor
    assert found["rss_mb"].value == 300.0 and 98.0 < found["batch1_p99_ms"].value <= 100.0
    assert found["diagnose_one_file_s"].value == 1.5 and found["diagnose_one_file_s"].met
