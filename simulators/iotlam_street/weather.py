"""Weather and light as the sensors of a junction meet them.

Rain is a cloud of drops with the sizes of Marshall and Palmer ("The distribution of raindrops with size", Journal of
Meteorology 5, 1948); what it takes from light and radio follows from them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from iotlam.contracts import BadInput

Doubles = NDArray[np.float64]

_DROPS_PER_M3_MM = 8000.0
"""Marshall and Palmer's N0: drops per cubic metre and millimetre of diameter, towards diameter 0."""
_RADIO_DB_PER_KM, _RADIO_EXPONENT = 1.1320, 0.7177
"""k and alpha of Recommendation ITU-R P.838-3 for 77 GHz, horizontal polarisation: decibels per km = k R^alpha."""


@dataclass(frozen=True, slots=True)
class Weather:
    """What is in the way of the sensors; by default nothing.

    Attributes:
        rain_mm_h: rain rate; 2 is light, 10 moderate, 50 violent.
        night: no daylight; street lamps and vehicles' own lights remain.
        sun_azimuth: where a low sun stands, radians counter-clockwise from east; None where it blinds no camera.
        blur_px: standard deviation of what dirt, a wrong focus or a shaking mast does to cameras, pixels.

    Raises:
        BadInput: if rain or blur is negative or not finite.
    """

    rain_mm_h: float = 0.0
    night: bool = False
    sun_azimuth: float | None = None
    blur_px: float = 0.0

    def __post_init__(self) -> None:
        for name in ("rain_mm_h", "blur_px"):
            if not 0.0 <= getattr(self, name) < np.inf:
                raise BadInput(f"Weather.{name}", expected="0 or more", got=f"{getattr(self, name)}", fix="correct it")

    @property
    def drop_mm(self) -> float:
        """Mean diameter of drops, and by how much those larger than any size exceed it on average; 0 without rain."""
        return float(self.rain_mm_h**0.21 / 4.1)

    def drops_per_m3(self, least_mm: Doubles) -> Doubles:
        """Drops larger than a diameter; no rain is that of drops too small to matter."""
        drop_mm = max(self.drop_mm, 1e-3)
        return np.asarray(_DROPS_PER_M3_MM * drop_mm * np.exp(-least_mm / drop_mm))

    @property
    def extinction_per_m(self) -> float:
        """Share of light that rain takes per metre, one way: twice the drops' cross-sections (van de Hulst, 1957)."""
        return float(np.pi * 1e-6 * _DROPS_PER_M3_MM * self.drop_mm**3)

    @property
    def radio_db_per_m(self) -> float:
        """What rain takes from a 77 GHz wave, one way."""
        return float(_RADIO_DB_PER_KM * self.rain_mm_h**_RADIO_EXPONENT / 1000.0)


CLEAR = Weather()

WEATHERS = {
    "clear": CLEAR,
    "rain": Weather(rain_mm_h=25.0),
    "night": Weather(night=True),
    "glare": Weather(sun_azimuth=np.pi),
    "blur": Weather(blur_px=1.5),
}
"""Weather by name, for commands and tables: heavy rain, night, an evening sun in the west, a dirty lens."""
