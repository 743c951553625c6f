"""What is said of a machine's places is what was wrong with it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from iotlam.decoder.vocabulary import code_range
from iotlam.training.pretrain import prepare
from iotlam.training.shards import FACTS, Sample
from iotlam_faults.query import PLACES, machine_query
from iotlam_faults.train import streams
from iotlam_faults.words import describe
from iotlam_machine.bearings import BEARINGS


def sample(**severity: float) -> Sample:
    facts_K1 = np.array([[severity.get(place, 0.0)] for place in PLACES], np.float32)
    return Sample({}, machine_query(BEARINGS["6205"].orders, 29.5), {FACTS: facts_K1})


def at(*places: str) -> list[int]:
    return [PLACES.index(place) for place in places]


@pytest.mark.parametrize(
    ("severity", "places", "text"),
    [
        ({"outer": 0.6}, at("outer"), "Clear damage."),
        ({"outer": 0.6}, at("inner"), "No damage."),
        ({"ball": 1.0}, at("cage"), "Severe damage."),
        ({"shaft": 0.3}, at("turns"), "Slight damage."),
        ({"outer": 0.6, "shaft": 0.9}, at("inner", "shaft", "outer"), "Damage: no, severe, clear. Worst is place 2."),
        ({}, at("inner", "outer"), "Damage: no, no. Nothing is damaged."),
    ],
)
def test_words_about_places(severity: dict[str, float], places: list[int], text: str) -> None:
    assert describe(sample(**severity), places) == text


def test_machines_are_material_to_pretrain_on(tmp_path: Path) -> None:
    material = prepare({"faults": streams(tmp_path, seed=0, machines=12)}, 640, seed=0)
    learnt, held_out = material.learnt["faults"], material.held_out["faults"]
    assert len(learnt) == 10 * len(PLACES) and len(held_out) == 2 * len(PLACES)
    line = learnt.line(np.random.default_rng(0), looks=6, scene=True)
    codes = code_range(material.tokenizer, "vibration_orders")
    assert sum(entry in codes for entry in line.looks) == 6 * 8  # eight lines of each of six places; no code of current
    assert material.tokenizer.decode(list(line.words)).startswith("Damage: ")
