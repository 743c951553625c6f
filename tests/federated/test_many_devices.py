"""What a thousand devices need: nothing is made for each that can be made once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.contracts import BadInput
from iotlam.federated.aggregation import MODES
from iotlam.federated.config import Enrolled
from iotlam.federated.factors import MANY, Factors, spectrum
from iotlam.federated.flower import _Loop, client_app
from iotlam.federated.grids import LocalGrid
from iotlam.federated.local import Task
from iotlam.federated.messages import changes, check_changes, from_bytes, to_bytes
from iotlam.federated.rounds import Run

from .test_rounds import config, fleet


@pytest.mark.parametrize("mode", MODES)
def test_devices_that_are_given_the_same_share_it(mode: str, task: Task, tmp_path: Path) -> None:
    devices = tuple(Enrolled(f"d{n}", (2, 3)[n % 2], 24) for n in range(8))
    run = Run(tmp_path / "run", task.base, config(mode=mode, devices=devices))
    by_columns: dict[object, set[int]] = {}
    for order, arrays in run.orders():
        columns = tuple(run._some_mode.columns(run._places[order.device], order.rank, 0))
        by_columns.setdefault(columns, set()).add(id(arrays))
    assert all(len(arrays) == 1 for arrays in by_columns.values())
    assert len(by_columns) == (2 if mode != "fold" else 4), "fold: any two of three columns, and all three"


def test_what_is_shared_is_sent_from_one_place(task: Task, tmp_path: Path) -> None:
    devices = fleet(task, tmp_path)
    same = tuple(Enrolled(name, 2, 24) for name in devices)
    run = Run(tmp_path / "run", task.base, config(devices=same))
    with LocalGrid(client_app(lambda name, _: devices[name]), devices) as grid:
        contents = _Loop(run, grid, None)._contents()
    assert len({id(content.array_records["arrays"]) for content in contents.values()}) == 1
    assert len({content.config_records["facts"]["order"] for content in contents.values()}) == 3


def test_the_decomposition_of_very_many_columns_is_the_same(rng: np.random.Generator) -> None:
    b_OR, a_RI = (torch.from_numpy(rng.normal(size=size)) for size in ((24, MANY + 50), (MANY + 50, 40)))
    values = torch.linalg.svdvals(b_OR @ a_RI)
    torch.testing.assert_close(spectrum(Factors(b_OR, a_RI)).s_R, values[:24])
    few = spectrum(Factors(b_OR[:, :MANY], a_RI[:MANY])), torch.linalg.svdvals(b_OR[:, :MANY] @ a_RI[:MANY])
    torch.testing.assert_close(few[0].s_R, few[1][:24])


def test_arrays_come_back_from_a_file_as_they_were(rng: np.random.Generator) -> None:
    arrays = {"a": rng.normal(size=(3, 4)).T.astype(np.float32), "b/values": np.arange(-3, 3, dtype=np.int8)}
    found = from_bytes(to_bytes(arrays))
    assert found.keys() == arrays.keys()
    assert all(
        np.array_equal(found[name], array) and found[name].dtype == array.dtype for name, array in arrays.items()
    )


def test_sums_do_not_depend_on_where_numbers_are_in_a_file(rng: np.random.Generator) -> None:
    """Libraries of linear algebra sum in another order where memory is aligned otherwise."""
    wanted = {"w/values": rng.integers(-127, 127, (8, 64)).astype(np.int8), "w/step": np.ones(8, np.float32)}
    for more in range(1, 9):
        found = from_bytes(to_bytes({**wanted, "x": np.zeros(more, np.int8)}))
        assert changes({name: found[name] for name in wanted}, ["w"], True)["w"].data_ptr() % 64 == 0
        assert changes({"x": found["w/step"]}, ["x"], False)["x"].data_ptr() % 64 == 0


def test_a_step_that_is_too_large_for_its_numbers_is_refused() -> None:
    like = {"w": torch.zeros(2, 3)}
    arrays = {"w/values": np.full((2, 3), 127, np.int8), "w/step": np.array([1.0, 7000.0], np.float32)}
    check_changes(arrays, like, True)
    arrays["w/step"][1] = 8000.0
    with pytest.raises(BadInput, match="numbers up to"):
        check_changes(arrays, like, True)
