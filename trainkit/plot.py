"""The losses of a run as a picture: `loss.png` in its folder."""

from collections.abc import Sequence
from pathlib import Path

import orjson
from matplotlib.figure import Figure

FILE = "loss.png"
SMOOTHING = 0.05
"""Share of the steps over which the smoothed line averages."""


def draw(metrics: Path, path: Path) -> None:
    """Draw the losses in a `metrics.jsonl`; nothing where it holds none."""
    train, held_out = _points(metrics)
    if not train:
        return
    figure = Figure(figsize=(8, 4.5), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    steps, losses = zip(*train, strict=True)
    axes.plot(steps, losses, color="tab:blue", linewidth=0.8, alpha=0.35, label="train loss")
    axes.plot(steps, smoothed(losses), color="tab:blue", linewidth=1.8, label="train loss, smoothed")
    if held_out:
        axes.plot(*zip(*held_out, strict=True), color="tab:orange", marker="o", markersize=4, label="eval loss")
        step, loss = min(held_out, key=lambda point: point[1])
        label = f"best eval loss {loss:.4f}, step {step}"
        axes.plot([step], [loss], "*", color="tab:red", markersize=14, label=label, linestyle="none")
    axes.set_xlabel("optimizer step")
    axes.set_ylabel("loss (nats per trained token)")
    axes.grid(alpha=0.25)
    axes.legend()
    temporary = path.with_name(f".{path.name}.tmp")
    figure.savefig(temporary, format="png", metadata={"Software": None})
    temporary.replace(path)


def smoothed(values: Sequence[float]) -> list[float]:
    """The exponential moving average, corrected for its beginning at zero as Adam's moments are."""
    keep = 1 - 1 / max(1.0, SMOOTHING * len(values))
    total, weight, found = 0.0, 0.0, []
    for value in values:
        total, weight = keep * total + (1 - keep) * value, keep * weight + (1 - keep)
        found.append(total / weight)
    return found


def _points(metrics: Path) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    train, held_out = [], []
    with metrics.open("rb") as lines:
        for line in lines:
            values = orjson.loads(line)
            if values.get("loss") is not None:
                train.append((values["step"], values["loss"]))
            if values.get("eval_loss") is not None:
                held_out.append((values["step"], values["eval_loss"]))
    return train, held_out
