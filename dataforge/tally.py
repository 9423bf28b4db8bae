"""What falls on the way down the line, and what is counted."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from dataforge.answers import UNPROVEN
from dataforge.records import Joined, Reject
from dataforge.tokenize import Encoded

T = TypeVar("T")


@dataclass
class Tally:
    """What fell on the way, and what was counted."""

    rejects: list[Reject] = field(default_factory=list)
    stations: dict[str, dict[str, Any]] = field(default_factory=dict)
    """`read`, `passed` and `rejected` by reason, of each station in order."""
    noted: dict[str, dict[str, int]] = field(default_factory=dict)
    """What sources and steps counted for themselves."""

    def station(self, name: str, results: Iterable[T | Reject | Joined]) -> Iterator[T]:
        """Divert the rejects of a station; its counts are whole once everything has gone through."""
        counts = self.stations[name] = {"read": 0, "passed": 0, "rejected": {}}

        def flow() -> Iterator[T]:
            passed, joined, rejected = 0, 0, Counter[str]()
            for result in results:
                if isinstance(result, Reject):
                    self.rejects.append(result)
                    rejected[result.reason] += 1
                elif isinstance(result, Joined):
                    joined += 1
                else:
                    passed += 1
                    yield result
            counts.update({"read": passed + joined + rejected.total(), "passed": passed, "rejected": dict(rejected)})
            if joined:
                counts["joined"] = joined

        return flow()

    def unfolding(self, name: str, results: Iterable[T | Reject | Joined | Sequence[T | Reject]]) -> Iterator[T]:
        """The same for a station that may make several records of one.

        Raises `RuntimeError` where it makes none and says nothing of it.
        """
        more = 0

        def each() -> Iterator[T | Reject | Joined]:
            nonlocal more
            for result in results:
                if not isinstance(result, Sequence):
                    yield result
                    continue
                if not result:
                    raise RuntimeError(f"{name} made nothing of a record, and no reject says why")
                more += len(result) - 1
                yield from result

        def flow() -> Iterator[T]:
            yield from self.station(name, each())
            if more:
                counts = self.stations[name]
                counts.update({"read": counts["read"] - more, "unfolded": more})

        self.stations[name] = {"read": 0, "passed": 0, "rejected": {}}
        return flow()

    def turns(self, encoded: Iterable[Encoded]) -> dict[str, int]:
        """What became of the turns to train; a record that is repeated counts as often."""
        found = {"certified": 0, "forked": 0, "fork_tokens": 0}
        for item in encoded:
            for name in found:
                found[name] += getattr(item, name) * item.record.copies
        unproven = (self.stations[name]["rejected"] for name in ("render", "tokenize"))
        refused = sum(count for reasons in unproven for reason, count in reasons.items() if reason in UNPROVEN)
        return {**found, "refused": refused}
