import io
import json
from pathlib import Path

from trainkit.log import Metrics, Progress, clock


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_after_the_checkpoint_and_a_line_cut_off_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    metrics = Metrics(path, 0)
    for step in range(1, 6):
        metrics.write(step=step, loss=float(step))
    metrics.close()
    with path.open("ab") as file:
        file.write(b'{"step":')
    metrics = Metrics(path, 3)
    metrics.write(step=4, loss=4.5)
    metrics.close()
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert [(line["step"], line["loss"]) for line in lines] == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.5)]


def test_a_terminal_has_one_line_that_is_rewritten() -> None:
    screen = Terminal()
    progress = Progress(2, screen)
    progress.show(1, 1.5, (2000.0, 900.0), 65.0)
    progress.show(2, 1.25, (2000.0, 900.0), 0.0)
    progress.close()
    assert screen.getvalue().count("\n") == 1
    assert "\x1b[Kstep 1/2  loss 1.5000  2,000 tokens/s  900 trained tokens/s  1m 05s left" in screen.getvalue()


def test_elsewhere_lines_come_at_intervals_and_at_the_end() -> None:
    stream = io.StringIO()
    progress = Progress(50, stream)
    for step in range(1, 51):
        progress.show(step, 1.0, (1.0, 1.0), 1.0)
    assert [line.split()[1] for line in stream.getvalue().splitlines()] == ["1/50", "50/50"]


def test_spans_of_time_are_read_at_a_glance() -> None:
    assert [clock(seconds) for seconds in (-1, 8.2, 65, 7800)] == ["0s", "8s", "1m 05s", "2h 10m"]
