from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotlam.contracts import BadInput, ChannelState, Device, Diagnosis, Link, ModalityManifest, TokenSpec, unit_factor

SPEC = TokenSpec("sonar", 4, 8)
positive = st.floats(1e-20, 1e20)


def test_a_record_is_the_same_after_json() -> None:
    said = Diagnosis(
        "pump 3", 5, {"inner race": 0.9, "imbalance": 0.2}, ("inner race",), False, {"vibration": 3.5}, ("x",)
    )
    assert Diagnosis.from_json(said.to_json(), "diagnosis") == said
    assert TokenSpec.from_raw(json.loads(SPEC.to_json()), "spec") == SPEC == SPEC.changed(dim=4)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "s: expected JSON"),
        ("[" * 100_000, "s: expected JSON"),
        ("[]", "s: expected object, got array"),
        ("9" * 5000, "s: expected JSON"),
        ('{"modality": "x", "dim": 1}', "s: expected the key max_tokens, got none; add it."),
        ('{"modality": "x", "dim": 1, "max_tokens": 1, "hue": 1}', "s: expected only known keys, got hue"),
        ('{"modality": "x", "dim": "1", "max_tokens": 1}', "s, dim: expected int, got str; correct the value."),
    ],
)
def test_what_is_no_record_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(BadInput) as caught:
        TokenSpec.from_json(text, "s")
    assert str(caught.value).startswith(sentence)


def test_a_value_that_is_not_among_the_choices_or_the_range_is_named_with_them() -> None:
    with pytest.raises(BadInput, match=r"m, memory_bytes: expected int >= 1, got 0; correct the value"):
        Device.from_raw({"name": "pi", "compute_flops": 1e9, "memory_bytes": 0, "energy_j_per_flop": 0.0}, "m")
    with pytest.raises(BadInput, match="api_version: expected one of 1, got 2"):
        ModalityManifest.from_raw({"name": "x", "api_version": 2}, "m")


@pytest.mark.parametrize(
    ("change", "word"),
    [({"faults": ("crack",)}, "faults without a probability: crack"), ({"abstained": True}, "names no fault")],
)
def test_a_diagnosis_that_contradicts_itself_is_refused(change: dict[str, object], word: str) -> None:
    raw = {"machine": "m", "t_ns": 0, "probability": {"imbalance": 0.9}, "faults": ["imbalance"], **change}
    with pytest.raises(BadInput, match=word):
        Diagnosis.from_raw(raw, "d")


def test_time_and_energy_of_a_device_are_those_of_its_speed() -> None:
    device = Device("pi", compute_flops=2e9, memory_bytes=10**9, energy_j_per_flop=1e-9)
    assert device.compute_s(4e9) == 2.0 and device.compute_j(4e9) == pytest.approx(4.0)


def test_a_link_carries_a_bit_per_second_and_hertz_at_a_ratio_of_one() -> None:
    link = Link("pi", "server", bandwidth_hz=1e6)
    assert link.capacity_bit_per_s(1.0, ChannelState(gain=1e-6, noise_w_per_hz=1e-12)) == pytest.approx(1e6)
    assert link.capacity_bit_per_s(1.0, ChannelState(gain=0.0, noise_w_per_hz=1e-12)) == 0.0


@given(bandwidth_hz=st.floats(1e3, 1e9), gain=st.floats(1e-12, 1.0), noise=st.floats(1e-21, 1e-9))
def test_more_bandwidth_or_power_never_carries_less(bandwidth_hz: float, gain: float, noise: float) -> None:
    channel, link = ChannelState(gain, noise), Link("a", "b", bandwidth_hz)
    here = link.capacity_bit_per_s(0.1, channel)
    assert link.changed(bandwidth_hz=2 * bandwidth_hz).capacity_bit_per_s(0.1, channel) >= here * (1 - 1e-9)
    assert link.capacity_bit_per_s(0.2, channel) >= here


def test_units_of_one_quantity_convert_and_others_do_not() -> None:
    assert unit_factor("gn", "m/s2") == 9.80665 and unit_factor("mm", "m") == 1e-3
    assert unit_factor("us", "ms") == pytest.approx(1e-3)
    assert unit_factor("1/min", "Hz") * 3000 == pytest.approx(50.0)
    with pytest.raises(BadInput, match="one of length, such as 'm', got 'V', of voltage"):
        unit_factor("V", "m")
    with pytest.raises(BadInput, match="got 'furlong'"):
        unit_factor("m", "furlong")
