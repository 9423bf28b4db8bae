"""How fast the device multiplies and copies: in a burst, and for seconds on end, when it is hot."""

import itertools
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from gpu_model import device
from gpu_shapes import SHAPES, Shape, tiny

SIDE, SMALL_SIDE = 8192, 128
TOKENS, FEW_TOKENS = 8192, 64
SUSTAINED_SECONDS, SMALL_SECONDS = 10.0, 0.05
COPIED = 2**30
E4M3_LARGEST = 448.0


def seconds_of(call: Callable[[], Any], repeats: int) -> float:
    """The median time of a call that has warmed up."""
    for _ in range(3):
        call()
    if device().type != "cuda":
        times = []
        for _ in range(repeats):
            begun = time.perf_counter()
            call()
            times.append(time.perf_counter() - begun)
        return statistics.median(times)
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(repeats + 1)]
    marks[0].record()
    for mark in marks[1:]:
        call()
        mark.record()
    torch.cuda.synchronize()
    return statistics.median(before.elapsed_time(after) / 1000 for before, after in itertools.pairwise(marks))


def measure(request: dict[str, Any]) -> dict[str, Any]:
    """TFLOP/s of products of random numbers, for zeros are faster; TB/s of a copy, what is read and what is written."""
    small = request["smoke"]
    shape = tiny(SHAPES["Llama-3-8B"]) if small else SHAPES["Llama-3-8B"]
    side, tokens = (SMALL_SIDE, FEW_TOKENS) if small else (SIDE, TOKENS)
    source = torch.empty(COPIED // (1024 if small else 1), dtype=torch.uint8, device=device())
    target = torch.empty_like(source)
    copied = 2 * len(source) / seconds_of(lambda: target.copy_(source), 10)
    found: dict[str, Any] = {
        "device": torch.cuda.get_device_name() if device().type == "cuda" else "CPU",
        "memory": torch.cuda.get_device_properties(0).total_memory if device().type == "cuda" else 0,
        "versions": {"torch": torch.__version__, "cuda": torch.version.cuda or "none"},
        "copy_tb_per_second": copied / 1e12,
        "burst": _product(side, side, side),
        "shapes": {
            f"{tokens} x {inputs} x {outputs}": {
                "bf16": _product(tokens, inputs, outputs),
                "fp8": _product_in_fp8(tokens, inputs, outputs),
            }
            for inputs, outputs in _products(shape)
        },
    }
    found["sustained"] = _sustained(side, SMALL_SECONDS if small else SUSTAINED_SECONDS)
    return found


def _products(shape: Shape) -> list[tuple[int, int]]:
    """Inputs and outputs of a layer's products, queries, keys and values in one, gate and up in one."""
    heads, groups = shape.H * shape.K, shape.G * shape.K
    return [(shape.D, heads + 2 * groups), (heads, shape.D), (shape.D, 2 * shape.F), (shape.F, shape.D)]


def _random(rows: int, columns: int) -> torch.Tensor:
    return torch.randn(rows, columns, device=device(), dtype=torch.bfloat16)


def _product(tokens: int, inputs: int, outputs: int) -> float:
    """TFLOP/s."""
    x_TI, weight_OI = _random(tokens, inputs), _random(outputs, inputs)
    into_TO = torch.empty(tokens, outputs, device=device(), dtype=torch.bfloat16)
    return 2 * tokens * inputs * outputs / seconds_of(lambda: torch.mm(x_TI, weight_OI.t(), out=into_TO), 10) / 1e12


def _product_in_fp8(tokens: int, inputs: int, outputs: int) -> float | str:
    """TFLOP/s with one scale for each row of both factors, or why there is no such product here."""
    try:
        (x_TI, x_T1), (weight_OI, weight_O1) = _in_fp8(_random(tokens, inputs)), _in_fp8(_random(outputs, inputs))
        scale_NO = weight_O1.t()

        def call() -> torch.Tensor:
            return torch._scaled_mm(
                x_TI, weight_OI.t(), scale_a=x_T1, scale_b=scale_NO, out_dtype=torch.bfloat16, use_fast_accum=True
            )

        return 2 * tokens * inputs * outputs / seconds_of(call, 10) / 1e12
    except (RuntimeError, NotImplementedError, ValueError, TypeError) as error:
        return str(error).strip().splitlines()[0][:120]


def _in_fp8(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    scale_N1 = values.float().abs().amax(1, keepdim=True) / E4M3_LARGEST
    return (values.float() / scale_N1).to(torch.float8_e4m3fn), scale_N1


def _sustained(side: int, seconds: float) -> float:
    """TFLOP/s of a square product repeated for so long."""
    left, right = _random(side, side), _random(side, side)
    into = torch.empty_like(left)
    done, begun = 0, time.perf_counter()
    while time.perf_counter() - begun < seconds:
        for _ in range(20):
            torch.mm(left, right, out=into)
        done += 20
        if device().type == "cuda":
            # Without it the host would queue products far beyond the end.
            torch.cuda.synchronize()
    return done * 2 * side**3 / (time.perf_counter() - begun) / 1e12
