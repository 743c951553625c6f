"""Radio channels as they were in rounds, so that these can be planned again, by others or otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from iotlam.contracts import BadInput, ChannelState, Device, Record, whole_file
from iotlam.federated.journal import read
from iotlam.federated.outcome import JOURNAL

Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, Meta(gt=0.0)]


class Trace(Record, frozen=True):
    """Channels as they were, to be met again.

    Attributes:
        devices: names.
        gain: of each round, of each device, power gain 0 to 1.
        noise_w_per_hz: at the receivers.
    """

    devices: tuple[str, ...]
    gain: tuple[tuple[Share, ...], ...]
    noise_w_per_hz: Positive

    def __post_init__(self) -> None:
        if not self.gain or any(len(round_) != len(self.devices) for round_ in self.gain):
            got = f"{len(self.gain)} rounds of other lengths"
            raise BadInput("Trace", expected=f"{len(self.devices)} gains a round", got=got, fix="record it anew")

    @classmethod
    def read(cls, path: Path) -> Trace:
        """Read what `write` wrote.

        Raises:
            BadInput: if it is no trace.
        """
        try:
            text = path.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput(str(path), expected="a trace", got=str(error), fix="name another file") from error
        return cls.from_json(text, str(path))

    @classmethod
    def of_run(cls, folder: Path) -> Trace:
        """The channels that the rounds of a run were planned for.

        Raises:
            BadInput: if the folder holds no run whose radio was planned, one that goes on, or one whose noise changed.
        """
        records, _ = read(folder / JOURNAL) if (folder / JOURNAL).exists() else ([], 0)
        radios = [record["radio"] for record in records if record["kind"] == "plan" and record["radio"]]
        if not radios:
            fix = "name a run with 'radio' in its plan"
            raise BadInput(str(folder), expected="a run whose radio was planned", got="none", fix=fix)
        rounds = next(record["config"]["rounds"] for record in records if record["kind"] == "begin")
        if len(radios) < rounds:  # a trace that grows would not be the same when the run that follows it goes on
            got, fix = f"one of {len(radios)} rounds of {rounds}", "wait until it ends"
            raise BadInput(str(folder), expected="a run that is over", got=got, fix=fix)
        if len({radio["noise_w_per_hz"] for radio in radios}) > 1:
            fix = "put the difference into 'gain'"
            raise BadInput(str(folder), expected="one noise density in all rounds", got="several", fix=fix)
        names = tuple(radios[0]["gain"])
        gain = tuple(tuple(radio["gain"][name] for name in names) for radio in radios)
        return cls(names, gain, radios[0]["noise_w_per_hz"])

    def write(self, path: Path) -> None:
        """Write the trace as JSON, whole or not at all."""
        with whole_file(path) as partial:
            partial.write_text(self.to_json())

    def channels(self, devices: Sequence[Device], number: int) -> list[ChannelState]:
        """Channels of a round; after the last comes the first again.

        Raises:
            BadInput: if a device is not in the trace.
        """
        places = {name: place for place, name in enumerate(self.devices)}
        if strange := [device.name for device in devices if device.name not in places]:
            fix = "record one with it"
            raise BadInput("Trace", expected=f"device '{strange[0]}'", got="others", fix=fix)
        gains = self.gain[number % len(self.gain)]
        return [ChannelState(gains[places[device.name]], self.noise_w_per_hz) for device in devices]
