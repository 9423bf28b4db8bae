"""The peers' Python environments: each made once, of pinned packages, apart from this project's own."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Environment:
    """What is installed."""

    name: str
    """Of its folder."""
    installs: tuple[tuple[str, ...], ...]
    """Arguments of `pip install`, one call after another."""
    empty_modules: tuple[str, ...] = ()
    """Names that a peer imports and what it is measured on never calls."""


TRL = Environment("trl-1.16.0", (("torch==2.13.0",), ("trl==1.16.0", "transformers==5.23.0", "peft==0.21.2")))
LLAMAFACTORY = Environment(
    "llamafactory-0.9.5",
    (
        ("torch==2.13.0",),
        # The newest that it allows, and what else the import of its data and arguments needs; the rest of what it
        # asks for is for its web pages, for sounds and for films.
        ("transformers==5.6.0", "datasets==4.0.0", "accelerate==1.11.0", "peft==0.18.1", "trl==0.24.0"),
        ("omegaconf==2.3.0",),
        ("--no-deps", "llamafactory==0.9.5"),
    ),
    empty_modules=("torchaudio",),
)


def python_of(environment: Environment, folder: Path) -> Path:
    """The environment's Python; it is made under `folder` where it is not there yet.

    Raises `CalledProcessError` where a package cannot be had.
    """
    home = folder / environment.name
    python, made = home / "bin" / "python", home / "made"
    if not made.exists():
        folder.mkdir(parents=True, exist_ok=True)
        print(f"making the peers' environment {home}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(home)], check=True)
        for packages in environment.installs:
            subprocess.run(
                [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True
            )
        where = [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"]
        packages_at = Path(subprocess.run(where, check=True, capture_output=True, text=True).stdout.strip())
        for name in environment.empty_modules:
            (packages_at / f"{name}.py").touch()
        made.touch()
    return python
