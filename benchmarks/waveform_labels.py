"""How many labels the shipped vibration encoder saves, on bearings of CWRU that it never heard.

    IOTLAM_DATA=... python benchmarks/waveform_labels.py

A fault (inner race, ball, outer race) is told from one second of the drive end, by a linear probe. In every one of 27
splits one defect size of each fault, with all its loads, is held out, so that no bearing is on both sides; what is
learnt from is labelled in part. The encoder's weights come from simulations and from the 0.028 inch bearings alone,
which are in no split. Writes benchmarks/results/waveform-labels.json and the table in the package's README.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from iotlam_waveform.modality import HEADER
from iotlam_waveform.orders import order_lines, squared_envelopes
from iotlam_waveform.vibration import VibrationModality, read
from iotlam_waveform.vibration.plugin import BANDS_HZ
from iotlam_waveform.window import stretches

Doubles = NDArray[np.float64]
HERE = Path(__file__).resolve().parent
README = HERE.parent / "sensors" / "iotlam_waveform" / "README.md"
FAULTS, SIZES = ("IR", "B", "OR"), ("007", "014", "021")
NAME = re.compile(r"12k_Drive_End_(IR|B|OR)(007|014|021)")
SKF_6205 = {"IR": 5.415, "B": 4.7135, "OR": 3.585}
SHARES = (0.01, 0.1, 1.0)
DRAWS = 5
PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)


def features(modality: VibrationModality, frame: Any) -> dict[str, Doubles]:
    """What each contender tells a linear probe of one window."""
    tokens = modality.tokenize([frame])
    body_TD, is_order_T = tokens.tokens_BTD[0, :, len(HEADER) :].double().numpy(), tokens.tokens_BTD[0, :, 0] == 1
    wave_TD, orders = body_TD[~is_order_T], body_TD[is_order_T].ravel()
    learnt = np.concatenate([wave_TD.mean(0), wave_TD.std(0)])
    shaft_hz = frame.meta.get("shaft_hz")
    line = modality.lines(stretches([frame], "vibration", "shaft_hz")[0]).values_LN.astype(np.float64)
    envelope_SN = squared_envelopes(line, modality.rate_hz, (*BANDS_HZ, (BANDS_HZ[0][0], BANDS_HZ[-1][1])))[0]
    hand = _hand_made(line[0], envelope_SN)
    known = _lines_of_the_bearing(envelope_SN, shaft_hz or 29.5, modality.rate_hz)
    return {
        "waveform tokens": learnt,
        "order tokens": orders,
        "both tokens": np.concatenate([learnt, orders]),
        "hand-made: kurtosis, crest, bands, envelope": hand,
        "hand-made with the bearing's geometry": np.concatenate([hand, known]),
    }


def _hand_made(line_N: Doubles, envelope_SN: Doubles) -> Doubles:
    unit_N = line_N / line_N.std()
    power_F = np.abs(np.fft.rfft(unit_N)) ** 2
    bands = [part.sum() / power_F.sum() for part in np.array_split(power_F, 6)]
    moments = [(unit_N**4).mean(), np.abs(unit_N).max()]
    rhythm = [*(envelope_SN.std(-1)), *((envelope_SN**4).mean(-1) / (envelope_SN**2).mean(-1) ** 2)]
    return np.concatenate([np.log([line_N.std(), *moments, *bands, *rhythm]), [(unit_N**3).mean()]])


def _lines_of_the_bearing(envelope_SN: Doubles, shaft_hz: float, rate_hz: float) -> Doubles:
    found_SI = order_lines(envelope_SN, np.arange(envelope_SN.shape[1]) * shaft_hz / rate_hz, 0.1)
    flat_SI = found_SI.reshape(len(found_SI), -1)
    at = [[round(order * times / 0.1) - 1 for times in (1, 2, 3)] for order in SKF_6205.values()]
    return np.asarray(flat_SI[:, at].max(0).ravel())


def probe(x_ND: Doubles, label_N: NDArray[np.intp], x_MD: Doubles) -> NDArray[np.intp]:
    """Least-squares classifier whose penalty is the best of five when each example is left out in turn."""
    mean_D, std_D = x_ND.mean(0), x_ND.std(0) + 1e-9
    x_ND, x_MD = (x_ND - mean_D) / std_D, (x_MD - mean_D) / std_D
    want_NC = np.eye(len(FAULTS))[label_N]
    centre_C = want_NC.mean(0)
    gram_NN = x_ND @ x_ND.T / x_ND.shape[1]
    fits = []
    for penalty in PENALTIES:
        inverse_NN = np.linalg.inv(gram_NN + penalty * np.eye(len(gram_NN)))
        dual_NC = inverse_NN @ (want_NC - centre_C)
        fits.append((((dual_NC / np.diag(inverse_NN)[:, None]) ** 2).sum(), penalty, dual_NC))
    dual_NC = min(fits, key=lambda fit: fit[:2])[2]
    return np.asarray((x_MD @ x_ND.T / x_ND.shape[1] @ dual_NC + centre_C).argmax(1))


def macro_f1(told_M: NDArray[np.intp], true_M: NDArray[np.intp]) -> float:
    """Mean of the faults' F1."""
    hits = [2 * ((told_M == k) & (true_M == k)).sum() / max((told_M == k).sum() + (true_M == k).sum(), 1)
            for k in range(len(FAULTS))]  # fmt: skip
    return float(np.mean(hits))


def draw(label_N: NDArray[np.intp], share: float, rng: np.random.Generator) -> NDArray[np.intp]:
    """A share of every fault's windows, one at least."""
    picked = []
    for fault in range(len(FAULTS)):
        own = np.flatnonzero(label_N == fault)
        picked.append(rng.permutation(own)[: max(round(share * len(own)), 1)])
    return np.concatenate(picked)


def windows(folder: Path) -> tuple[dict[str, Doubles], NDArray[np.intp], NDArray[np.intp], list[float]]:
    """Features by contender, fault and size of every window, and processor milliseconds to tokenise each."""
    modality = VibrationModality()
    rows: list[dict[str, Doubles]] = []
    faults, sizes, spent_ms = [], [], []
    for path in sorted(folder.glob("*.mat")):
        if match := NAME.match(path.name):
            for frame in (each for each in read(path) if each.sensor == "DE" and len(each.data) == 12_000):
                begun = time.process_time()
                modality.tokenize([frame])
                spent_ms.append((time.process_time() - begun) * 1e3)
                rows.append(features(modality, frame))
                faults.append(FAULTS.index(match[1]))
                sizes.append(SIZES.index(match[2]))
    stacked = {name: np.stack([row[name] for row in rows]) for name in rows[0]}
    return stacked, np.array(faults), np.array(sizes), spent_ms


def main() -> None:
    """Measure, write the JSON and the table."""
    torch.set_num_threads(1)
    x, fault_N, size_N, spent_ms = windows(Path(os.environ["IOTLAM_DATA"]) / "cwru" / "12k_DE")
    scores: dict[str, dict[str, list[float]]] = {name: {str(share): [] for share in SHARES} for name in x}
    for held in itertools.product(range(len(SIZES)), repeat=len(FAULTS)):
        out_N = size_N == np.array(held)[fault_N]
        kept = np.flatnonzero(~out_N)
        for share, seed in itertools.product(SHARES, range(DRAWS)):
            own = kept[draw(fault_N[kept], share, np.random.default_rng((seed, *held)))]
            for name, x_ND in x.items():
                told = probe(x_ND[own], fault_N[own], x_ND[out_N])
                scores[name][str(share)].append(macro_f1(told, fault_N[out_N]))
    means = {name: {share: float(np.mean(values)) for share, values in row.items()} for name, row in scores.items()}
    spread = {name: {share: float(np.std(values)) for share, values in row.items()} for name, row in scores.items()}
    result = {
        "macro_f1": means,
        "spread": spread,
        "windows": len(fault_N),
        "splits": len(SIZES) ** len(FAULTS),
        "draws": DRAWS,
        "tokenise_cpu_ms_median": float(np.median(spent_ms)),
        "load": os.getloadavg()[0],
    }
    (HERE / "results" / "waveform-labels.json").write_text(json.dumps(result, indent=2) + "\n")
    README.write_text(re.sub(r"(<!-- labels -->\n).*?(<!-- /labels -->)", lambda m: m[1] + table(result) + m[2],
                             README.read_text(), flags=re.DOTALL))  # fmt: skip


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = ["| a linear probe on | 1 % of labels | 10 % | all |", "|---|---|---|---|"]
    for name, row in result["macro_f1"].items():
        cells = [f"{row[str(share)]:.3f} ± {result['spread'][name][str(share)]:.3f}" for share in SHARES]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    splits, cost_ms = result["splits"], result["tokenise_cpu_ms_median"]
    made = [
        f"Macro-F1 on unseen bearings, mean ± spread over {splits} splits x {result['draws']} draws of labels,",
        f"{result['windows']} windows of 1 s, one axis. One costs {cost_ms:.1f} ms of one processor to tokenise",
        f"(median, load {result['load']:.1f}). Made by `benchmarks/waveform_labels.py`.",
    ]
    return "\n".join([*lines, "", *made, ""])


if __name__ == "__main__":
    main()
