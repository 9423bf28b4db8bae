from pathlib import Path

import pytest
import torch

from dataforge.errors import TrainingError
from trainkit.checkpoint import Checkpoints, Position
from trainkit.files import replaced_folder, sweep


def test_the_newest_are_kept_and_read_back_exactly(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, "run", keep=2)
    for step in range(1, 5):
        position = Position(step=step, unlogged_loss=0.1 + step, best_eval_loss=1 / 3)
        checkpoints.save(position, {"w": torch.full((2,), float(step))})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000003", "step-00000004"]
    found = checkpoints.latest()
    assert found is not None
    assert found.position == Position(step=4, unlogged_loss=0.1 + 4, best_eval_loss=1 / 3)
    assert found.tensors["w"].tolist() == [4.0, 4.0]


def test_checkpoints_of_another_run_are_not_gone_on_from(tmp_path: Path) -> None:
    Checkpoints(tmp_path, "one", keep=1).save(Position(step=1), {"w": torch.zeros(1)})
    other = Checkpoints(tmp_path, "two", keep=1)
    assert other.latest() is None
    assert other.other_run()
    other.clear()
    assert not other.other_run()


def test_a_checkpoint_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    folder = Checkpoints(tmp_path, "run", keep=1).save(Position(step=1), {"w": torch.zeros(1)})
    (folder / "state.json").write_text("{}", encoding="utf-8")
    with pytest.raises(TrainingError, match="damaged; delete it"):
        Checkpoints(tmp_path, "run", keep=1).latest()


def test_a_checkpoint_that_cannot_be_written_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(TrainingError, match=r"cannot be written.*run the same command again"):
        Checkpoints(tmp_path / "file" / "checkpoints", "run", keep=1).save(Position(), {"w": torch.zeros(1)})


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    with replaced_folder(folder) as temporary:
        (temporary / "a").write_text("1", encoding="utf-8")
    with pytest.raises(ZeroDivisionError), replaced_folder(folder) as temporary:
        (temporary / "b").write_text("2", encoding="utf-8")
        raise ZeroDivisionError
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]
    assert [path.name for path in folder.iterdir()] == ["a"]
    with replaced_folder(folder) as temporary:
        (temporary / "c").write_text("3", encoding="utf-8")
    assert [path.name for path in folder.iterdir()] == ["c"]


def test_what_a_killed_process_left_is_put_right(tmp_path: Path) -> None:
    for name in (".step-1.99.tmp", ".step-2.99.old", "step-2", ".adapter.99.old"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "from").write_text(name, encoding="utf-8")
    (tmp_path / ".metrics.jsonl.99.tmp").write_text("half", encoding="utf-8")
    sweep(tmp_path)
    left = {path.name: (path / "from").read_text(encoding="utf-8") for path in tmp_path.iterdir()}
    assert left == {"step-2": "step-2", "adapter": ".adapter.99.old"}
