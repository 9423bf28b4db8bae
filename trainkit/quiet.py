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
def no_peft_warnings() -> Iterator[None]:
    """PEFT's warnings that are of no use to whoever trains.

    It calls what transformers will rename, and does not find the ranks that it writes down itself for fused experts.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys", RuntimeWarning)
        yield
