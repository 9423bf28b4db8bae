"""What a contender has packed, whatever its columns are called: counted, and each document known by its hashes.

Runs in the peers' environments too, and so needs numpy and pyarrow alone.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

NOT_TRAINED = -100


@dataclass(frozen=True)
class Packed:
    """Documents laid end to end, without padding."""

    windows: int
    ids: npt.NDArray[np.int64]
    """(tokens,)"""
    trained: npt.NDArray[np.bool_]
    """(tokens,)"""
    lengths: npt.NDArray[np.int64]
    """(documents,)"""

    def counts(self) -> dict[str, int]:
        """Windows, documents and tokens."""
        return {
            "windows": self.windows,
            "documents": len(self.lengths),
            "tokens": len(self.ids),
            "trained_tokens": int(self.trained.sum()),
            "longest": int(self.lengths.max()),
        }

    def write_hashes(self, path: Path) -> None:
        """Write each document's hashes as JSON: of its ids, of which tokens are trained, and of that without the ends.

        The ends are the last trained token of each answer.
        """
        edges = np.cumsum(self.lengths)[:-1]
        without_ends = self.trained & np.append(self.trained[1:], False)
        columns = [np.split(values, edges) for values in (self.ids.astype("<i4"), self.trained, without_ends)]
        hashes = [[_hash(values) for values in document] for document in zip(*columns, strict=True)]
        path.write_text(json.dumps(hashes), encoding="ascii")


def flat(table: pa.Table, column: str) -> npt.NDArray[np.int64]:
    """All values of a column of lists, one after another."""
    lists = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in table[column].chunks]
    return np.concatenate(lists).astype(np.int64)


def report(packed: Packed, request: dict[str, Any], **facts: Any) -> None:
    """Print a peer's one line, and write the hashes of its documents."""
    packed.write_hashes(Path(request["hashes"]))
    print(json.dumps({**packed.counts(), **facts}), flush=True)


def _hash(values: npt.NDArray[Any]) -> str:
    return hashlib.blake2b(values.tobytes(), digest_size=8).hexdigest()
