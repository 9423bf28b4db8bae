"""Tasks that need to see more than one part: what belongs together, what is decided, and the order of the rows."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from dataforge import arrow_bytes, gathers
from dataforge.components import Linking
from dataforge.recipe import StepSpec
from dataforge.shards import Split
from dataforge.stages import Facts, Result, Work
from dataforge.tasks import Site

Thin = tuple[tuple[int, str], ...]
"""The number of each part that has a thin table, with the key under which it lies."""


@dataclass(frozen=True)
class LinkTask:
    """One cut of a gather's thin tables."""

    step: StepSpec
    thin: Thin
    cut: int
    cuts: int
    key: str

    def __str__(self) -> str:
        return f"what belongs together among the records of {len(self.thin)} parts"

    @property
    def keys(self) -> tuple[str, ...]:
        """The links."""
        return (self.key,)

    def run(self, site: Site) -> list[Facts]:
        """Find what belongs together."""
        return [site.work.once(self.key, lambda: self._make(site))]

    def _make(self, site: Site) -> Result:
        gather = cast(Linking, site.line.gather(self.step))
        with _tables(site.work, self.thin, "thin.parquet") as parts, site.work.folder.scratch() as folder:
            gathers.links(gather, parts, self.cut, self.cuts, folder / "links.parquet")
            return [("links.parquet", (folder / "links.parquet").read_bytes())], {}


@dataclass(frozen=True)
class DecideTask:
    """What a gather makes of all its links."""

    step: StepSpec
    thin: Thin
    links: tuple[str, ...]
    key: str

    def __str__(self) -> str:
        return f"what is decided on the records of {len(self.thin)} parts"

    @property
    def keys(self) -> tuple[str, ...]:
        """The decisions."""
        return (self.key,)

    def run(self, site: Site) -> list[Facts]:
        """Decide on every record, and say where the decisions on each part are, with a hash of them."""
        return [site.work.once(self.key, lambda: self._make(site))]

    def _make(self, site: Site) -> Result:
        with (
            _tables(site.work, self.thin, "thin.parquet") as parts,
            _tables(site.work, tuple(enumerate(self.links)), "links.parquet") as links,
            site.work.folder.scratch() as folder,
        ):
            with site.line.faults(self.step):
                gathers.decide(site.line.gather(self.step), parts, links, folder / "decided.parquet")
            ranges = gathers.ranges(folder / "decided.parquet")
            return [("decided.parquet", (folder / "decided.parquet").read_bytes())], {"ranges": ranges}


@dataclass(frozen=True)
class OrderTask:
    """Which rows of each part go into which shard."""

    split: Split
    thin: Thin
    cut: int
    cuts: int
    key: str

    def __str__(self) -> str:
        return f"the order of the rows of {self.split}"

    @property
    def keys(self) -> tuple[str, ...]:
        """The order."""
        return (self.key,)

    def run(self, site: Site) -> list[Facts]:
        """Put the rows of one cut of the draws in order, and say which shards they fall into."""
        return [site.work.once(self.key, lambda: self._make(site))]

    def _make(self, site: Site) -> Result:
        with _tables(site.work, self.thin, f"{self.split}-thin.parquet") as parts, site.work.folder.scratch() as folder:
            slices = gathers.shards_of_rows(parts, self.cut, self.cuts, folder)
        return [("slices.parquet", arrow_bytes.parquet(slices))], {}


@contextmanager
def _tables(work: Work, stages: Thin, output: str) -> Iterator[Sequence[tuple[int, Path]]]:
    """An output of several stages, as numbered files of this machine."""
    with work.folder.local([work.name(key, output) for _, key in stages]) as paths:
        yield [(number, path) for (number, _), path in zip(stages, paths, strict=True)]
