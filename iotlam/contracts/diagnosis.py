"""What is said of a machine: the faults, how sure it is, and what it rests on."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from iotlam.contracts.records import Record

Probability = Annotated[float, Meta(ge=0.0, le=1.0)]


class Diagnosis(Record, frozen=True):
    """The state of one machine in one window of time.

    Attributes:
        machine: name of the machine.
        t_ns: end of the window, nanoseconds on the site's clock.
        probability: calibrated probability of each fault that was looked for, by name.
        faults: those that are present, most probable first; empty for a healthy machine.
        abstained: whether the window was too unclear to say; `faults` is then empty.
        bits: what each modality contributed, in bits, by name.
        evidence: measured facts in words, such as "line at 107.3 Hz, 18 dB above its surroundings".
    """

    machine: str
    t_ns: int
    probability: dict[str, Probability]
    faults: tuple[str, ...] = ()
    abstained: bool = False
    bits: dict[str, Annotated[float, Meta(ge=0.0)]] = {}
    evidence: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.faults) - self.probability.keys()):
            raise ValueError(f"faults without a probability: {', '.join(unknown)}")
        if self.abstained and self.faults:
            raise ValueError("a diagnosis that abstains names no fault")
