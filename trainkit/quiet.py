"""Libraries that talk on their own account, silenced."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import transformers


def quiet() -> None:
    """Turn off transformers' log messages and progress bars for this process."""
    logging: Any = transformers.utils.logging
    logging.set_verbosity_error()
    logging.disable_progress_bar()


@contextmanager
def no_future_warnings() -> Iterator[None]:
    """PEFT calls what transformers will rename, and the warning about it is of no use to whoever trains."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        yield
