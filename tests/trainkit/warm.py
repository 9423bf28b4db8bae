"""Imported once by the process that runs are forked off: a run of two steps, so that all is loaded and compiled."""

import tempfile
from pathlib import Path

import torch

from tests.conftest import write_tiny_base
from trainkit.config import Train
from trainkit.trainer import train

from .conftest import random_windows, write_build

torch.set_num_threads(1)
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    write_tiny_base(folder / "base", seed=0)
    build = write_build(folder / "build", folder / "base", random_windows(2, 1, "t"), [])
    train(Train(base="tiny", steps=2, precision="fp32"), build, str(folder / "base"), "tiny", folder / "run", 7)
