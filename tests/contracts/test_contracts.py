from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from iotlam.contracts import (
    BadInput,
    DecisionQuery,
    IotlamError,
    MissingExtra,
    ModalityManifest,
    PluginError,
    SensorFrame,
    TokenBatch,
)

MANIFEST = """
name = "sonar"
api_version = 1
summary = "echoes"
units = ["Pa"]
dtype = "float32"
dims = ["beam", "sample"]
shape = [4, 0]
rate_hz = [1.0, 10.0]
clock = "site"
stamp = "start"
frame = "sensor"
value_range = [-1.0, 1.0]
missing = "mask"
token_budget = 8
licence = "Apache-2.0"

[meta]
pose_site = "4 x 4"
"""


@pytest.fixture
def manifest_file(tmp_path: Path) -> Path:
    path = tmp_path / "modality.toml"
    path.write_text(MANIFEST)
    return path


def test_a_manifest_is_read_as_written(manifest_file: Path) -> None:
    manifest = ModalityManifest.from_toml(manifest_file)
    assert manifest.dims == ("beam", "sample") and manifest.shape == (4, 0) and manifest.rate_hz == (1.0, 10.0)


@pytest.mark.parametrize(
    ("old", "new", "word"),
    [
        ('units = ["Pa"]\n', "", "units"),
        ("[4, 0]", "[4, 0]\ncolour = 3", "only known keys, got colour"),
        ("api_version = 1", "api_version = 99", "api_version: expected one of 1, got 99"),
        ('name = "sonar"', "name = sonar", "TOML"),
    ],
)
def test_a_broken_manifest_is_refused_by_the_broken_part(manifest_file: Path, old: str, new: str, word: str) -> None:
    manifest_file.write_text(MANIFEST.replace(old, new))
    with pytest.raises(BadInput, match=word):
        ModalityManifest.from_toml(manifest_file)


def test_a_manifest_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="readable"):
        ModalityManifest.from_toml(tmp_path / "none.toml")


def test_the_mask_of_a_frame_covers_leading_dimensions() -> None:
    SensorFrame(0, np.zeros((2, 3)), mask=np.ones(2, np.bool_))
    with pytest.raises(BadInput, match="leading"):
        SensorFrame(0, np.zeros((2, 3)), mask=np.ones(3, np.bool_))


@pytest.mark.parametrize(
    ("fields", "word"),
    [
        ({"t_ns": 1.5}, "t_ns: expected whole nanoseconds, less than 2.62, got 1.5"),
        ({"t_ns": None}, "t_ns"),
        ({"t_ns": 2**63}, "t_ns"),
        ({"t_ns": True}, "t_ns"),
        ({"data": [1.0]}, "data: expected a numpy array, got list"),
        ({"data": np.ma.masked_array(np.zeros(2), mask=True)}, "data: expected a numpy array, got MaskedArray"),
        ({"meta": None}, "meta: expected a mapping, got NoneType"),
        ({"mask": np.ones(2, np.uint8)}, "mask: expected an array of bool with a dimension or more, got uint8"),
        ({"mask": np.array(True)}, "mask"),
        ({"mask": [True, True]}, "mask: .*got list"),
    ],
)
def test_a_frame_of_something_else_is_refused_by_its_field(fields: dict[str, object], word: str) -> None:
    with pytest.raises(BadInput, match=word):
        SensorFrame(**{"t_ns": 0, "data": np.zeros(2), **fields})  # type: ignore[arg-type]


def test_a_plugin_error_is_one_printable_line_whatever_the_plugin_says() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert "got Mute: ;" in str(PluginError("sonar", "tokenize", Mute()))
    text = str(PluginError("sonar", "tokenize", ValueError("two\nlines \x1b[31m" + "x" * 10_000)))
    assert "ValueError: two lines [31mxxx" in text and text.isprintable() and len(text) < 800


def test_a_frame_without_pose_stands_at_the_origin() -> None:
    frame = SensorFrame(0, np.zeros(1))
    assert frame.sensor == "" and np.array_equal(frame.pose_site, np.eye(4))


@pytest.mark.parametrize(
    "field",
    ["tokens_BTD", "mask_BT", "time_BT", "position_BTX"],
)
def test_tokens_whose_shapes_disagree_are_refused(field: str) -> None:
    fields = {
        "tokens_BTD": torch.zeros(1, 3, 4),
        "mask_BT": torch.ones(1, 3, dtype=torch.bool),
        "time_BT": torch.zeros(1, 3),
        "position_BTX": torch.zeros(1, 3, 2),
    }
    assert TokenBatch(**fields, modality="sonar").dim == 4
    with pytest.raises(BadInput, match=field):
        TokenBatch(**{**fields, field: torch.zeros(5, 3)}, modality="sonar")


def _query(allowed: list[bool], places: int = 3) -> DecisionQuery:
    zeros = np.zeros((3, 2, 2), np.float32)
    return DecisionQuery(
        zeros, np.zeros((2, places), np.float32), np.zeros((2, 5), np.float32), np.array(allowed, np.bool_)
    )


def test_a_query_needs_an_allowed_candidate_and_shapes_that_fit() -> None:
    assert _query([True, False]).allowed_P.sum() == 1
    with pytest.raises(BadInput, match="allowed"):
        _query([False, False])
    with pytest.raises(BadInput, match="serves_PK"):
        _query([True, True], places=4)


def test_errors_are_one_sentence_that_says_what_to_do() -> None:
    text = str(BadInput("Option --seed", expected="a number", got="'x'", fix="give one"))
    assert text == "Option --seed: expected a number, got 'x'; give one."
    assert "ValueError: odd" in str(PluginError("sonar", "tokenize", ValueError("odd")))


@pytest.mark.parametrize(
    "error",
    [
        BadInput("Bell", expected="a bell", got="none", fix="hang one"),
        PluginError("acme", "tokenize", ZeroDivisionError("no points")),
        MissingExtra("libsumo", "traffic"),
    ],
)
def test_errors_survive_the_way_between_processes(error: IotlamError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and vars(again) == vars(error)
