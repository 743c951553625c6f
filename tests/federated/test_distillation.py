from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, kl_divergence

from iotlam.bench.federated.places import SPECS, counted, right
from iotlam.contracts import BadInput
from iotlam.federated.adapter import RoundModel
from iotlam.federated.config import RunConfig
from iotlam.federated.distillation import PEER, Distillation, Opinion, divergence, taught, together
from iotlam.federated.local import JUDGED_EVERY, Local, LocalData, Task, own_model
from iotlam.federated.messages import Given, Order
from iotlam.federated.rounds import Run
from iotlam.model import IotlamModel, from_pretrained, save_pretrained
from iotlam.training.imitation import ImitationConfig, Part, errors, label_loss
from iotlam.training.shards import PRESENT, TEACHER, Sample

from .test_rounds import RANKS, TEST, config, fleet, play, same, state

ALLOWED = torch.tensor([[True, True, False, True], [True, True, True, True]])
CONFIG = ImitationConfig(batch=4)
ORDER = Order("run", 0, "press", "n", "", 4, ("a", "b"), "kept", "", True, False, 3, 1e-2, 5, Distillation())


def said(seed: int, gradient: bool = False) -> Tensor:
    draw = torch.Generator().manual_seed(seed)
    logits_BP = 2.0 * torch.randn(2, 4, generator=draw).double()
    return logits_BP.masked_fill(~ALLOWED, -torch.inf).requires_grad_(gradient)


@pytest.mark.parametrize(("teacher", "pupil"), [(1, 2), (2, 1)])
@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_divergence_is_that_of_the_distributions(teacher: int, pupil: int, temperature: float) -> None:
    one, other = said(teacher), said(pupil)
    chosen = divergence(one, other, ALLOWED, temperature, "choose")
    held = divergence(one, other, ALLOWED, temperature, "classify")
    for row, allowed_P in enumerate(ALLOWED):
        p, q = (logits[row, allowed_P] / temperature for logits in (one, other))
        wanted = temperature**2 * kl_divergence(Categorical(logits=p), Categorical(logits=q))
        assert chosen[row].item() == pytest.approx(wanted.item(), rel=1e-9)
        wanted = temperature**2 * kl_divergence(Bernoulli(logits=p), Bernoulli(logits=q)).mean()
        assert held[row].item() == pytest.approx(wanted.item(), rel=1e-9)


@pytest.mark.parametrize("head", ["choose", "classify"])
def test_only_the_pupil_learns_and_towards_the_teacher(head: str) -> None:
    teacher, pupil = said(1, gradient=True), said(2, gradient=True)
    before = divergence(teacher, pupil, ALLOWED, 2.0, head).sum()
    before.backward()  # type: ignore[no-untyped-call]
    assert teacher.grad is None and pupil.grad is not None and pupil.grad.isfinite().all()
    assert not pupil.grad[~ALLOWED].any()
    moved = pupil.detach() - 0.05 * pupil.grad
    assert divergence(teacher, moved, ALLOWED, 2.0, head).sum() < before
    assert not divergence(teacher, teacher, ALLOWED, 2.0, head).abs().gt(1e-12).any()


@pytest.mark.parametrize(
    ("selective", "ahead", "taken"),
    [(True, 0.0, [1, 3]), (True, 50.0, [0, 1, 2, 3]), (True, -50.0, []), (False, 0.0, [0, 1, 2, 3])],
)
def test_a_prediction_is_taken_only_where_it_is_better(
    base: Path, selective: bool, ahead: float, taken: list[int]
) -> None:
    model = from_pretrained(base).eval()
    samples, peer_BP = [], torch.zeros(4, 3)
    for row in range(4):  # the peer is right in odd rows, as wrong as can be in the others
        sample = counted(row)
        peer_BP[row] = torch.where(torch.from_numpy(sample.targets[PRESENT]) > 0.5, 6.0, -6.0) * (1 if row % 2 else -1)
        samples.append(replace(sample, targets={**sample.targets, PEER: peer_BP[row].numpy()}))
    part = Part(samples, 0.5, 0.0, 3)
    whole = taught(label_loss, 0.7, Distillation(selective=selective), ahead)(CONFIG, model, part)
    more = float((whole - label_loss(CONFIG, model, part)).detach())
    logits_BP = model.answer_all([(dict(one.tokens), one.query) for one in samples]).logits_BP
    apart_B = divergence(peer_BP, logits_BP, torch.ones(4, 3, dtype=torch.bool), 2.0, "classify")
    assert more == pytest.approx(0.5 * 0.7 * float(apart_B[taken].sum()) / 4, rel=1e-4, abs=1e-6)


def test_what_a_module_knows_by_heart_flatters_it(task: Task) -> None:
    trained = RoundModel(task.base, 4)
    learnt, judged = [counted(seed) for seed in range(6)], [counted(seed) for seed in range(50, 60)]
    before = Opinion.of(trained.model, dict(enumerate(learnt)), judged, CONFIG)
    device = Local("press", task, LocalData(learnt, []), Path("none"))
    device._train(ORDER.changed(steps=40), trained, task.loss, np.arange(6), learnt)
    after = Opinion.of(trained.model, dict(enumerate(learnt)), judged, CONFIG)
    assert after.flattery > before.flattery + 0.05
    assert Opinion.of(trained.model, dict(enumerate(learnt)), [], CONFIG).flattery == 0.0
    assert set(after.said) == set(range(6)) and all(PEER in one.targets for one in after.said.values())


@pytest.mark.parametrize("fields", [{}, {"mode": "fold", "others": False}])
def test_a_run_that_stopped_goes_on_to_the_same_modules(
    fields: Mapping[str, object], task: Task, tmp_path: Path
) -> None:
    settings = config(distil=Distillation(), **fields)
    whole = Run(tmp_path / "whole", task.base, settings)
    play(whole, fleet(task, tmp_path / "a"))
    first = Run(tmp_path / "parts", task.base, settings)
    play(first, fleet(task, tmp_path / "b"), until=1)
    orders = first.orders()  # one device has answered when the power fails, and is asked the same again
    asked = next(one for one in orders if one[0].device == "press")
    answers = [fleet(task, tmp_path / "b")["press"].work(*asked)[0] for _ in range(2)]
    assert answers[0] == answers[1]
    first.leave()
    second = Run(tmp_path / "parts", task.base, settings)
    play(second, fleet(task, tmp_path / "b"))
    assert same(state(whole.model()), state(second.model()))
    for name in RANKS:
        own, again = (own_of(tmp_path / folder, name) for folder in "ab")
        assert own and same(own, again)


def own_of(folder: Path, name: str) -> dict[str, Tensor]:
    return {key: one for key, one in load_file(folder / f"{name}.safetensors").items() if key.startswith("own/")}


def test_a_devices_own_module_stays_with_it(task: Task, tmp_path: Path) -> None:
    run, devices = Run(tmp_path / "run", task.base, config(distil=Distillation())), fleet(task, tmp_path)
    plain = Run(tmp_path / "plain", task.base, config())
    (usual, usual_arrays), *_ = plain.orders()
    _, usually = fleet(task, tmp_path / "other")[usual.device].work(usual, usual_arrays)
    for order, arrays in run.orders():
        answer, sent = devices[order.device].work(order, arrays)
        assert 0 <= answer.own_score <= 1
        if order.device == usual.device:
            assert {name: one.shape for name, one in sent.items()} == {name: one.shape for name, one in usually.items()}
        own = [one.numpy() for one in own_of(tmp_path, order.device).values() if one.any()]
        assert own
        assert not any(np.array_equal(mine, one) for mine in own for one in sent.values())
        run.take(order.device, 0, answer, sent)
    outcome = run.close({})
    assert set(outcome.own_scores) == set(RANKS)
    records = [json.loads(line) for line in (tmp_path / "run" / "journal.jsonl").read_text().splitlines()]
    assert {key for record in records for key in record if key.startswith("own")} == {"own_scores"}
    state_names = load_file(next((tmp_path / "run").glob("*.safetensors")))
    assert not any("own" in name.split("/")[0] for name in state_names)


def test_another_runs_module_means_nothing(task: Task, tmp_path: Path) -> None:
    """Devices whose folder has served another run end where new ones do."""
    settings = config(distil=Distillation())
    play(Run(tmp_path / "first", task.base, settings.changed(seed=5)), fleet(task, tmp_path / "used"))
    for folder in ("used", "new"):
        run = Run(tmp_path / f"run-{folder}", task.base, settings)
        play(run, fleet(task, tmp_path / folder))
    for name in RANKS:
        assert same(own_of(tmp_path / "used", name), own_of(tmp_path / "new", name))


def test_a_copy_learns_from_the_shared_module_and_leaves_it_alone(task: Task, tmp_path: Path) -> None:
    ends = {}
    for name, how in {"plain": None, "none": Distillation(own=0.0), "own": Distillation()}.items():
        run = Run(tmp_path / name / "run", task.base, config(rounds=1, distil=how))
        play(run, fleet(task, tmp_path / name))
        ends[name] = state(run.model()), own_of(tmp_path / name, "pump")
    assert same(ends["plain"][0], ends["none"][0]) and same(ends["plain"][0], ends["own"][0])
    assert not ends["plain"][1]
    assert not same(ends["none"][1], ends["own"][1])


def only(sample: Sample, modality: str | None) -> Sample:
    return replace(sample, tokens={modality: sample.tokens[modality]}) if modality else sample


def test_devices_that_lack_a_modality_learn_with_the_others(task: Task, tmp_path: Path) -> None:
    run = Run(tmp_path / "run", task.base, config(steps=15, distil=Distillation(rate=1.0)))
    sees = dict(zip(RANKS, (SPECS[0].modality, SPECS[1].modality, None), strict=True))
    devices = {}
    for place, (name, modality) in enumerate(sees.items()):
        learnt = [only(counted(1000 * place + seed), modality) for seed in range(24)]
        devices[name] = Local(name, task, LocalData(learnt, []), tmp_path / f"{name}.safetensors")
    play(run, devices)
    assert all(set(outcome.shares) == set(RANKS) and not outcome.refused for outcome in run.outcomes)
    for name, modality in sees.items():
        test = [only(sample, modality) for sample in TEST]
        save_pretrained(own_model(task.base, tmp_path / f"{name}.safetensors"), tmp_path / name)
        for model in (run.model(), from_pretrained(tmp_path / name)):
            assert right(model, test) > max(right(from_pretrained(task.base), test), 0.5) + 0.1


def test_better_by_chance_is_not_clearly_better() -> None:
    even = Opinion({}, torch.zeros(0), torch.tensor([1.0, 1.0, 1.0, 1.0]))
    for judged, clearly in (
        ([0.5, 0.6, 0.5, 0.4], True),
        ([0.0, 1.9, 0.0, 1.9], False),
        ([1.0, 1.0, 1.0, 1.0], False),
        ([1.5, 1.6, 1.5, 1.4], False),
    ):
        assert Opinion({}, torch.zeros(0), torch.tensor(judged)).clearly_better(even) == clearly
    unknown = Opinion({}, torch.zeros(0), torch.zeros(0))
    assert not unknown.clearly_better(unknown), "nothing is set aside: it may know its examples by heart"


def test_an_own_module_that_is_better_stays_and_teaches_any_other_begins_anew(task: Task, tmp_path: Path) -> None:
    learnt = [counted(seed) for seed in range(24)]
    device = Local("press", task, LocalData(learnt, []), tmp_path / "m")
    fresh = RoundModel(task.base, 4)
    worse = Given(fresh.adapter, {}, fresh.others)
    device._train(ORDER.changed(steps=40), fresh, task.loss, np.arange(24), learnt)
    better = Given(fresh.adapter, {}, fresh.others)
    for shared, own, teaches in ((better, worse, False), (worse, better, True)):
        kept, _, _ = device._teach(ORDER.changed(steps=0), shared, fresh, own)
        assert same(dict(kept.others), dict(better.others))
        ends = []
        for weight in (0.0, 1.0):
            device._teach(ORDER.changed(distil=Distillation(shared=weight)), shared, fresh, own)
            ends.append(fresh.others)
        assert same(*ends) != teaches


def test_what_is_set_aside_is_whole_groups_that_the_own_module_does_not_learn(task: Task, tmp_path: Path) -> None:
    groups = [number // 3 for number in range(30)]
    data = LocalData([counted(seed) for seed in range(30)], [], groups)
    aside = data.set_aside()
    assert {groups[row] for row in aside} == {JUDGED_EVERY - 1, 2 * JUDGED_EVERY - 1} and len(aside) == 6
    assert LocalData(data.learnt[: JUDGED_EVERY - 1], []).set_aside() == [], "too few to set any aside"
    learnt: dict[float, set[int]] = {}

    def heard(config: ImitationConfig, model: IotlamModel, part: Part) -> Tensor:
        seen = learnt.setdefault(config.learning_rate, set())
        seen |= {row for sample in part.samples for row, one in enumerate(data.learnt) if one.tokens is sample.tokens}
        return task.loss(config, model, part)

    device = Local("press", replace(task, loss=heard), data, tmp_path / "m")
    given = RoundModel(task.base, 4)
    start = Given(given.adapter, {}, given.others)
    device._teach(ORDER.changed(steps=40), start, given, start)
    own, shared = learnt[0.1 * ORDER.learning_rate], learnt[ORDER.learning_rate]
    assert own == set(range(30)) - set(aside)
    assert shared == set(range(30))


@pytest.mark.parametrize("how", [{"own": -1.0}, {"shared": math.inf}, {"temperature": 0.0}, {"rate": 0.0}, {"x": 1.0}])
def test_what_is_no_distillation_is_refused(how: dict[str, float]) -> None:
    raw = {"devices": [{"name": "press", "rank": 1, "examples": 1}], "distil": how}
    with pytest.raises(BadInput, match=next(iter(how))):
        RunConfig.from_raw(raw, "Plan, rounds")


def test_a_model_that_is_never_asked_for_a_decision_cannot_be_taught(base: Path) -> None:
    def silent(config: ImitationConfig, model: IotlamModel, part: Part) -> Tensor:
        return torch.zeros(())

    with pytest.raises(BadInput, match="chooses or classifies"):
        taught(silent, 1.0, Distillation(), 0.0)(CONFIG, from_pretrained(base), Part([counted(0)], 1.0, 0.0, 0))


def test_a_peer_is_judged_by_the_candidates_that_there_are() -> None:
    """Among decisions of more candidates its errors are those that it has alone."""
    few, many = np.array([2.0, -2.0], np.float32), np.array([0.0, 1.0, 2.0, 0.0], np.float32)
    samples = [
        Sample({}, None, targets={TEACHER: np.array(scores, np.float32)})  # type: ignore[arg-type]
        for scores in ([1.0, 0.0], [0.0, 0.0, 1.0, 0.0])
    ]
    allowed_BP = torch.tensor([[True, True, False, False], [True] * 4])
    both, alone = together([few, many]), together([few])
    found_B = errors("choose", both, allowed_BP, samples, CONFIG)
    assert found_B[0] == pytest.approx(float(errors("choose", alone, allowed_BP[:1, :2], samples[:1], CONFIG)))
