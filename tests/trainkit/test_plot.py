from pathlib import Path

import numpy as np
import orjson
import pandas as pd
import pytest
from matplotlib.image import imread

from trainkit.plot import draw, smoothed

BEST = (214, 39, 40)


def written(path: Path, evaluations: dict[int, float]) -> Path:
    lines = [{"step": step, "loss": 5 / step} for step in range(1, 101)]
    lines += [{"step": 101, "loss": None}]
    lines += [{"step": step, "eval_loss": loss} for step, loss in evaluations.items()]
    path.write_bytes(b"".join(orjson.dumps(line) + b"\n" for line in lines))
    return path


def red_places(picture: Path) -> np.ndarray:
    pixels = (imread(picture)[..., :3] * 255).round().astype(int)
    return np.argwhere((pixels == BEST).all(axis=2))


def test_the_best_evaluation_is_marked_where_it_is(tmp_path: Path) -> None:
    draw(written(tmp_path / "a.jsonl", {10: 3.0, 50: 2.0, 90: 2.5}), tmp_path / "a.png")
    draw(written(tmp_path / "b.jsonl", {10: 3.0, 50: 2.5, 90: 2.0}), tmp_path / "b.png")
    width = imread(tmp_path / "a.png").shape[1]
    columns = [np.unique(red_places(tmp_path / name)[:, 1]) for name in ("a.png", "b.png")]
    early, late = (set(range(int(0.45 * width), int(0.6 * width))), set(range(int(0.8 * width), width)))
    assert early & set(columns[0].tolist())
    assert late & set(columns[1].tolist())
    assert not early & set(columns[1].tolist())


def test_the_same_numbers_are_the_same_picture(tmp_path: Path) -> None:
    metrics = written(tmp_path / "metrics.jsonl", {})
    draw(metrics, tmp_path / "a.png")
    draw(metrics, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert not len(red_places(tmp_path / "a.png"))


def test_no_losses_are_no_picture(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_bytes(b"")
    draw(tmp_path / "metrics.jsonl", tmp_path / "loss.png")
    assert not (tmp_path / "loss.png").exists()


@pytest.mark.parametrize("count", [1, 10, 400])
def test_the_smoothed_line_is_pandas_moving_average(count: int) -> None:
    values = np.random.default_rng(0).normal(size=count)
    expected = pd.Series(values).ewm(alpha=1 / max(1, 0.05 * count), adjust=True).mean()
    assert smoothed(values.tolist()) == pytest.approx(expected.tolist())
