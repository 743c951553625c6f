"""Suite `core`: one decision from four sensors, causal encoders, LiDAR's indifference to order, file readers."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from iotlam.bench.fuzz import fuzz_all
from iotlam.bench.suite import Progress, SuiteResult, figure
from iotlam.contracts import DecisionQuery, FramesByModality, Json
from iotlam.plugins import LoadedModality, list_modalities, load

SENSORS = ("lidar", "spectrum", "vibration", "video")
PLACES, CANDIDATES, FEATURES = 8, 4, 5
FUZZ_CASES = 2400


def core(quick: bool, progress: Progress) -> SuiteResult:
    """Latency and memory of the whole pipeline beside transformer encoders, and what encoders and readers promise.

    Args:
        quick: few decisions and cases, to see that it works.
        progress: draws the progress of a piece of work.
    """
    start = time.monotonic()
    with progress("Pipeline of four sensors, beside transformers", 2) as step:
        ours = _in_fresh_process("run_pipeline", 20 if quick else 300)
        step(1)
        rival = _in_fresh_process("run_rivals", 20 if quick else 300)
        step(1)
    with progress("Causality and order", None):
        causality, outputs = causality_gradient()
        permutation, orders = lidar_permutation_difference(3 if quick else 30)
    fuzz = _fuzz(200 if quick else FUZZ_CASES, progress)
    p95 = _p95(ours["total_ms"])
    anchor = f"VideoMAE + AST + PatchTST + Perceiver, encoders alone, {_p95(rival['total_ms']):.1f} ms"
    metrics = {
        "pipeline_four_sensors_p95_ms": figure(p95, len(ours["total_ms"]), most=40, unit="ms", anchor=anchor),
        "pipeline_rss_mb": figure(
            ours["rss_mb"], 1, most=400, unit="MB", anchor=f"the transformers, {rival['rss_mb']:.0f} MB"
        ),
        "causality_gradient_max": figure(causality, outputs, most=0),
        "reader_fuzz_crashes": figure(fuzz["crashes"], fuzz["cases"], most=0),
        "reader_fuzz_memory_ratio": figure(fuzz["memory_ratio"], fuzz["cases"], most=4),
        "lidar_permutation_difference": figure(permutation, orders, most=0),
    }
    return SuiteResult(
        "core", [_row("iotlam", ours), _row("rival", rival), *fuzz["rows"]], metrics, time.monotonic() - start
    )


def run_pipeline(decisions: int) -> Json:
    """Decide from sample windows of four sensors, one thread: frames to tokens to fusion to decoder to choice.

    Returns:
        Milliseconds of each decision and of its steps, and the peak of the resident memory, megabytes.
    """
    import torch

    from iotlam.decoder import choose
    from iotlam.model import IotlamConfig, IotlamModel, IotlamProcessor

    torch.set_num_threads(1)
    processor = IotlamProcessor(SENSORS)
    specs = tuple(plugin.spec for plugin in processor.plugins.values())
    model = IotlamModel(IotlamConfig(specs, FEATURES)).eval()
    query = _query(model.fusion.n_anchors)
    times: dict[str, list[float]] = {"total_ms": [], "tokens_ms": []}
    for seed in range(-5, decisions):  # five to warm up
        frames = {name: list(plugin.sample(seed + 5)) for name, plugin in processor.plugins.items()}
        begun = time.perf_counter()
        tokens = processor.tokenize(_at_one_time(frames), query)
        encoded = time.perf_counter()
        choose(model.answer(tokens, query).logits_BP)
        if seed >= 0:
            times["total_ms"].append(1e3 * (time.perf_counter() - begun))
            times["tokens_ms"].append(1e3 * (encoded - begun))
    return {**times, "rss_mb": _peak_rss_mb()}


def run_rivals(passes: int) -> Json:
    """Transformer encoders of three such windows, none of LiDAR, and a Perceiver over 300 tokens; random weights.

    Returns:
        Milliseconds of each pass, and the peak of the resident memory, megabytes.
    """
    import torch

    torch.set_num_threads(1)
    rivals, total_ms = _transformer_encoders(), []
    with torch.inference_mode():
        for turn in range(-5, passes):
            begun = time.perf_counter()
            for model, window in rivals:
                model(window)
            if turn >= 0:
                total_ms.append(1e3 * (time.perf_counter() - begun))
    return {"total_ms": total_ms, "rss_mb": _peak_rss_mb()}


def _transformer_encoders() -> list[tuple[Any, Any]]:
    """Encoders of video, spectrum and waveform and a Perceiver, of about a million parameters, each with a window."""
    import torch
    import transformers

    library: Any = transformers  # its classes are resolved late and typed loosely
    size = {"hidden_size": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 512}
    wave = {"num_input_channels": 3, "context_length": 1024, "patch_length": 32, "patch_stride": 32}
    heads = {"d_model": 128, "num_hidden_layers": 4, "num_attention_heads": 4, "ffn_dim": 512}
    latent = {"num_latents": 32, "d_latents": 128, "d_model": 128, "num_self_attends_per_block": 2}
    models = [
        library.VideoMAEModel(library.VideoMAEConfig(image_size=64, num_frames=8, **size)),
        library.ASTModel(library.ASTConfig(max_length=128, num_mel_bins=64, **size)),
        library.PatchTSTModel(library.PatchTSTConfig(**wave, **heads)),
        library.PerceiverModel(
            library.PerceiverConfig(num_self_attention_heads=4, num_cross_attention_heads=4, **latent)
        ),
    ]
    shapes = ((1, 8, 3, 64, 64), (1, 128, 64), (1, 1024, 3), (1, 300, 128))
    return [(model.eval(), torch.randn(shape)) for model, shape in zip(models, shapes, strict=True)]


def causality_gradient(windows: int = 3) -> tuple[float, int]:
    """Greatest gradient from an output to an input after it, over the encoders of all modalities declared causal.

    An encoder maps a sequence (L, T, ...) to (L, T, D); its input is what `tokenize` gives it for sample windows.

    Returns:
        The gradient's greatest magnitude, and the number of outputs looked at.
    """
    greatest, outputs = 0.0, 0
    for info in list_modalities():
        if info.manifest is None or not info.manifest.causal:
            continue
        plugin = load(info.name)
        if plugin.encoder is None:
            continue
        for seed in range(windows):
            gradients = _later_gradients(plugin, seed)
            greatest, outputs = max(greatest, *gradients), outputs + len(gradients)
    return greatest, outputs


def _later_gradients(plugin: LoadedModality, seed: int, steps: int = 16) -> list[float]:
    """For outputs spread over a window: the greatest gradient with respect to any later input."""
    import torch

    encoder: Any = plugin.encoder
    seen: list[torch.Tensor] = []
    hook = encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].detach().clone()))
    plugin.tokenize(plugin.sample(seed))
    hook.remove()
    inputs_LTP = seen[0].requires_grad_()
    outputs_LTD = encoder(inputs_LTP)
    length = inputs_LTP.shape[1]
    gradients = []
    for step in range(0, length - 1, max(length // steps, 1)):
        (gradient_LTP,) = torch.autograd.grad(outputs_LTD[:, step].square().sum(), inputs_LTP, retain_graph=True)
        if not bool(gradient_LTP[:, : step + 1].any()):
            raise AssertionError(f"output {step} of '{plugin.manifest.name}' depends on no input: nothing was measured")
        gradients.append(float(gradient_LTP[:, step + 1 :].abs().max()))
    return gradients


def lidar_permutation_difference(orders: int) -> tuple[float, int]:
    """Greatest difference of any token when the points of a sweep come in another order, and the orders tried."""
    plugin = load("lidar")
    rng = np.random.default_rng(0)
    greatest = 0.0
    for seed in range(orders):
        sweep = plugin.sample(seed)[0]
        shuffled = replace(sweep, data=sweep.data[rng.permutation(len(sweep.data))])
        one, other = plugin.tokenize([sweep]), plugin.tokenize([shuffled])
        greatest = max(greatest, float((one.tokens_BTD - other.tokens_BTD).abs().max()))
    return greatest, orders


def _fuzz(cases: int, progress: Progress) -> Json:
    """Spoilt files for every reader: crashes, worst memory, and a row for each modality."""
    with progress("Spoilt files", cases) as step:
        reports = fuzz_all(cases, on_case=step)
    rows = [
        {
            "reader": report.modality,
            "cases": report.cases,
            "frames": report.frames,
            "refused": report.refused,
            "crashes": [asdict(crash) for crash in report.crashes],
            "memory_ratio": report.memory_ratio,
            "memory_worst": report.memory_worst,
        }
        for report in reports
    ]
    return {
        "cases": sum(report.cases for report in reports),
        "crashes": sum(len(report.crashes) for report in reports),
        "memory_ratio": max(report.memory_ratio for report in reports),
        "rows": rows,
    }


def _in_fresh_process(function: str, count: int) -> Json:
    """What a function of this module returns in a process of its own: memory is counted from nothing."""
    code = f"import json; from iotlam.bench.suites import core; print(json.dumps(core.{function}({count})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{function} failed: {done.stderr.strip().splitlines()[-1]}")
    result: Json = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def _peak_rss_mb() -> float:
    """Peak of this process's resident memory, megabytes (Linux counts in kibibytes, macOS in bytes)."""
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if sys.platform == "darwin" else peak * 1024 / 1e6


def _at_one_time(frames: FramesByModality) -> FramesByModality:
    """The windows as if all had ended now."""
    now_ns = 10**10
    moved = {}
    for name, window in frames.items():
        shift_ns = now_ns - max(frame.t_ns for frame in window)
        moved[name] = [replace(frame, t_ns=frame.t_ns + shift_ns) for frame in window]
    return moved


def _query(anchors: int) -> DecisionQuery:
    """Four candidates, each concerned with two of eight lanes of 60 m around the site's origin."""
    angle_K = np.linspace(0.0, 2.0 * np.pi, PLACES, endpoint=False)
    along_H = np.linspace(10.0, 70.0, anchors)
    anchors_KHX = along_H[None, :, None] * np.stack([np.cos(angle_K), np.sin(angle_K)], 1)[:, None]
    serves_PK = np.kron(np.eye(CANDIDATES), np.ones((1, PLACES // CANDIDATES)))
    features_PF = np.zeros((CANDIDATES, FEATURES), np.float32)
    allowed_P = np.ones(CANDIDATES, np.bool_)
    return DecisionQuery(anchors_KHX.astype(np.float32), serves_PK.astype(np.float32), features_PF, allowed_P)


def _row(who: str, measured: Json) -> Json:
    """Median and 95th percentile of every series of times."""
    series = {name: values for name, values in measured.items() if isinstance(values, list)}
    figures = {f"{name}_{q}": float(np.percentile(v, q)) for name, v in series.items() for q in (50, 95)}
    return {"who": who, **figures, "rss_mb": measured["rss_mb"]}


def _p95(values: list[float]) -> float:
    return float(np.percentile(values, 95))
