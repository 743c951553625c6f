"""A protocol, run: every split, every method, the same windows.

Of the machine to be judged one thing is known beside its geometry and speed: how it vibrated when it was sound. The
first window of each place's sound recording is that baseline; it is not tested on. A window is called damaged where it
differs much from the baseline, whoever names the damage then.

Shapes: W windows in all, T of them tested, L faults of a bearing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import log_softmax, softmax

from iotlam.contracts import BadInput, Json
from iotlam.fusion.sanity import auroc
from iotlam.model import IotlamModel
from iotlam.training.parallel import run_parallel
from iotlam_faults.baseline import CHANGED, Baseline, profile
from iotlam_faults.head import Doubles, Flags
from iotlam_faults.methods import METHODS, OPINIONS, Method, Rows, Seen
from iotlam_faults.protocols import Window
from iotlam_faults.recordings import Recordings
from iotlam_faults.splits import Piece, Split
from iotlam_machine.machine import BEARING_FAULTS

CLASSES = ("sound", *BEARING_FAULTS)
BINS = 10
SPLITS = 5
"""That one process runs."""

PRECISION = 0.95
"""Of names, that a threshold is set for, on bearings that were learnt from."""

TEMPERATURES = np.geomspace(0.25, 32.0, 57)


@dataclass(frozen=True, slots=True)
class Bench:
    """What splits are run on.

    Attributes:
        windows: what each is, of what.
        seen: what methods may look at.
        reference_W: windows that say how a place vibrates while sound.
        change_W: how far each window is from its place's baseline; infinite where there is none.
    """

    windows: tuple[Window, ...]
    seen: Seen
    reference_W: Flags
    change_W: Doubles

    @classmethod
    def of(cls, recordings: Recordings, model: IotlamModel | None) -> Bench:
        """Look at all windows and find the baselines.

        Args:
            recordings: the windows.
            model: pretrained; None to do without the encoder.
        """
        found = recordings.evidence()
        seen, profile_WC = Seen.of(recordings, found, model), profile(found.levels_BC, recordings.values_WN)
        reference_W, change_W = np.zeros(len(profile_WC), bool), np.full(len(profile_WC), np.inf)
        for part in np.unique(seen.columns.parts_W):
            here_W = seen.columns.parts_W == part
            sound = np.flatnonzero(here_W & ~seen.present_WL.any(1))
            if len(sound):
                reference_W[sound[0]] = True
                change_W[here_W] = Baseline.fit(profile_WC[sound[:1]]).change(profile_WC[here_W])
        return cls(recordings.windows, seen, reference_W, change_W)

    def rows(self, pieces: Sequence[Piece]) -> Rows:
        """Rows of pieces, references left out."""
        wanted = set(pieces)
        found = [row for row, one in enumerate(self.windows) if one.piece in wanted]
        return np.array([row for row in found if not self.reference_W[row]], np.intp)

    @property
    def recordings_W(self) -> NDArray[np.str_]:
        """The recording of each window."""
        return np.array([one.piece.recording for one in self.windows])


@dataclass(frozen=True, slots=True)
class Trust:
    """How far scores are to be trusted, learnt on bearings that were held out of the training side one by one.

    Attributes:
        temperature: scores are divided by it before they become probabilities.
        threshold: probability from which a recording's fault is named.
    """

    temperature: float
    threshold: float = np.inf

    def probability(self, scores_TL: Doubles) -> Doubles:
        """Of each fault, of a bearing that has one, (T, L)."""
        found: Doubles = softmax(scores_TL / self.temperature, 1)
        return found


def run_splits(
    bench: Bench,
    splits: Sequence[Split],
    methods: Sequence[str],
    *,
    trusted: bool = False,
    labels: float = 1.0,
    workers: int = 2,
    on_done: Callable[[int], None] = lambda count: None,
) -> list[Json]:
    """Run methods on splits in parallel; a row each, in the order of the splits.

    Args:
        bench: the windows.
        splits: of a protocol.
        methods: names of methods.
        trusted: also learn how far to trust each.
        labels: share of the training recordings that have labels.
        workers: processes.
        on_done: is told how many splits are done.
    """
    some = [tuple(splits[at : at + SPLITS]) for at in range(0, len(splits), SPLITS)]
    work = partial(run_some, bench, tuple(methods), trusted, labels)
    found = run_parallel(work, some, workers, lambda rows: on_done(len(rows) // len(methods)))
    return [row for rows in found for row in rows]


def run_some(
    bench: Bench, methods: tuple[str, ...], trusted: bool, labels: float, splits: tuple[Split, ...]
) -> list[Json]:
    """All methods on some splits, in a process of its own; arguments as of `run_splits`."""
    torch.set_num_threads(1)
    return [run_split(bench, split, name, trusted, labels) for split in splits for name in methods]


def summary(rows: Sequence[Json], name: str) -> Json:
    """Figures of a method over all honest splits, and what leaky ones would have made of it."""
    mine = [row for row in rows if row["method"] == name]
    leaky = [row["auroc"] for row in mine if row["leaky"]]
    own = [row for row in mine if not row["leaky"]] or mine
    auroc_S = np.array([row["auroc"] for row in own])
    f1, recalls = f1_and_recalls(np.sum([row["confusion"] for row in own], 0))
    worst = min(recalls, key=lambda one: recalls[one])
    found: Json = {
        "method": name,
        "auroc": round(float(auroc_S.mean()), 4),
        "sd": round(float(auroc_S.std()), 4),
        "p05": round(float(np.percentile(auroc_S, 5)), 4),
        "macro_f1": round(f1, 4),
        "recall_min": round(recalls[worst], 4),
        "worst": worst,
        "leaky_auroc": round(float(np.mean(leaky)), 4) if leaky else None,
    }
    if "bins" in own[0]:
        found |= gate([one for row in own for one in row["recordings"]])
        found["calibration_error"] = round(calibration_error(np.array([row["bins"] for row in own])), 4)
    return found


def gate(recordings: Sequence[Json]) -> Json:
    """What a plant asks: false alarms; of damaged recordings how many are detected, how many named, and rightly.

    A sound recording is in every fold; how many there are is counted once each.
    """
    sound = [one for one in recordings if one["true"] == "sound"]
    damaged = [one for one in recordings if one["true"] != "sound"]
    names = [one for one in damaged if one["named"]]
    return {
        "false_alarms": sum(one["alarm"] for one in sound),
        "sound": len({one["recording"] for one in sound}),
        "detection": round(sum(one["alarm"] for one in damaged) / max(len(damaged), 1), 4),
        "coverage": round(len(names) / max(len(damaged), 1), 4),
        "precision": round(sum(one["named"] == one["true"] for one in names) / len(names), 4) if names else 0.0,
    }


def run_split(bench: Bench, split: Split, name: str, trusted: bool = False, labels: float = 1.0) -> Json:
    """One method on one split: a row of figures.

    Args:
        bench: the windows.
        split: what is learnt from and what tested on.
        name: of the method.
        trusted: also learn how far to trust it, for probabilities and names of recordings.
        labels: share of the training recordings that have labels.
    """
    method, train, test = METHODS[name], bench.rows(split.train), bench.rows(split.test)
    if labels < 1.0:
        train = _fewer(bench, train, labels, split)
    if not len(train) or not len(test):
        side = "learn from" if not len(train) else "test on"
        got, fix = f"none to {side} once the healthy baselines are taken", "add recordings"
        raise BadInput(f"Split '{split.name}'", expected="windows on both sides", got=got, fix=fix)
    scores_TL = method(bench.seen, train, test)
    row: Json = {
        "split": split.name,
        "digest": split.digest,
        "leaky": split.leaky,
        "method": name,
        "auroc": round(mean_auroc(bench, scores_TL, test), 6),
        "by_bearing": auroc_by_bearing(bench, scores_TL, test),
        "confusion": confusion(bench, scores_TL, test).tolist(),
    }
    if trusted:
        trust = learn_trust(bench, method, train)
        opinions = [opinion(bench.seen, train, test) for opinion in OPINIONS.get(name, ())]
        row["bins"] = bins(bench, trust, scores_TL, test)
        row["recordings"] = named(bench, trust, scores_TL, opinions, test)
    return row


def mean_auroc(bench: Bench, scores_TL: Doubles, test: Rows) -> float:
    """Area under the curve, mean over places and faults; windows of sound bearings are negatives."""
    found = list(auroc_by_bearing(bench, scores_TL, test).values())
    if not found:
        got, fix = "only windows that all have it, or none", "add recordings"
        raise BadInput("A split", expected="windows with a fault and without at one place", got=got, fix=fix)
    return float(np.mean(found))


def auroc_by_bearing(bench: Bench, scores_TL: Doubles, test: Rows) -> dict[str, float]:
    """Area under the curve of each fault at each place, by the bearings there that have it."""
    found = {}
    for part in np.unique(bench.seen.columns.parts_W[test]):
        here_T = bench.seen.columns.parts_W[test] == part
        groups_T, present_TL = bench.seen.groups_W[test][here_T], bench.seen.present_WL[test][here_T]
        for score_T, present_T in zip(scores_TL[here_T].T, present_TL.T, strict=True):
            if present_T.any() and not present_T.all():
                bearings = "+".join(np.unique(groups_T[present_T]))
                found[bearings] = round(auroc(score_T, present_T), 6)
    return found


def confusion(bench: Bench, scores_TL: Doubles, test: Rows) -> NDArray[np.int64]:
    """Windows by true class and said class, in the order of `CLASSES`."""
    said_T = np.where(bench.change_W[test] >= CHANGED, 1 + scores_TL.argmax(1), 0)
    counts = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    np.add.at(counts, (_true(bench, test), said_T), 1)
    return counts


def learn_trust(bench: Bench, method: Method, train: Rows) -> Trust:
    """Hold the training side's bearings out one by one, and see how good the scores of each are."""
    groups = bench.seen.groups_W[train]
    scores, truths, recordings = [], [], []
    for group in np.unique(groups):
        held, rest = train[groups == group], train[groups != group]
        scores.append(method(bench.seen, rest, held))
        truths.append(_true(bench, held) - 1)
        recordings.append(bench.recordings_W[held])
    scores_NL, truth_N = np.concatenate(scores), np.concatenate(truths)
    losses = [-log_softmax(scores_NL / t, 1)[np.arange(len(truth_N)), truth_N].mean() for t in TEMPERATURES]
    temperature = float(TEMPERATURES[int(np.argmin(losses))])
    first, confidence_R, said_R = _by_recording(np.concatenate(recordings), softmax(scores_NL / temperature, 1))
    return Trust(temperature, _threshold(confidence_R, said_R == truth_N[first]))


def named(bench: Bench, trust: Trust, scores_TL: Doubles, opinions: Sequence[Doubles], test: Rows) -> list[Json]:
    """What is said of each recording: damaged or not, which fault, or none where that is uncertain.

    A fault is named where all opinions agree on it; where there are none, from the threshold on.
    """
    recordings_T = bench.recordings_W[test]
    first, confidence_R, said_R = _by_recording(recordings_T, trust.probability(scores_TL))
    others = [_by_recording(recordings_T, trust.probability(opinion_TL))[2] for opinion_TL in opinions]
    sure_R = np.all([other_R == said_R for other_R in others], 0) if others else confidence_R >= trust.threshold
    rows = []
    for at, sure, said in zip(first, sure_R, said_R, strict=True):
        here_T = recordings_T == recordings_T[at]
        alarm = bool(np.mean(bench.change_W[test[here_T]]) >= CHANGED)
        name = CLASSES[1 + said] if alarm and sure else ""
        true = CLASSES[_true(bench, test[at : at + 1])[0]]
        rows.append({"recording": str(recordings_T[at]), "true": true, "alarm": alarm, "named": name})
    return rows


def bins(bench: Bench, trust: Trust, scores_TL: Doubles, test: Rows) -> list[list[float]]:
    """Of tested windows of damaged bearings, by confidence: how many, their summed confidence, how many right."""
    damaged_T = _true(bench, test) > 0
    probability_DL, true_D = trust.probability(scores_TL[damaged_T]), _true(bench, test)[damaged_T] - 1
    confidence_D = probability_DL.max(1)
    right_D = probability_DL.argmax(1) == true_D
    bin_D = np.minimum((confidence_D * BINS).astype(int), BINS - 1)
    rows = [(bin_D == one).nonzero()[0] for one in range(BINS)]
    return [[len(row), round(float(confidence_D[row].sum()), 6), int(right_D[row].sum())] for row in rows]


def calibration_error(bins_XB3: NDArray[np.float64]) -> float:
    """Mean distance of confidence from truth, weighed by how many windows are so confident (ECE)."""
    count_B, confidence_B, right_B = bins_XB3.sum(0).T
    return float(np.abs(confidence_B - right_B).sum() / max(count_B.sum(), 1.0))


def f1_and_recalls(counts_CC: NDArray[np.int64]) -> tuple[float, dict[str, float]]:
    """Macro-F1 and each class's recall, from a confusion; classes that never occur are left out."""
    right_C, true_C, said_C = np.diag(counts_CC), counts_CC.sum(1), counts_CC.sum(0)
    occurs_C = true_C > 0
    f1_C = 2.0 * right_C / np.maximum(true_C + said_C, 1)
    recall = {name: float(right_C[i] / true_C[i]) for i, name in enumerate(CLASSES) if occurs_C[i]}
    return float(f1_C[occurs_C].mean()), recall


def _true(bench: Bench, rows: Rows) -> NDArray[np.intp]:
    """Class of each row, in the order of `CLASSES`; of several faults the first."""
    present = bench.seen.present_WL[rows]
    return np.where(present.any(1), 1 + present.argmax(1), 0)


def _by_recording(recordings_N: NDArray[np.str_], probability_NL: Doubles) -> tuple[Rows, Doubles, NDArray[np.intp]]:
    """Of each recording: its first row, how confident its windows are on average, and of what."""
    _, first, index_N = np.unique(recordings_N, return_index=True, return_inverse=True)
    mean_RL = np.stack([np.bincount(index_N, column) / np.bincount(index_N) for column in probability_NL.T], 1)
    return first, mean_RL.max(1), mean_RL.argmax(1)


def _threshold(confidence_R: Doubles, right_R: Flags) -> float:
    """The least confidence above which enough of the names are right; one that nothing reaches if there is none."""
    order = np.argsort(-confidence_R, kind="stable")
    precision = np.cumsum(right_R[order]) / np.arange(1, len(order) + 1)
    good = np.flatnonzero(precision >= PRECISION)
    return float(confidence_R[order[good[-1]]]) if len(good) else np.inf


def _fewer(bench: Bench, train: Rows, share: float, split: Split) -> Rows:
    """The windows of some recordings, at random by the split's digest, of each fault one or more.

    Whoever labels says what is wrong with a bearing when it was recorded, not window by window.
    """
    rng = np.random.default_rng(int(split.digest, 16))
    names, first = np.unique(bench.recordings_W[train], return_index=True)
    order = rng.permutation(len(names))
    kind = bench.seen.present_WL[train[first]].argmax(1)
    needed = [next(int(one) for one in order if kind[one] == fault) for fault in np.unique(kind)]
    others = [int(one) for one in order if one not in needed]
    count = max(round(share * len(names)), len(needed))
    return train[np.isin(bench.recordings_W[train], names[(needed + others)[:count]])]
