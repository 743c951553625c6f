"""What a round was planned to be, and what came of it, as a run's journal has it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from iotlam.contracts import Json, Record

JOURNAL = "journal.jsonl"
"""Of a run's folder."""


class Outcome(Record, frozen=True):
    """What came of a round.

    Attributes:
        round: its number, from 0.
        shares: how much each device that answered counted, by name; none where too few did, and all stayed.
        missing: cause of each device that did not answer, or that a planned radio does not hear, by name.
        refused: why an answer was not taken, by name.
        scores: of what each device was sent, on its own held-out examples, by name.
        loss: mean loss of the devices' steps; -1 without answers.
        up_bytes: sent to the server.
        down_bytes: sent to devices that were there, since the run was last begun or resumed.
        radio_s: how long the round takes as its radio was planned, seconds; -1 where none was.
        checkpoint: SHA-256 of the state after the round.
        own_scores: of each device's own module after the round, on the same examples, by name.
    """

    round: int
    shares: dict[str, float]
    missing: dict[str, str]
    refused: dict[str, str]
    scores: dict[str, float]
    loss: float
    up_bytes: int
    down_bytes: int
    radio_s: float
    checkpoint: str
    own_scores: dict[str, float] = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, record: Json, subject: str) -> Outcome:
        """Read a journal's record of a round."""
        return cls.from_raw({key: value for key, value in record.items() if key in cls.__struct_fields__}, subject)

    @property
    def counted(self) -> list[str]:
        """Devices whose answers made a difference: a robust rule leaves some out."""
        return [name for name, share in self.shares.items() if share > 0.0]

    @property
    def score(self) -> float:
        """Mean score of what was sent, over the devices that have held-out examples; -1 without any."""
        return sum(self.scores.values()) / len(self.scores) if self.scores else -1.0


@dataclass(frozen=True, slots=True)
class Planned:
    """Who takes part in a round.

    Attributes:
        ranks: at which each is to train, by name.
        radio: what the radio is planned to do; empty where none is planned.
    """

    ranks: Mapping[str, int]
    radio: Json = field(default_factory=dict)
