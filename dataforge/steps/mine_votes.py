"""Make preference pairs of discussions with votes: by Stanford's rule (SHP), by H4's, or where both agree.

    - use: mine_votes
      rule: shp             # or h4, or both
      min_ratio: 2          # what SHP's authors advise to train on
      pairs_per_post: 5

A discussion is a ranking whose replies have a `score` and the facts `id` and `created`, as the sources `reddit` and
`stackexchange` make it.

* `shp`: A is preferred to B if A was written no earlier than B and yet has the strictly higher score, as what came
  later had less time to be seen. If the earlier one has the higher score, nothing follows. (The card of the published
  data says "no later than" in this place. That is a misprint: its own example prefers the answer written at second 112,
  with a score of 340, to that of second 110 with 166, and its `seconds_difference`, by which the preferred one came
  after the other, is never below 0.)
* `h4`: A is preferred if its round(log2(1 + score)) is higher, where a score below 0 counts as -1 and an accepted
  answer has 1 more. Equal ones are a tie and no pair.
* `both`: A is preferred by both.

The score ratio is (a + k) / (b + k), with k the `smoothing`. Reddit's own score of an answer that nobody voted on is 1,
so SHP needs no k. There is no ratio where b + k is 0 or less: such a pair is made as long as `min_ratio` is 1, with
`score_ratio` null, and dropped as `no_ratio` where it is more, since a ratio to 0 says nothing of how many voted. Stack
Exchange's scores start at 0: give a `smoothing` there.

Each pair has the facts `rule`, `score_chosen`, `score_rejected`, `score_ratio`, `created_chosen`, `created_rejected`,
`seconds_later` (chosen minus rejected), `id_chosen`, `id_rejected`, `post`, `community`, and who is to be named for its
`prompt`, `chosen` and `rejected` as `attribution`, where the source knows it. Its `margin` is the ratio, or with `h4`
the difference of H4's scores. The ratio is not only a filter: show the accuracy of a reward model as a curve over it.

Everything is counted: `compared` are all twos of answers, which are `ties`, `earlier_higher`, `rules_disagree`, or
pairs. Of these the settings drop some (`no_ratio`, `ratio`, `difference`, `seconds_apart`, `same_author`,
`length_ratio`, `overlap`, `author_on_both_sides`, `pairs_per_post`, and `longer_thinned` or `shorter_thinned` with
`balance`), in that order, and each is counted at the first. The rest are the `pairs`, with how often the longer answer
won: `longer_chosen`, `shorter_chosen`, `same_length`. A thread without a pair is rejected, with its counts.

What is drawn is drawn by the ids of post and answers: it does not change with the order of replies, nor with other
threads. With `balance: length` all pairs have to be seen first, and those that are balanced are the same ones.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import combinations, starmap
from typing import Annotated, Any, Literal

import duckdb
import pyarrow as pa
from pydantic import Field

from dataforge import config, votes
from dataforge.context import Context, Depends
from dataforge.records import Preference, Ranking, Record, Reject, derived_id, group_of
from dataforge.votes import Answer, Pair

_SIDES = {1: "longer_chosen", -1: "shorter_chosen", 0: "same_length"}
_KNOWN = ("post", "community", "task", "language")
_THIN = pa.schema([("position", pa.int32()), ("side", pa.int8()), ("draw", pa.uint64())])
_MOST_ANSWERS = 1000  # half a million comparisons; SHP looked at 50 answers of a post

Check = tuple[str, Callable[[Answer, Answer], bool]]
"""Under which name it is counted that a pair is dropped, and whether the chosen and the rejected may be one."""


class Settings(config.Settings):
    """By which rule pairs are made, and which of them are taken."""

    rule: Literal["shp", "h4", "both"] = "shp"
    """Later and yet higher, the higher magnitude, or both."""
    min_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] = 1
    """The score of the chosen one over that of the rejected one, at least; 1 asks for nothing."""
    smoothing: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0
    """What is added to both scores before their ratio is taken."""
    min_difference: Annotated[int, Field(ge=1)] | None = None
    """By so many points the chosen one's score must be higher."""
    max_length_ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)] | None = None
    """How many times as long as the other one the longer may be, in characters."""
    max_seconds_apart: Annotated[int, Field(ge=0)] | None = None
    """How long after the other one the later may have been written."""
    min_overlap: Annotated[float, Field(gt=0, le=1)] | None = None
    """The share of the content words of the two that both have, at least; in Chinese, of the characters."""
    pairs_per_post: Annotated[int, Field(ge=1)] | None = 5
    """At most so many of one post, by chance; null takes all."""
    author_on_both_sides: Literal["drop", "keep"] = "keep"
    """`drop`: no pair of one author's answers, nor any of who wins in a post with one answer and loses with another."""
    balance: Literal["length", "none"] = "none"
    """`length`: of the pairs that the longer answer won, or the shorter, the commoner are thinned to as many."""


@dataclass(frozen=True)
class Found:
    """What a thread yields, before anything is balanced."""

    pairs: list[Pair]
    counts: dict[str, int]


@dataclass
class Step:
    """The miner of one build."""

    name: str
    settings: Settings
    seed: int
    smoothing: tuple[int, int]
    """As a numerator and a denominator."""
    checks: Sequence[Check]
    counted: dict[str, int] = field(default_factory=dict)

    def take(self, record: Record) -> Record | Reject | Sequence[Preference]:
        """The pairs of a discussion, or why there is none; other kinds of records pass."""
        if not isinstance(record, Ranking):
            return record
        found = self.found(record)
        return found if isinstance(found, Reject) else self.made(record, found)

    def noted(self) -> Mapping[str, int]:
        """What was compared, dropped and made."""
        counted, self.counted = self.counted, {}
        return counted

    def found(self, record: Ranking) -> Found | Reject:
        """The pairs of a discussion, in an order of their own; counts nothing yet."""
        if len(record.replies) < 2:
            there = "nobody answered" if not record.replies else "there is one answer"
            return self._reject(record, "few_answers", f"{there}, and a pair takes two")
        if len(record.replies) > _MOST_ANSWERS:
            detail = f"has {len(record.replies):,} answers, and {_MOST_ANSWERS:,} are the most that are compared"
            return self._reject(record, "many_answers", f"{detail} with each other; bound them in the source")
        try:
            found = votes.answers(record, self.smoothing, self.settings.min_overlap is not None)
        except ValueError as error:
            detail = f"{error}, so there are no votes to go by; `- use: pairs` makes pairs of ranked or scored replies"
            return self._reject(record, "no_votes", f"{detail}, and this step belongs to the sources that have votes")
        if len({answer.id for answer in found}) < len(found):
            return self._reject(record, "same_id", "two of its replies have the same `id`")
        return self._compared(found, group_of(record))

    def made(self, record: Ranking, found: Found) -> Reject | Sequence[Preference]:
        """The preferences that pairs become; counts what was found."""
        counts = found.counts
        for pair in found.pairs:
            won = _SIDES[votes.side(pair)]
            counts[won] = counts.get(won, 0) + 1
        counts["pairs"] = len(found.pairs)
        for what, count in counts.items():
            self.counted[what] = self.counted.get(what, 0) + count
        if not found.pairs:
            fell = {what: count for what, count in counts.items() if count and what != "compared"}
            listed = ", ".join(f"{what} {count:,}" for what, count in fell.items())
            detail = f"its {len(record.replies):,} answers make no pair: {listed}"
            return Reject(record.id, record.origin, self.name, "no_pair", detail, {"counts": fell})
        known = {name: record.facts[name] for name in _KNOWN if name in record.facts}
        return [self._preference(record, *pair, known) for pair in found.pairs]

    def _compared(self, found: Sequence[Answer], post: str) -> Found:
        settings = self.settings
        verdicts: list[Pair | str] = list(starmap(votes.RULES[settings.rule], combinations(found, 2)))
        if self.checks:
            verdicts = list(map(self._checked, verdicts))
        counts = {"compared": len(verdicts), **Counter(each for each in verdicts if isinstance(each, str))}
        pairs = [each for each in verdicts if not isinstance(each, str)]
        if settings.author_on_both_sides == "drop":
            authors = votes.two_sided(pairs)
            kept = [pair for pair in pairs if pair[0].author not in authors and pair[1].author not in authors]
            counts["author_on_both_sides"], pairs = len(pairs) - len(kept), kept
        if settings.pairs_per_post is not None and len(pairs) > settings.pairs_per_post:
            counts["pairs_per_post"] = len(pairs) - settings.pairs_per_post
            pairs = votes.drawn(pairs, settings.pairs_per_post, self.seed, "cap", post)
        return Found(pairs, counts)

    def _checked(self, verdict: Pair | str) -> Pair | str:
        """The name of the first check that a pair fails; else the verdict as it is."""
        if isinstance(verdict, str):
            return verdict
        return next((name for name, holds in self.checks if not holds(*verdict)), verdict)

    def _preference(self, record: Ranking, better: Answer, worse: Answer, known: Mapping[str, Any]) -> Preference:
        ratio = better.scaled / worse.scaled if worse.scaled > 0 else None
        credit = votes.credit(record.facts.get("attribution"), better, worse)
        return Preference(
            derived_id(record.id, "mine_votes", better.id, worse.id),
            record.origin,
            record.prompt,
            better.messages,
            worse.messages,
            record.tools,
            float(better.worth - worse.worth) if self.settings.rule == "h4" else ratio,
            group_of(record),
            {"rule": self.settings.rule, **votes.facts(better, worse, ratio), **known, **credit},
        )

    def _reject(self, record: Record, reason: str, detail: str) -> Reject:
        return Reject(record.id, record.origin, self.name, reason, detail)


@dataclass(frozen=True)
class Gather:
    """The miner that thins the pairs of all parts until the longer answer wins as often as the shorter."""

    step: Step

    def thin(self, records: Sequence[Record]) -> pa.Table:
        """A line for each pair of a part.

        Columns: `position` int32, `side` int8, 1 where the longer answer was chosen, -1 where the shorter was and 0
        where they are as long, and `draw` uint64. A ranking without pairs has one line, with nulls.
        """
        lines: list[tuple[int | None, ...]] = []
        for position, record in enumerate(records):
            if isinstance(record, Ranking):
                found = self.step.found(record)
                pairs = [] if isinstance(found, Reject) else found.pairs
                drawn = votes.draws(pairs, self.step.seed, "balance", group_of(record))
                lines += [(position, votes.side(pair), draw) for pair, draw in zip(pairs, drawn, strict=True)]
                lines += [] if pairs else [(position, None, None)]
        columns = zip(*lines, strict=True) if lines else ((), (), ())
        return pa.table([pa.array(*column) for column in zip(columns, _THIN.types, strict=True)], _THIN)

    def decide(self, connection: duckdb.DuckDBPyConnection) -> pa.RecordBatchReader:
        """A line for each ranking: how many of its pairs of either side are kept.

        Columns: `part`, `position`, `longer`, `shorter` int32. Sorted by part and position.
        """
        return connection.sql("""
            WITH bound AS (
                SELECT least(count(*) FILTER (side = 1), count(*) FILTER (side = -1)) AS most FROM thin
            ), ranked AS (
                SELECT part, position, side,
                    row_number() OVER (PARTITION BY side ORDER BY draw, part, position) <= most AS kept
                FROM thin, bound
            )
            SELECT part::INTEGER AS part, position::INTEGER AS position,
                (count(*) FILTER (kept AND side = 1))::INTEGER AS longer,
                (count(*) FILTER (kept AND side = -1))::INTEGER AS shorter
            FROM ranked GROUP BY part, position ORDER BY part, position
        """).to_arrow_reader()

    def take(self, record: Record, decision: Mapping[str, Any]) -> Record | Reject | Sequence[Preference]:
        """The pairs of a discussion that the balance leaves, or why there is none."""
        if not isinstance(record, Ranking):
            return record
        found = self.step.found(record)
        if isinstance(found, Reject):
            return found
        left = {1: decision["longer"], -1: decision["shorter"]}
        there = Counter(map(votes.side, found.pairs))
        gone = {"longer_thinned": there[1] - left[1], "shorter_thinned": there[-1] - left[-1]}
        pairs = votes.thinned(found.pairs, left, self.step.seed, group_of(record))
        return self.step.made(record, Found(pairs, {**found.counts, **gone}))

    def noted(self) -> Mapping[str, int]:
        """What was compared, dropped, thinned and made."""
        return self.step.noted()


def gathers(settings: Settings) -> bool:
    """Whether all pairs have to be seen first."""
    return settings.balance == "length"


def depends(settings: Settings) -> tuple[Depends, ...]:
    """The seed, where there is something to draw."""
    return ("seed",) if settings.pairs_per_post is not None or settings.balance == "length" else ()


def start(name: str, settings: Settings, context: Context) -> Step | Gather:
    """The miner; its rejects carry `name`."""
    step = Step(
        name, settings, context.seed, Fraction(str(settings.smoothing)).as_integer_ratio(), tuple(_checks(settings))
    )
    return Gather(step) if gathers(settings) else step


def _checks(settings: Settings) -> Iterator[Check]:
    """What a pair must be beside what its rule says; the cheaper checks first."""
    if settings.min_ratio > 1:
        least = Fraction(str(settings.min_ratio))
        yield "no_ratio", lambda better, worse: worse.scaled > 0
        yield "ratio", lambda better, worse: better.scaled * least.denominator >= worse.scaled * least.numerator
    if (points := settings.min_difference) is not None:
        yield "difference", lambda better, worse: better.score - worse.score >= points
    if (seconds := settings.max_seconds_apart) is not None:
        yield "seconds_apart", lambda better, worse: abs(better.created - worse.created) <= seconds
    if settings.author_on_both_sides == "drop":
        yield "same_author", lambda better, worse: better.author != worse.author or not better.author
    if settings.max_length_ratio is not None:
        most = Fraction(str(settings.max_length_ratio))
        yield "length_ratio", lambda better, worse: votes.within(better.length, worse.length, most)
    if (share := settings.min_overlap) is not None:
        yield "overlap", lambda better, worse: votes.overlap(better.words, worse.words) >= share
