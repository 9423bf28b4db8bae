"""The engine on a Ray cluster is checked by `tests/bench/ray_checks.py`; here, what is said without Ray."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from tests.dataforge.conftest import RECORDS

Write = Callable[..., Path]


def test_without_ray_one_line_says_what_to_install(write_recipe: Write) -> None:
    recipe = write_recipe(RECORDS)
    code = (
        "import sys; sys.modules['ray'] = None; from dataforge.cli import run; "
        f"sys.exit(run(['build', {str(recipe)!r}, '--engine', 'ray', '--out', {str(recipe.parent / 'b')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2, done
    assert done.stderr.count("\n") == 1
    assert "pip install 'dataforge[ray]'" in done.stderr
