"""Answers of the round under way, on disk until the round is: what the journal says has come need not come again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError

from iotlam.contracts import BadInput, whole_file
from iotlam.federated.journal import writing
from iotlam.federated.messages import Answer, Arrays, content, from_bytes, to_bytes

FACTS = "answer"
"""The array that holds the answer's facts."""


@dataclass(frozen=True, slots=True)
class Taken:
    """An answer that counts in the round under way.

    Attributes:
        answer: what a device says.
        arrays: what came with it.
    """

    answer: Answer
    arrays: Arrays

    def write(self, path: Path) -> None:
        """Write it, on disk when this returns.

        Raises:
            BadInput: if there is no room.
        """
        facts = np.frombuffer(self.answer.to_json().encode(), np.uint8)
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            with whole_file(path, durable=True) as partial:
                partial.write_bytes(to_bytes({**self.arrays, FACTS: facts}))

    @classmethod
    def read(cls, path: Path, digest: str) -> Taken | None:
        """Read what was written; None where it is not there any more as it was, and has to be asked for again.

        Args:
            path: the file.
            digest: of the arrays, as the journal has it.
        """
        try:
            arrays = from_bytes(path.read_bytes())
            answer = Answer.from_json(arrays.pop(FACTS).tobytes().decode(), str(path))
        except (OSError, SafetensorError, KeyError, UnicodeDecodeError, BadInput):
            return None
        return cls(answer, arrays) if content(arrays) == digest == answer.content else None
