"""What a run cannot go on from, told with the records or the settings that it hangs on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from dataforge.errors import TrainingError
from trainkit.config import Train

NAMED_RECORDS = 8
CPU_ALLOCATOR = "DefaultCPUAllocator"


def refused(step: int, what: str, records: Sequence[str], way_out: str) -> TrainingError:
    """A step, counted from 1, that must not be taken, with the records in it."""
    more = f" and {len(records) - NAMED_RECORDS} more" if len(records) > NAMED_RECORDS else ""
    return TrainingError(f"step {step}: {what}, with records {', '.join(records[:NAMED_RECORDS])}{more}; {way_out}")


@contextmanager
def memory_advice(
    settings: Train, documents: int, tokens: int, precision: torch.dtype, processes: int
) -> Iterator[None]:
    """Raise `TrainingError` with what to change where a micro-batch does not fit into memory."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and CPU_ALLOCATOR not in str(error):
            raise
        raise _too_large(settings, documents, tokens, precision, processes) from None


def _too_large(settings: Train, documents: int, tokens: int, precision: torch.dtype, processes: int) -> TrainingError:
    if documents > 1:
        ways = [f"lower `train.tokens_per_micro_batch` (this one had {tokens} tokens in {documents} documents)"]
    else:
        ways = [f"build with a smaller `max_tokens` (this document had {tokens} tokens)"]
    if precision == torch.float32 and settings.precision != "bf16":
        ways.append("say `train.precision: bf16`")
    if processes > 1 and settings.parallel != "fsdp":
        ways.append("say `train.parallel: fsdp`")
    return TrainingError(
        f"out of memory: {', or '.join(ways)}, or take a smaller base or a lower `train.adapter.rank`; the same "
        "command goes on from the last checkpoint"
    )
