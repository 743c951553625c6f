"""Three sensors that watch one changing state, any of them missing or broken.

Shapes: B windows, T tokens, D token width, C classes.
"""

from __future__ import annotations

from itertools import combinations
from typing import NamedTuple

import torch
from torch import Tensor

from iotlam.bench.fusion.data import RATE_HZ, VALID_SHARE, Sensor, Windows, World
from iotlam.contracts import TokenBatch

SCENE_SENSORS = {"camera": Sensor(8, 8), "radar": Sensor(8, 8), "lidar": Sensor(8, 8)}
SCENE_CLASSES, STRENGTH, SWITCH_SHARE = 6, 1.0, 0.5
LAG_S = 0.2
SUBSETS = tuple(chosen for size in (1, 2, 3) for chosen in combinations(SCENE_SENSORS, size))


class Fault(NamedTuple):
    """What is wrong with which sensor: "noise" (0 dB), "lag" (200 ms) or "stuck"."""

    kind: str
    sensor: str


FAULTS = tuple(Fault(kind, sensor) for kind in ("noise", "lag", "stuck") for sensor in SCENE_SENSORS)


def scenes(world: World, split: str, count: int, fault: Fault | None = None) -> Windows:
    """Which of six states holds now; half of the windows saw it change within their 0.8 s.

    Every sensor shows the state by a pattern of its own in unit Gaussian noise, ten times a second. A lagging sensor
    shows what was 200 ms earlier under the times of now; a noisy one has as much noise added as it has power; a
    stuck one repeats one reading of some other scene. Nothing tells the model which sensor is broken.
    """
    draw = world.generator(split)
    now_B, before_B, other_B = (torch.randint(0, SCENE_CLASSES, (count,), generator=draw) for _ in range(3))
    change_s_B = -0.1 - 0.65 * torch.rand(count, generator=draw)
    change_s_B[torch.rand(count, generator=draw) > SWITCH_SHARE] = -torch.inf
    batches, evidence = {}, {}
    for name, sensor in world.sensors.items():
        broken = fault.kind if fault and fault.sensor == name else ""
        time_s_T = (torch.arange(sensor.tokens) - (sensor.tokens - 1)) / RATE_HZ
        shown_s_T = time_s_T - (LAG_S if broken == "lag" else 0.0)
        state_BT = torch.where(shown_s_T < change_s_B[:, None], before_B[:, None], now_B[:, None])
        mask_BT = torch.rand(state_BT.shape, generator=draw) < VALID_SHARE
        noise_BTD = torch.randn(*state_BT.shape, sensor.dim, generator=draw)
        x_BTD = STRENGTH * world.basis[name][state_BT] + noise_BTD
        if broken == "noise":
            x_BTD += x_BTD.std((0, 1)) * torch.randn(x_BTD.shape, generator=draw)
        if broken == "stuck":
            x_BTD = (STRENGTH * world.basis[name][other_B] + noise_BTD[:, 0])[:, None].expand(x_BTD.shape)
        evidence[name] = mask_BT
        batches[name] = world.batch(name, x_BTD, torch.zeros(state_BT.shape), mask_BT)
    return Windows(batches, now_B, None, evidence)


def only(windows: Windows, subset: tuple[str, ...]) -> Windows:
    """The windows without the modalities that are not in `subset`."""
    return windows._replace(batches={name: windows.batches[name] for name in subset})


def join(parts: list[Windows]) -> Windows:
    """Windows one after the other."""
    names = parts[0].batches

    def cat(name: str) -> TokenBatch:
        batches = [part.batches[name] for part in parts]
        tokens_BTD, mask_BT, time_BT = (
            torch.cat([getattr(b, field) for b in batches]) for field in ("tokens_BTD", "mask_BT", "time_BT")
        )
        return TokenBatch(tokens_BTD, mask_BT, time_BT, name)

    evidence = {name: torch.cat([part.evidence[name] for part in parts]) for name in names}
    return Windows({name: cat(name) for name in names}, torch.cat([p.labels for p in parts]), None, evidence)


def lose_modalities(windows: Windows, share: float, draw: torch.Generator) -> Windows:
    """The windows where a `share` of them has lost one or more modalities, each proper subset being as likely."""
    names = list(windows.batches)
    keep_SM = torch.tensor([[name in subset for name in names] for subset in SUBSETS if len(subset) < len(names)])
    count = len(windows.labels)
    keep_BM = keep_SM[torch.randint(len(keep_SM), (count,), generator=draw)]
    keep_BM |= (torch.rand(count, generator=draw) >= share)[:, None]
    return windows._replace(
        batches={name: _masked(windows.batches[name], keep_BM[:, i]) for i, name in enumerate(names)}
    )


def _masked(batch: TokenBatch, keep_B: Tensor) -> TokenBatch:
    return TokenBatch(batch.tokens_BTD, batch.mask_BT & keep_B[:, None], batch.time_BT, batch.modality)
