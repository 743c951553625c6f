"""What is asked of the model: which candidate to choose, given places to look at."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts.errors import BadInput


@dataclass(frozen=True, slots=True)
class DecisionQuery:
    """A choice among any number P of candidates, answered by looking at K places.

    At a junction the places are incoming lanes and the candidates are green phases; a model that
    has learnt one junction can therefore be asked about another (docs/adr/0002).

    Attributes:
        anchors_KHX: float32 (K, H, 2), H points along each place in site coordinates, metres.
        serves_PK: float32 (P, K), how much candidate p concerns place k, 0 to 1.
        features_PF: float32 (P, F), what is known of each candidate without sensors.
        allowed_P: bool (P,), candidates that may be chosen now.

    Raises:
        BadInput: if the shapes do not fit together or no candidate is allowed.
    """

    anchors_KHX: NDArray[np.float32]
    serves_PK: NDArray[np.float32]
    features_PF: NDArray[np.float32]
    allowed_P: NDArray[np.bool_]

    def __post_init__(self) -> None:
        places, candidates = self.anchors_KHX.shape[0], self.allowed_P.shape[0]
        if self.serves_PK.shape != (candidates, places) or self.features_PF.shape[0] != candidates:
            raise BadInput(
                "DecisionQuery",
                expected=f"serves_PK ({candidates}, {places}) and {candidates} rows of features_PF",
                got=f"{self.serves_PK.shape} and {self.features_PF.shape}",
                fix="describe every candidate and every place once",
            )
        if not self.allowed_P.any():
            raise BadInput(
                "DecisionQuery.allowed_P",
                expected="at least one allowed candidate",
                got="none",
                fix="allow the candidate in force",
            )
