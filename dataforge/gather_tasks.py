"""Tasks that need to see more than one part: what belongs together, what is decided, and the order of the rows."""

from dataclasses import dataclass

from dataforge import gathers
from dataforge.shards import Split
from dataforge.stages import Facts
from dataforge.tasks import Site, parquet_bytes


@dataclass(frozen=True)
class LinkTask:
    """One cut of a gather's thin tables."""

    step: int
    """The gather's number among the segments: it stands before this one."""
    thin: tuple[tuple[int, str], ...]
    """Each part's number, with the key of its records."""
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
        work, spec = site.work, site.recipe.segments[self.step].after
        facts = work.sound(self.key)
        if facts is not None or spec is None:
            return [{**(facts or {}), "made": False}]
        names = [work.name(key, "thin.parquet") for _, key in self.thin]
        with work.folder.local(names) as paths, work.folder.scratch() as folder:
            parts = [(part, path) for (part, _), path in zip(self.thin, paths, strict=True)]
            gathers.links(site.line.gather(spec), parts, self.cut, self.cuts, folder / "links.parquet")
            content = (folder / "links.parquet").read_bytes()
        return [{**work.keep(self.key, [("links.parquet", content)], {}), "made": True}]


@dataclass(frozen=True)
class DecideTask:
    """What a gather makes of all its links."""

    step: int
    thin: tuple[tuple[int, str], ...]
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
        work, spec = site.work, site.recipe.segments[self.step].after
        facts = work.sound(self.key)
        if facts is not None or spec is None:
            return [{**(facts or {}), "made": False}]
        names = [*(work.name(key, "thin.parquet") for _, key in self.thin)]
        linked = [work.name(key, "links.parquet") for key in self.links]
        with (
            work.folder.local(names) as paths,
            work.folder.local(linked) as link_paths,
            work.folder.scratch() as folder,
        ):
            parts = [(part, path) for (part, _), path in zip(self.thin, paths, strict=True)]
            gathers.decide(site.line.gather(spec), parts, link_paths, folder / "decided.parquet")
            ranges = gathers.ranges(folder / "decided.parquet")
            content = (folder / "decided.parquet").read_bytes()
        return [{**work.keep(self.key, [("decided.parquet", content)], {"ranges": ranges}), "made": True}]


@dataclass(frozen=True)
class OrderTask:
    """Which rows of each part go into which shard."""

    split: Split
    thin: tuple[tuple[int, str], ...]
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
        work = site.work
        facts = work.sound(self.key)
        if facts is not None:
            return [{**facts, "made": False}]
        names = [work.name(key, f"{self.split}-thin.parquet") for _, key in self.thin]
        with work.folder.local(names) as paths, work.folder.scratch() as folder:
            parts = [(part, path) for (part, _), path in zip(self.thin, paths, strict=True)]
            slices = gathers.shards_of_rows(parts, self.cut, self.cuts, folder)
        return [{**work.keep(self.key, [("slices.parquet", parquet_bytes(slices))], {}), "made": True}]
