"""One recording, one answer: what is wrong with the bearing, what that rests on, and why to doubt it.

Where the speed or the geometry is not known, no fault can be told by its lines; what can be said without is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from iotlam.contracts import BadInput, Json
from iotlam_faults.advice import advice
from iotlam_faults.baseline import CHANGED, Baseline, profile
from iotlam_faults.checks import mended
from iotlam_faults.evidence import levels
from iotlam_faults.physics.kurtogram import Kurtogram, kurtogram
from iotlam_faults.physics.sidebands import CurrentLines, current_lines
from iotlam_faults.physics.velocity import EDITION, LIMITS_MM_S, velocity_rms_mm_s, zone
from iotlam_faults.verdict import WORDS, Verdict, judge, unfit
from iotlam_machine.bearings import Bearing, FaultOrders
from iotlam_waveform.current import read as read_current
from iotlam_waveform.envelope import Bands, modulation, squared_envelopes, surroundings
from iotlam_waveform.vibration import read

if TYPE_CHECKING:  # the latter two load the model's libraries, which take longer than a diagnosis
    from iotlam_faults.data.catalogue import Entry
    from iotlam_faults.trained import Opinion, Trained

LONGEST_S = 20.0
"""Of a longer recording the first seconds count."""

WINDOW_S = 1.0
"""Of a baseline's windows."""

CLEAR_NATS = 2.0
"""From which a pair of sidebands of the current is clear."""

MOST_LINES = 5
LINES_HZ = (2.0, 500.0)


@dataclass(frozen=True, slots=True)
class Signal:
    """What is diagnosed.

    Attributes:
        values_N: m/s2, float32.
        rate_hz: sample rate.
        channel: name of the sensor and axis.
        source: of the recording, for headings and errors.
        shaft_hz: speed of the shaft, None where it is not known.
        bearing: geometry, None where it is not known.
        bearing_name: as the user called it.
        doubt: what is known to be odd about the recording.
        part: where in its machine the sensor sits.
    """

    values_N: NDArray[np.float32]
    rate_hz: float
    channel: str
    source: str
    shaft_hz: float | None = None
    bearing: Bearing | FaultOrders | None = None
    bearing_name: str = ""
    doubt: str = ""
    part: str = ""

    @property
    def orders(self) -> FaultOrders | None:
        """Orders of the bearing's faults."""
        return self.bearing.orders if isinstance(self.bearing, Bearing) else self.bearing

    def known_as(self, entry: Entry | None) -> Signal:
        """With what the catalogue knows of its recording, if that is of this channel."""
        if entry is None or entry.channel not in (self.channel, self.channel.rpartition(".")[0]):
            return self
        shaft_hz, shape = entry.shaft_hz or self.shaft_hz, entry.geometry
        return replace(
            self, shaft_hz=shaft_hz, bearing=shape, bearing_name=entry.model, doubt=entry.doubt, part=entry.part
        )

    def told(self, shaft_hz: float | None, bearing: Bearing | FaultOrders | None, name: str, part: str) -> Signal:
        """With what its user says of it, which counts before all else."""
        found = replace(self, shaft_hz=shaft_hz or self.shaft_hz, part=part or self.part)
        return found if bearing is None else replace(found, bearing=bearing, bearing_name=name)


@dataclass(frozen=True, slots=True)
class Answer:
    """What was found.

    Attributes:
        signal: what was diagnosed, gaps bridged.
        verdict: of the bearing; None where speed or geometry is not known.
        doubts: reasons to doubt it, and what could not be said.
        rms_m_s2: root mean square of the acceleration.
        kurtosis: 3 for noise, more where there are impacts.
        velocity_mm_s: root mean square of the velocity, 10 Hz to 1 kHz.
        kurtogram: where it rings.
        lines_hz: the strongest lines of the envelope, hertz, and how deep they are.
        change: how far it is from the machine's healthy baseline; None where there is none.
        opinion: of a head that was trained on recordings; None where none was asked.
        current: lines of the motor's current; None where it was not measured.
    """

    signal: Signal
    verdict: Verdict | None
    doubts: tuple[str, ...]
    rms_m_s2: float
    kurtosis: float
    velocity_mm_s: float
    kurtogram: Kurtogram
    lines_hz: tuple[tuple[float, float], ...]
    change: float | None = None
    opinion: Opinion | None = None
    current: CurrentLines | None = None

    @property
    def confirmed_by_current(self) -> tuple[str, ...]:
        """Those of the named faults whose sidebands are clear in the motor's current."""
        lines = {} if self.current is None else self.current.lines
        return tuple(name for name in self.faults if name in lines and lines[name].nats >= CLEAR_NATS)

    @property
    def damaged(self) -> bool:
        """Whether physics names a fault, or the machine has changed much since it was sound."""
        return bool(self.verdict and self.verdict.faults) or (self.change is not None and self.change >= CHANGED)

    @property
    def faults(self) -> tuple[str, ...]:
        """What is named: what physics names unless the trained head contradicts it; else what that head is sure of."""
        by_physics = self.verdict.faults if self.verdict else ()
        if self.opinion is None or not self.damaged:
            return by_physics
        if by_physics:
            return by_physics if by_physics == (self.opinion.named,) or not self.opinion.named else ()
        return (self.opinion.named,) if self.opinion.named else ()

    @property
    def headline(self) -> str:
        """The verdict in a sentence."""
        verdict = self.verdict
        if self.faults:
            parts = " and ".join(WORDS[name] for name in self.faults)
            return f"Damage of the {parts}."
        if self.damaged:
            return "Damage, but its type is unclear."
        if verdict is None:
            return "Not enough is known to judge the bearing."
        if verdict.unclear:
            return "Something is there, but it is unclear what."
        return "No damage of the bearing shows."

    def sentences(self) -> list[str]:
        """The answer for people: the verdict, why (-), what to doubt (?), what to do (>)."""
        confirmed = (
            f"the motor's current has the sidebands of the {WORDS[one]} too" for one in self.confirmed_by_current
        )
        return [
            self.headline,
            *(f"- {reason}" for reason in (*(self.verdict.because if self.verdict else ()), *confirmed)),
            *(f"? {doubt}" for doubt in self.doubts),
            *(f"> {sentence}" for sentence in advice(self)),
        ]

    def as_json(self) -> Json:
        """The answer for programs."""
        verdict, signal = self.verdict, self.signal
        found: Json = {
            "source": signal.source,
            "channel": signal.channel,
            "rate_hz": signal.rate_hz,
            "seconds": round(len(signal.values_N) / signal.rate_hz, 3),
            "verdict": self.headline,
            "faults": list(self.faults),
            "unclear": not self.faults and (verdict is None or verdict.unclear or self.damaged),
            "change": None if self.change is None else round(self.change, 3),
            "probability": {} if self.opinion is None else self.opinion.probability,
            "severity": {} if self.opinion is None else self.opinion.severity,
            "advice": list(advice(self)),
            "confirmed_by_current": list(self.confirmed_by_current),
            "because": [] if verdict is None else list(verdict.because),
            "doubts": list(self.doubts),
            "rms_m_s2": round(self.rms_m_s2, 4),
            "kurtosis": round(self.kurtosis, 2),
            "velocity_mm_s": round(self.velocity_mm_s, 3),
            "velocity_zone": {group: zone(self.velocity_mm_s, group) for group in LIMITS_MM_S},
            "velocity_zone_by": EDITION,
            "rings_hz": [round(hz, 1) for hz in self.kurtogram.best_hz],
            "envelope_lines_hz": [round(hz, 2) for hz, _ in self.lines_hz],
        }
        if self.current is not None:
            found["current"] = {
                "supply_hz": round(self.current.supply_hz, 3),
                "uneven": round(self.current.uneven, 4),
                "sidebands": {
                    name: {"hz": round(one.hz, 3), "depth": round(one.depth, 5), "nats": round(one.nats, 2)}
                    for name, one in self.current.lines.items()
                },
            }
        if verdict is not None:
            found["shaft_hz"] = round(verdict.speed.hz, 4)
            found["findings"] = {
                name: {
                    "order": round(one.order, 4),
                    "hz": round(one.hz, 2),
                    "sigmas": round(one.sigmas, 2),
                    "depth": round(one.depth, 4),
                    "band_hz": list(one.band_hz),
                }
                for name, one in verdict.findings.items()
            }
        return found


def read_signals(path: Path) -> list[Signal]:
    """The channels of a recording, an axis each.

    Raises:
        BadInput: if the file cannot be read.
    """
    found: dict[str, list[NDArray[np.float32]]] = {}
    meta: dict[str, tuple[float, float | None]] = {}
    for frame in read(path):
        found.setdefault(frame.sensor, []).append(frame.data)
        speed = frame.meta.get("shaft_hz")
        meta[frame.sensor] = float(frame.meta["rate_hz"]), None if speed is None else float(np.mean(speed))
    signals = []
    for sensor, parts in found.items():
        values_NC = np.concatenate(parts)
        rate_hz, shaft_hz = meta[sensor]
        for axis, values_N in enumerate(values_NC.T):
            channel = _axis(sensor or path.stem, axis, values_NC.shape[1])
            signals.append(Signal(values_N, rate_hz, channel, path.name, shaft_hz))
    return signals


def _axis(sensor: str, axis: int, count: int) -> str:
    """Name of one of a sensor's axes."""
    if count == 1:
        return sensor
    return f"{sensor}.{'xyz'[axis] if count <= 3 else axis}"


def read_motor_current(path: Path) -> tuple[NDArray[np.float32], float]:
    """The phases of a motor's current, ampere (N, P), and their sample rate; of several sensors the first.

    Raises:
        BadInput: if the file cannot be read.
    """
    frames = list(read_current(path))
    first = [frame.data for frame in frames if frame.sensor == frames[0].sensor]
    return np.concatenate(first), float(frames[0].meta["rate_hz"])


def pick(signals: Iterable[Signal], channel: str | None) -> Signal:
    """The channel that is asked for, or the first; of a sensor with several axes its first.

    Raises:
        BadInput: if there is no such channel.
    """
    known = {signal.channel: signal for signal in signals}
    if channel is None:
        return next(iter(known.values()))
    if channel not in known and (axes := [name for name in known if name.rpartition(".")[0] == channel]):
        return known[axes[0]]
    if channel not in known:
        raise BadInput("--channel", expected=f"one of {', '.join(known)}", got=f"'{channel}'", fix="name one of them")
    return known[channel]


def diagnose(
    signal: Signal,
    healthy: Sequence[Signal] = (),
    trained: Trained | None = None,
    current: tuple[NDArray[np.float32], float] | None = None,
) -> Answer:
    """Diagnose one signal.

    Args:
        signal: what to diagnose.
        healthy: signals of the same sensor while the machine was sound.
        trained: a head that was trained on recordings, as a second opinion.
        current: of the motor meanwhile, ampere (N, phases), and its sample rate.

    Raises:
        BadInput: if it says nothing: too short, constant, or more gap than signal; or the others do not fit it.
    """
    subject = f"Recording '{signal.source}', channel '{signal.channel}'"
    values_N, doubts = mended(signal.values_N[: round(LONGEST_S * signal.rate_hz)], signal.rate_hz, subject)
    samples_N = torch.from_numpy(values_N)
    verdict, more = _verdict(signal, samples_N)
    change = _change(signal, values_N, healthy) if healthy else None
    opinion, further = _opinion(signal, values_N, verdict, trained) if trained else (None, [])
    centred_N = samples_N - samples_N.mean()
    return Answer(
        signal=replace(signal, values_N=values_N),
        verdict=verdict,
        doubts=(*([signal.doubt] if signal.doubt else []), *doubts, *more, *further),
        rms_m_s2=float(centred_N.square().mean().sqrt()),
        kurtosis=float((centred_N / centred_N.std()).pow(4).mean()),
        velocity_mm_s=float(velocity_rms_mm_s(samples_N[None], signal.rate_hz)),
        kurtogram=kurtogram(samples_N, signal.rate_hz),
        lines_hz=_strongest_lines(samples_N, signal.rate_hz),
        change=change,
        opinion=opinion,
        current=_current(signal, verdict, *current) if current else None,
    )


def _current(signal: Signal, verdict: Verdict | None, current_NP: NDArray[np.float32], rate_hz: float) -> CurrentLines:
    """Lines of the motor's current, at the speed that the vibration tells."""
    shaft_hz = verdict.speed.hz if verdict else signal.shaft_hz
    if shaft_hz is None:
        raise BadInput("--current", expected="the speed of the shaft with it", got="none", fix="give --rpm")
    phases = [
        mended(phase_N, rate_hz, f"--current, phase {index + 1}")[0] for index, phase_N in enumerate(current_NP.T)
    ]
    return current_lines(torch.from_numpy(np.stack(phases, 1)), rate_hz, shaft_hz, signal.orders)


def _change(signal: Signal, values_N: NDArray[np.float32], healthy: Sequence[Signal]) -> float:
    """How far the signal is from healthy ones, window by window, on average."""
    if odd := [one for one in healthy if one.rate_hz != signal.rate_hz]:
        got = f"{odd[0].rate_hz:g} Hz in {odd[0].source}"
        raise BadInput(
            "--healthy", expected=f"the same sample rate, {signal.rate_hz:g} Hz", got=got, fix="record alike"
        )
    subject = "--healthy, recording"
    sound = [_profiles(signal, mended(one.values_N, one.rate_hz, f"{subject} '{one.source}'")[0]) for one in healthy]
    return float(Baseline.fit(np.concatenate(sound)).change(_profiles(signal, values_N)).mean())


def _profiles(signal: Signal, values_N: NDArray[np.float32]) -> NDArray[np.float64]:
    """Profiles of windows of a second."""
    size = round(min(WINDOW_S * signal.rate_hz, len(values_N)))
    count = len(values_N) // size
    values_WN = torch.from_numpy(np.ascontiguousarray(values_N[: count * size])).reshape(count, size)
    return profile(levels(values_WN, signal.rate_hz), values_WN)


def _opinion(
    signal: Signal, values_N: NDArray[np.float32], verdict: Verdict | None, trained: Trained
) -> tuple[Opinion | None, list[str]]:
    """What the trained head says, and what of it is to be doubted."""
    from iotlam_faults.data.catalogue import Entry
    from iotlam_faults.data.reading import Waveform
    from iotlam_faults.recordings import cut

    if verdict is None or signal.orders is None:
        return None, []
    entry = Entry(
        set="own",
        file=signal.source,
        bearing="asked",
        rate_hz=signal.rate_hz,
        part=signal.part,
        rpm=60.0 * verdict.speed.hz,
        own_geometry=signal.bearing if isinstance(signal.bearing, Bearing) else None,
    )
    wave = Waveform(values_N[:, None], entry, Path(signal.source))
    opinion = trained.judge(cut([wave], trained.facts.window_s, trained.facts.rate_hz))
    doubts = []
    if not opinion.named:
        doubts.append(
            f"the trained head's readings disagree: {WORDS[opinion.by_physics]} by physics, "
            f"{WORDS[opinion.by_encoder]} by the encoder"
        )
    elif verdict.faults and verdict.faults != (opinion.named,):
        doubts.append(f"physics names the {WORDS[verdict.faults[0]]}, the trained head the {WORDS[opinion.named]}")
    if signal.part not in trained.facts.parts:
        known = ", ".join(trained.facts.parts) or "none"
        doubts.append(f"the trained head does not know how '{signal.part}' rings; it knows {known}")
    return opinion, doubts


def _verdict(signal: Signal, samples_N: torch.Tensor) -> tuple[Verdict | None, list[str]]:
    orders = signal.orders
    if signal.shaft_hz is None or orders is None:
        lacking = [word for word, value in (("speed", signal.shaft_hz), ("bearing", orders)) if value is None]
        what, verb = " and the ".join(lacking), "are" if len(lacking) > 1 else "is"
        return None, [f"the {what} of the machine {verb} not known: no fault can be told by its lines"]
    if reason := unfit(len(samples_N), signal.rate_hz, signal.shaft_hz, orders):
        return None, [reason]
    verdict = judge(samples_N, signal.rate_hz, signal.shaft_hz, orders)
    doubts = []
    if verdict.speed.contradicted:
        doubts.append(
            f"the speed was given as {60 * signal.shaft_hz:.0f} rpm, but the shaft's own lines say "
            f"{60 * verdict.speed.hz:.0f}: that was used"
        )
    return verdict, doubts


def _strongest_lines(samples_N: torch.Tensor, rate_hz: float) -> tuple[tuple[float, float], ...]:
    """Of all bands' envelopes, whitened: what stands out most of its surroundings."""
    envelopes = squared_envelopes(samples_N[None], rate_hz, Bands.of_rate(rate_hz), whiten=True)
    depth_KF = modulation(envelopes.values_BKM)[0]
    line_hz = envelopes.rate_hz / envelopes.values_BKM.shape[-1]
    first, last = (min(round(hz / line_hz), depth_KF.shape[1]) for hz in LINES_HZ)
    power_KF = depth_KF.square()
    clear_F = (power_KF / surroundings(power_KF, round(20.0 / line_hz)))[:, first:last].amax(0)
    found: list[tuple[float, float]] = []
    while len(found) < MOST_LINES and clear_F.max() > 0.0:
        at = int(clear_F.argmax())
        found.append(((first + at) * line_hz, float(depth_KF[:, first + at].max())))
        clear_F[max(at - round(1.0 / line_hz) - 1, 0) : at + round(1.0 / line_hz) + 2] = 0.0
    return tuple(found)
