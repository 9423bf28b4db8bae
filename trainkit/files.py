"""Folders that are written whole or not at all, and taken away likewise."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dataforge.errors import TrainingError


@contextmanager
def replaced_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder to write into, which takes the place of `folder` when the block ends without an error."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    try:
        yield temporary
        for path in sorted(temporary.rglob("*")):
            _sync(path)
        _sync(temporary)
        _take_place(temporary, folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _take_place(temporary: Path, folder: Path) -> None:
    if not folder.exists():
        temporary.rename(folder)
        return
    old = folder.with_name(f".{folder.name}.{os.getpid()}.old")
    folder.rename(old)
    temporary.rename(folder)
    remove(old)


def remove(folder: Path) -> None:
    """Delete a folder; one that is half deleted no longer bears its name."""
    doomed = folder.with_name(f".{folder.name.lstrip('.')}.{os.getpid()}.tmp")
    shutil.rmtree(doomed, ignore_errors=True)
    folder.rename(doomed)
    shutil.rmtree(doomed)


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Raise `TrainingError` where a part of `path` cannot be written in the block."""
    try:
        yield
    # safetensors and tokenizers write their files themselves and raise what is no OSError where they cannot.
    except Exception as error:
        if not isinstance(error, OSError) and "(os error " not in str(error):
            raise
        reason = (isinstance(error, OSError) and error.strerror) or str(error).splitlines()[0]
        raise TrainingError(
            f"{path}: cannot be written ({reason}); make room, or name another folder with --out, and run the same "
            "command again, which goes on from the last checkpoint"
        ) from None


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sweep(folder: Path) -> None:
    """Put right what a killed process left behind in a folder that no other process writes to.

    What is half written or half deleted goes; what was about to be replaced comes back.
    """
    for old in folder.glob(".*.old"):
        name = old.name[1:].rsplit(".", 2)[0]
        if (folder / name).exists():
            shutil.rmtree(old)
        else:
            old.rename(folder / name)
    for path in folder.glob(".*.tmp"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
