"""An answer in words for people and in numbers for programs."""

from __future__ import annotations

from iotlam.contracts import Json
from iotlam_faults.advice import advice
from iotlam_faults.answer import Answer
from iotlam_faults.physics.velocity import EDITION, band_hz, zones


def in_words(answer: Answer) -> list[str]:
    """The answer for people: the verdict, why (-), what to doubt (?), what to do (>)."""
    return [
        answer.headline,
        *(f"- {reason}" for reason in answer.because),
        *([f"- {answer.among}"] if answer.among else []),
        *([f"- {answer.cut} were judged"] if answer.cut else []),
        *(f"? {doubt}" for doubt in answer.doubts),
        *(f"> {sentence}" for sentence in advice(answer)),
    ]


def in_numbers(answer: Answer) -> Json:
    """The answer for programs."""
    verdict, signal = answer.verdict, answer.signal
    found: Json = {
        "source": signal.source,
        "channel": signal.channel,
        "rate_hz": signal.rate_hz,
        "seconds": round(len(signal.values_N) / signal.rate_hz, 3),
        "recorded_seconds": round(answer.recorded_s, 3),
        "verdict": answer.headline,
        "damaged": answer.damaged,
        "faults": list(answer.faults),
        "unclear": answer.unclear,
        "change": None if answer.change is None else round(answer.change, 3),
        "probability_if_damaged": {} if answer.opinion is None else answer.opinion.probability,
        "severity": answer.severity,
        "advice": list(advice(answer)),
        "confirmed_by_current": list(answer.confirmed_by_current),
        "because": list(answer.because),
        "doubts": list(answer.doubts),
        "rms_m_s2": round(answer.rms_m_s2, 4),
        "kurtosis": round(answer.kurtosis, 2),
        "velocity_mm_s": round(answer.velocity_mm_s, 3),
        "velocity_band_hz": list(band_hz(signal.rate_hz, signal.shaft_hz)),
        "velocity_zone": zones(answer.velocity_mm_s, signal.rate_hz, signal.shaft_hz),
        "velocity_zone_by": EDITION,
        "rings_hz": [round(hz, 1) for hz in answer.kurtogram.best_hz],
        "envelope_lines_hz": [round(hz, 2) for hz, _ in answer.lines_hz],
    }
    if answer.others:
        found["other_channels"] = [
            {
                "channel": one.channel,
                "verdict": one.verdict,
                "faults": list(one.faults),
                "damaged": one.damaged,
                "sigmas": None if one.sigmas is None else round(one.sigmas, 2),
            }
            for one in answer.others
        ]
    if answer.current is not None:
        found["current"] = {
            "supply_hz": round(answer.current.supply_hz, 3),
            "uneven": round(answer.current.uneven, 4),
            "sidebands": {
                name: {"hz": round(one.hz, 3), "depth": round(one.depth, 5), "nats": round(one.nats, 2)}
                for name, one in answer.current.lines.items()
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
