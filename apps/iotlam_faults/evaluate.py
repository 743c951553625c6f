"""A protocol, run: every split, every method, the same windows.

Of the machine to be judged one thing is known beside its geometry and speed: how it vibrated when it was sound. A
window is called damaged where it differs much from that baseline, whoever names the damage then. Whatever is fitted, be
it a baseline, a head or a threshold, passes the guard of `splits` before it judges.

Shapes: W windows in all, T of them tested, L faults of a bearing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
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
from iotlam_faults.methods import METHODS, OPINIONS, Method, Rows, Scorer, Seen
from iotlam_faults.pasts import fit_baselines, healthy_windows, references
from iotlam_faults.protocols import Window
from iotlam_faults.recordings import Recordings
from iotlam_faults.splits import Fitted, Piece, Split, known_before
from iotlam_machine.machine import BEARING_FAULTS

CLASSES = ("sound", *BEARING_FAULTS)
HONEST = ("auroc", "sd", "p05", "macro_f1", "recall_min", "worst")
"""Figures of honest splits alone."""

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
        profile_WC: what baselines look at.
        baselines: of each recording, how its place vibrates while sound; none where that is not known.
        set_aside: sound windows that others are held against, never learnt from nor tested.
    """

    windows: tuple[Window, ...]
    seen: Seen
    profile_WC: Doubles
    baselines: Mapping[str, Fitted[Baseline]]
    set_aside: frozenset[Piece]

    @classmethod
    def of(cls, recordings: Recordings, model: IotlamModel | None) -> Bench:
        """Look at all windows and fit the baselines.

        Args:
            recordings: the windows.
            model: pretrained; None to do without the encoder.

        Raises:
            BadInput: if a window holds too few turns of the shaft.
        """
        recordings.check_turns()
        found = recordings.evidence()
        profile_WC = profile(found.levels_BC, recordings.values_WN)
        baselines = fit_baselines(recordings.windows, profile_WC)
        known = references(recordings)
        seen = Seen.of(recordings, found, model, healthy_windows(recordings, known))
        set_aside = frozenset(piece for pieces in known.values() for piece in pieces)
        return cls(recordings.windows, seen, profile_WC, baselines, set_aside)

    def rows(self, pieces: Iterable[Piece]) -> Rows:
        """Rows of pieces, without those set aside."""
        wanted = set(pieces) - self.set_aside
        return np.array([row for row, one in enumerate(self.windows) if one.piece in wanted], np.intp)

    def change(self, rows: Rows) -> Doubles:
        """How far windows are from their place's baseline, (T,); infinite where there is none.

        Raises:
            Leak: if a baseline was fitted on what it is to judge.
        """
        recordings_T = self.recordings_W[rows]
        change_T = np.full(len(rows), np.inf)
        for recording in np.unique(recordings_T):
            if fitted := self.baselines.get(str(recording)):
                here_T = recordings_T == recording
                baseline = known_before(fitted, [self.windows[row].piece for row in rows[here_T]])
                change_T[here_T] = baseline.change(self.profile_WC[rows[here_T]])
        return change_T

    def baselines_in_words(self) -> dict[str, str]:
        """Of each place, what its healthy baseline is."""
        found = {}
        for part in sorted({one.entry.part for one in self.windows}):
            sound = {one.piece.recording for one in self.windows if one.entry.part == part and not one.entry.faults}
            if not sound:
                said = "none: everything counts as changed"
            elif len(sound) == 1:
                said = f"one window of {min(sound)}, of which the rest is what is tested as sound"
            else:
                said = f"the sound recordings, {len(sound)} of them, but for the one that is tested"
            found[part or "all recordings"] = said
        return found

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
    rows = []
    for split in splits:
        train = split.train if labels == 1.0 else _fewer(bench, bench.rows(split.train), labels, split)
        rows += [run_split(bench, split, name, trusted, train) for name in methods]
    return rows


def summary(rows: Sequence[Json], name: str) -> Json:
    """Figures of a method over all honest splits, None where there are none, and what leaky ones would make of it."""
    mine = [row for row in rows if row["method"] == name]
    leaky = [row["auroc"] for row in mine if row["leaky"]]
    own = [row for row in mine if not row["leaky"]]
    found: Json = {"method": name, **dict.fromkeys(HONEST)}
    if own:
        auroc_S = np.array([row["auroc"] for row in own])
        f1, recalls = f1_and_recalls(all_confused(own))
        worst = min(recalls, key=lambda one: recalls[one])
        mean, p05 = float(auroc_S.mean()), float(np.percentile(auroc_S, 5))
        figures = (round(mean, 4), round(float(auroc_S.std()), 4), round(p05, 4), round(f1, 4))
        found |= dict(zip(HONEST, (*figures, round(recalls[worst], 4), worst), strict=True))
    found["leaky_auroc"] = round(float(np.mean(leaky)), 4) if leaky else None
    if own and "bins" in own[0]:
        found |= gate([one for row in own for one in row["recordings"]])
        found["calibration_error"] = round(calibration_error(np.array([row["bins"] for row in own])), 4)
    return found


def all_confused(rows: Sequence[Json]) -> Doubles:
    """The confusion of a method over splits, (C, C): a sound window, tested in many, counts once, by their mean."""
    counts_CC: Doubles = np.sum([row["confusion"] for row in rows], 0).astype(np.float64)
    said: dict[str, list[list[int]]] = {}
    for row in rows:
        for recording, said_C in row["sound"].items():
            said.setdefault(recording, []).append(said_C)
    counts_CC[0] = np.sum([np.mean(one, 0) for one in said.values()], 0) if said else 0.0
    return counts_CC


def gate(recordings: Sequence[Json]) -> Json:
    """What a plant asks: false alarms; of damaged recordings how many are detected, how many named, and rightly.

    A sound recording, tested in many splits, counts once.
    """
    sound = [one for one in recordings if one["true"] == "sound"]
    damaged = [one for one in recordings if one["true"] != "sound"]
    names = [one for one in damaged if one["named"]]
    return {
        "false_alarms": len({one["recording"] for one in sound if one["alarm"]}),
        "sound": len({one["recording"] for one in sound}),
        "detection": round(sum(one["alarm"] for one in damaged) / max(len(damaged), 1), 4),
        "coverage": round(len(names) / max(len(damaged), 1), 4),
        "precision": round(sum(one["named"] == one["true"] for one in names) / len(names), 4) if names else 0.0,
    }


def run_split(
    bench: Bench, split: Split, name: str, trusted: bool = False, train: Sequence[Piece] | None = None
) -> Json:
    """One method on one split: a row of figures.

    Args:
        bench: the windows.
        split: what is learnt from and what tested on.
        name: of the method.
        trusted: also learn how far to trust it, for probabilities and names of recordings.
        train: what is learnt from; default: all of the split's training side.

    Raises:
        BadInput: if there is nothing to learn from or to test on.
        Leak: if anything was fitted on what is tested.
    """
    train, test = split.train if train is None else train, bench.rows(split.test)
    if not len(bench.rows(train)) or not len(test):
        side = "test on" if len(bench.rows(train)) else "learn from"
        got, fix = f"none to {side} once the healthy baselines are taken", "add recordings"
        raise BadInput(f"Split '{split.name}'", expected="windows on both sides", got=got, fix=fix)
    columns, change_T = bench.seen.columns.rows(test), bench.change(test)
    scores_TL = split.trusted(fit_head(bench, name, train))(columns)
    said_T = np.where(change_T >= CHANGED, 1 + scores_TL.argmax(1), 0)
    row: Json = {
        "split": split.name,
        "digest": split.digest,
        "leaky": split.leaky,
        "method": name,
        "auroc": round(mean_auroc(bench, scores_TL, test), 6),
        "by_bearing": auroc_by_bearing(bench, scores_TL, test),
        "confusion": confusion(bench, said_T, test).tolist(),
        "sound": said_of_sound(bench, said_T, test),
    }
    if trusted:
        trust = split.trusted(fit_trust(bench, name, train))
        opinions = [split.trusted(fit_head(bench, other, train))(columns) for other in OPINIONS.get(name, ())]
        row["bins"] = bins(bench, trust, scores_TL, test)
        row["recordings"] = named(bench, trust, scores_TL, opinions, change_T, test)
    return row


def fit_head(bench: Bench, name: str, pieces: Sequence[Piece]) -> Fitted[Scorer]:
    """A method, fitted on pieces."""
    return Fitted.on(pieces, lambda used: METHODS[name](bench.seen.rows(bench.rows(used))))


def fit_trust(bench: Bench, name: str, pieces: Sequence[Piece]) -> Fitted[Trust]:
    """How far to trust a method, learnt on pieces."""
    return Fitted.on(pieces, lambda used: learn_trust(bench, METHODS[name], bench.rows(used)))


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


def confusion(bench: Bench, said_T: NDArray[np.intp], test: Rows) -> NDArray[np.int64]:
    """Windows by true class and said class, in the order of `CLASSES`."""
    counts_CC = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    np.add.at(counts_CC, (_true(bench, test), said_T), 1)
    return counts_CC


def said_of_sound(bench: Bench, said_T: NDArray[np.intp], test: Rows) -> dict[str, list[int]]:
    """Of each sound recording, its windows by said class."""
    sound_T, recordings_T = _true(bench, test) == 0, bench.recordings_W[test]
    return {
        str(name): np.bincount(said_T[recordings_T == name], minlength=len(CLASSES)).tolist()
        for name in np.unique(recordings_T[sound_T])
    }


def learn_trust(bench: Bench, method: Method, train: Rows) -> Trust:
    """Hold the training side's bearings out one by one, and see how good the scores of each are."""
    groups = bench.seen.groups_W[train]
    scores, truths, recordings = [], [], []
    for group in np.unique(groups):
        held, rest = train[groups == group], train[groups != group]
        scores.append(method(bench.seen.rows(rest))(bench.seen.columns.rows(held)))
        truths.append(_true(bench, held) - 1)
        recordings.append(bench.recordings_W[held])
    scores_NL, truth_N = np.concatenate(scores), np.concatenate(truths)
    losses = [-log_softmax(scores_NL / t, 1)[np.arange(len(truth_N)), truth_N].mean() for t in TEMPERATURES]
    temperature = float(TEMPERATURES[int(np.argmin(losses))])
    first, confidence_R, said_R = _by_recording(np.concatenate(recordings), softmax(scores_NL / temperature, 1))
    return Trust(temperature, _threshold(confidence_R, said_R == truth_N[first]))


def named(
    bench: Bench, trust: Trust, scores_TL: Doubles, opinions: Sequence[Doubles], change_T: Doubles, test: Rows
) -> list[Json]:
    """What is said of each recording: damaged or not, which fault, or none where that is uncertain.

    A fault is named where all opinions agree on it; where there are none, from the threshold on.
    """
    recordings_T = bench.recordings_W[test]
    first, confidence_R, said_R = _by_recording(recordings_T, trust.probability(scores_TL))
    others = [_by_recording(recordings_T, trust.probability(opinion_TL))[2] for opinion_TL in opinions]
    sure_R = np.all([other_R == said_R for other_R in others], 0) if others else confidence_R >= trust.threshold
    rows = []
    for at, sure, said in zip(first, sure_R, said_R, strict=True):
        alarm = bool(np.mean(change_T[recordings_T == recordings_T[at]]) >= CHANGED)
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


def f1_and_recalls(counts_CC: Doubles) -> tuple[float, dict[str, float]]:
    """Macro-F1 and each class's recall, from a confusion; classes that never occur are left out."""
    right_C, true_C, said_C = np.diag(counts_CC), counts_CC.sum(1), counts_CC.sum(0)
    occurs_C = true_C > 0
    f1_C = 2.0 * right_C / np.where(occurs_C, true_C + said_C, 1.0)
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


def _fewer(bench: Bench, train: Rows, share: float, split: Split) -> list[Piece]:
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
    kept = train[np.isin(bench.recordings_W[train], names[(needed + others)[:count]])]
    return [bench.windows[row].piece for row in kept]
