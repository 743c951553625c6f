"""Envelopes, blocks, SenML and topics."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from iotlam.streams import senml
from iotlam.streams.envelope import MAGIC, Block, Envelope, NotOurs, block_of
from iotlam.streams.transport import matches


def test_an_envelope_comes_back_as_it_was() -> None:
    envelope = Envelope("pump-1", 17, 3, 2, b"body")
    assert Envelope.unpack(envelope.pack()) == envelope


@given(st.binary(max_size=200))
def test_whatever_is_not_ours_is_refused(payload: bytes) -> None:
    for raw in (payload, MAGIC + payload):
        try:
            found = Envelope.unpack(raw)
        except NotOurs:
            continue
        assert found.pack() == raw or msgspec.msgpack.decode(raw[4:])


def test_a_block_keeps_sixteen_bits_of_each_sample() -> None:
    values_NC = np.random.default_rng(0).normal(0.0, 3.0, (1000, 2)).astype(np.float32)
    block = Block.unpack(block_of(values_NC, 1000.0, 5).pack())
    assert np.abs(block.values_NC() - values_NC).max() <= block.scale / 2.0 * 1.001
    assert (block.rate_hz, block.t_ns, block.channels) == (1000.0, 5, 2)


def test_a_block_of_silence_stays_silent() -> None:
    assert not block_of(np.zeros((10, 1), np.float32), 1000.0, 0).values_NC().any()


@pytest.mark.parametrize(
    "changes",
    [{"data": b"123"}, {"data": b""}, {"dtype": "<f8"}, {"channels": 0}, {"rate_hz": 0.0}, {"rate_hz": float("nan")}],
)
def test_a_block_that_contradicts_itself_is_refused(changes: dict[str, object]) -> None:
    block = msgspec.structs.replace(block_of(np.ones((4, 1), np.float32), 100.0, 0), **changes)
    with pytest.raises(NotOurs, match="whole samples"):
        Block.unpack(block.pack())


def test_senml_is_what_the_rfc_says() -> None:
    pack = senml.encode(
        "pump", 1_700_000_000_500_000_000, {"rms": (2.5, "m/s2"), "alarm": (True, ""), "judged": ("sound", "")}
    )
    assert msgspec.json.decode(pack) == [
        {"bn": "urn:dev:iotlam:pump:", "bt": 1_700_000_000.5, "n": "rms", "u": "m/s2", "v": 2.5},
        {"n": "alarm", "vb": True},
        {"n": "judged", "vs": "sound"},
    ]
    assert senml.decode(pack)["urn:dev:iotlam:pump:judged"] == (1_700_000_000.5, "sound")


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("pump-1:DE.2/4000Hz", "pump-1:DE.2/4000Hz"),
        ("press_2", "press_2"),
        ("Lüfter 3", "L_x00FC_fter_x0020_3"),
        ("a_x0020_b", "a_x005F_x0020_b"),
    ],
)
def test_senml_has_names_that_the_rfc_allows(source: str, name: str) -> None:
    (found,) = senml.decode(senml.encode(source, senml.ABSOLUTE_NS, {"rms": (1.0, "m/s2")}))
    assert found == f"urn:dev:iotlam:{name}:rms"


def test_senml_of_others_is_resolved() -> None:
    pack = b'[{"bn":"a/","bt":10,"n":"t","u":"Cel","v":20},{"n":"t","t":1,"v":21},{"bn":"b/","n":"h","v":3}]'
    assert senml.decode(pack) == {"a/t": (11.0, 21.0), "b/h": (10.0, 3.0)}


@pytest.mark.parametrize(
    ("pattern", "topic", "falls"),
    [("a/b", "a/b", True), ("a/+", "a/b", True), ("a/+", "a/b/c", False), ("#", "a/b", True), ("a/#", "a/b/c", True)]
    + [("a/#", "b/c", False), ("a/+/c", "a/b/c", True), ("a/#", "a", True), ("+", "a/b", False)],
)
def test_topics_match_as_in_mqtt(pattern: str, topic: str, falls: bool) -> None:
    assert matches(pattern, topic) is falls
