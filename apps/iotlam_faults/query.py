"""What a machine asks the model: faults are the candidates, and where their lines would lie are the places.

A fault is known by the orders of its lines, and these follow from geometry. So one model serves every bearing, as one
serves every junction: the lanes of a junction are places on the ground, the combs of a bearing places in the plane of
orders (docs/adr/0013).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import DecisionQuery
from iotlam_machine.bearings import FaultOrders
from iotlam_machine.machine import Kind
from iotlam_waveform.vibration_orders.places import ENVELOPE_Y, SIGNAL_Y, place_of

ANCHORS = 8
"""Lines of each place, one for each head of the fusion."""

FAULTS: tuple[Kind, ...] = ("inner", "outer", "ball", "imbalance", "misalignment", "winding")
"""What is asked about, in the order of the candidates."""

PLACES = ("inner", "outer", "ball", "cage", "turns", "shaft")
"""Where it is looked: combs of the bearing's parts, and the shaft's harmonics in the envelope and in the signal."""

CONCERNED = {
    "inner": {"inner": 1.0},
    "outer": {"outer": 1.0},
    "ball": {"ball": 1.0, "cage": 0.5},
    "imbalance": {"shaft": 1.0},
    "misalignment": {"shaft": 1.0},
    "winding": {},
}
"""Which places a fault concerns, and how much."""

FEATURES = (*FAULTS, "order", "cage", "balls", "speed")
"""What is known of each candidate: which it is, the logarithm of its first order, the bearing, the shaft's hertz."""


def machine_query(orders: FaultOrders, shaft_hz: float, asked: tuple[str, ...] = FAULTS) -> DecisionQuery:
    """Ask about the faults of a machine.

    Args:
        orders: of its bearing.
        shaft_hz: speed of its shaft, turns a second.
        asked: faults that may be named; those that the machine's sensors cannot tell are left out.
    """
    anchors_KHX = np.stack([_anchors(place, orders) for place in PLACES])
    serves_PK = np.array([[CONCERNED[fault].get(place, 0.0) for place in PLACES] for fault in FAULTS], np.float32)
    first = {"inner": orders.inner, "outer": orders.outer, "ball": 2.0 * orders.ball}
    shared = [orders.cage, math.log10(orders.balls), math.log10(shaft_hz) - 1.0]
    features_PF = np.array(
        [
            [*np.eye(len(FAULTS))[index], math.log10(first.get(fault, 1.0)), *shared]
            for index, fault in enumerate(FAULTS)
        ],
        np.float32,
    )
    allowed_P = np.array([fault in asked for fault in FAULTS])
    return DecisionQuery(anchors_KHX, serves_PK, features_PF, allowed_P)


def _anchors(place: str, orders: FaultOrders) -> NDArray[np.float32]:
    """The lines at which a place is looked at, (ANCHORS, 2)."""
    y = SIGNAL_Y if place == "shaft" else ENVELOPE_Y
    x_H = place_of(_orders(place, orders))
    return np.stack([x_H, np.full(ANCHORS, y)], 1).astype(np.float32)


def _orders(place: str, orders: FaultOrders) -> list[float]:
    if place == "inner":
        one = orders.inner
        return [one, 2.0 * one, 3.0 * one, one - 1.0, one + 1.0, 2.0 * one - 1.0, 2.0 * one + 1.0, 3.0 * one + 1.0]
    if place == "outer":
        one, cage = orders.outer, orders.cage
        return [one, 2.0 * one, 3.0 * one, 4.0 * one, 5.0 * one, one - cage, one + cage, 2.0 * one + cage]
    if place == "ball":
        one, cage = 2.0 * orders.ball, orders.cage
        return [one, 2.0 * one, 3.0 * one, one - cage, one + cage, 2.0 * one - cage, 2.0 * one + cage, one / 2.0]
    first = orders.cage if place == "cage" else 1.0
    return [first * multiple for multiple in range(1, ANCHORS + 1)]
