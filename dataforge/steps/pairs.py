"""Make preferences of rankings and trees: which replies to one message are better than which others.

A message with at least two answers is a place for pairs; the prompt of a pair is all that was said up to it. Answers
are compared by their ranks; where none has one, by their scores; where none has a score, those called good stand
against those called bad. Answers of equal worth form a level, and no pair is made inside one, since nothing follows
from a tie:

    take: adjacent         each level against the next
          best_vs_worst    the first level against the last
          best_vs_rest     the first level against all others
          all              each level against all below it

Labels know two levels, so that all four make the same pairs. With `per_prompt` so many pairs of a place stay, drawn by
what they say, since wide places would otherwise outweigh the rest. With `margin` a pair whose scores (or ranks, where
these are compared) are closer is left out.

Left out and counted: answers that nobody ranked where others are (`unranked`), empty ones (`empty`), and those whose
text stands there already (`same_text`: the best of them stays, and where one was called good and bad, none); pairs of
equal worth (`ties`), below the margin (`below_margin`) and over the cap (`over_cap`); and places with more than 1,000
answers (`too_wide`), of which there would be hundreds of thousands. A ranking from which no pair comes is rejected.
Preferences and other records pass.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations, groupby, pairwise, product
from typing import Annotated, Any, Literal

from pydantic import Field

from dataforge import config, seeds
from dataforge.context import Context, Depends
from dataforge.opinions import said
from dataforge.records import Message, Preference, Ranking, Record, Reject, Reply, derived_id, group_of

WIDEST = 1000
"""The most answers of one place that are compared."""
Take = Literal["adjacent", "best_vs_worst", "best_vs_rest", "all"]
Answer = tuple[int, Reply, float | None]
"""A reply with its number among its siblings and its worth, the higher the better; None where nobody compared it."""


class Settings(config.Settings):
    """Which pairs are made."""

    take: Take = "adjacent"
    """Which levels stand against which."""
    per_prompt: Annotated[int, Field(ge=1)] | None = None
    """The largest number of pairs with one prompt."""
    margin: Annotated[float, Field(gt=0)] | None = None
    """The smallest difference of scores, or of ranks where these are compared; labels know none."""


@dataclass(frozen=True)
class Place:
    """A message that was answered, with its answers."""

    path: tuple[int, ...]
    """The numbers of the replies that lead to it, each among its siblings; empty for the prompt of the ranking."""
    prompt: tuple[Message, ...]
    answers: tuple[tuple[int, Reply], ...]


@dataclass
class Step:
    """The comparison; counts since somebody asked are in `counts`."""

    name: str
    settings: Settings
    seed: int
    counts: Counter[str] = field(default_factory=Counter)

    def take(self, record: Record) -> Record | Reject | Sequence[Preference]:
        """The pairs in a ranking, or why there are none; other records pass."""
        if not isinstance(record, Ranking):
            return record
        if "fragment" in record.facts:
            detail = "is one message of a tree; put `- use: trees` before this step"
            return Reject(record.id, record.origin, self.name, "fragment", detail)
        lost = Counter[str]()
        places = [place for place in _places((), record.prompt, record.replies) if len(place.answers) > 1]
        made = [pair for place in places for pair in self._pairs(record, place, lost)]
        self.counts.update(lost, places=len(places), pairs=len(made))
        if made:
            return made
        reason, detail = _why(lost, len(places), self.settings.margin)
        return Reject(record.id, record.origin, self.name, reason, detail)

    def noted(self) -> Mapping[str, int]:
        """Places, pairs, and what was left out."""
        counts, self.counts = dict(self.counts), Counter()
        return counts

    def _pairs(self, record: Ranking, place: Place, lost: Counter[str]) -> list[Preference]:
        if len(place.answers) > WIDEST:
            lost["too_wide"] += 1
            return []
        measure, answers = _worths(place.answers, lost)
        # Sorting keeps the order of the replies within a level.
        levels = [
            list(level)
            for _, level in groupby(sorted(answers, key=lambda answer: -_worth(answer)), key=lambda answer: answer[2])
        ]
        lost["ties"] += sum(len(level) * (len(level) - 1) // 2 for level in levels)
        found = [pair for one, other in _against(levels, self.settings.take) for pair in product(one, other)]
        if self.settings.margin is not None and measure != "label":
            far = [pair for pair in found if _worth(pair[0]) - _worth(pair[1]) >= self.settings.margin]
            lost["below_margin"] += len(found) - len(far)
            found = far
        if self.settings.per_prompt is not None and len(found) > self.settings.per_prompt:
            lost["over_cap"] += len(found) - self.settings.per_prompt
            draws = [self._draw(record, place, pair) for pair in found]
            taken = sorted(range(len(found)), key=draws.__getitem__)[: self.settings.per_prompt]
            found = [found[at] for at in sorted(taken)]
        return [self._preference(record, place, pair, measure) for pair in found]

    def _draw(self, record: Ranking, place: Place, pair: tuple[Answer, Answer]) -> int:
        said_all = (*place.prompt, pair[0][1].message, pair[1][1].message)
        return seeds.draw(self.seed, "pairs", record.id, *(message.text for message in said_all))

    def _preference(self, record: Ranking, place: Place, pair: tuple[Answer, Answer], measure: str) -> Preference:
        (number, better, worth), (other, worse, less) = pair
        facts: dict[str, Any] = {**record.facts, "rule": f"pairs/{self.settings.take}"}
        for side, reply in (("chosen", better), ("rejected", worse)):
            known = {"rank": reply.rank, "score": reply.score, "id": reply.facts.get("message_id")}
            known["model"] = reply.facts.get("model") or reply.facts.get("model_name")
            facts |= {f"{key}_{side}": value for key, value in known.items() if value is not None}
        return Preference(
            derived_id(record.id, "pairs", *map(str, (*place.path, number, other))),
            record.origin,
            place.prompt,
            (better.message,),
            (worse.message,),
            record.tools,
            None if measure == "label" or worth is None or less is None else worth - less,
            group_of(record),
            facts,
        )


def start(name: str, settings: Settings, context: Context) -> Step:
    """The comparison; its rejects carry `name`."""
    return Step(name, settings, context.seed)


def depends(settings: Settings) -> tuple[Depends, ...]:
    """The seed, where pairs are drawn."""
    return ("seed",) if settings.per_prompt is not None else ()


def _places(path: tuple[int, ...], prompt: tuple[Message, ...], replies: Sequence[Reply]) -> Iterator[Place]:
    """The messages of a tree that an assistant can answer, from the first down, in the order of the replies."""
    if prompt and prompt[-1].role in ("user", "tool"):
        answers = [(number, reply) for number, reply in enumerate(replies) if reply.message.role == "assistant"]
        yield Place(path, prompt, tuple(answers))
    for number, reply in enumerate(replies):
        yield from _places((*path, number), (*prompt, reply.message), reply.replies)


def _worths(listed: Sequence[tuple[int, Reply]], lost: Counter[str]) -> tuple[str, list[Answer]]:
    """What the answers of a place are compared by (`rank`, `score` or `label`), and those that can be, each once."""
    spoken = [(number, reply) for number, reply in listed if said(reply.message)]
    lost["empty"] += len(listed) - len(spoken)
    measure = next((name for name in ("rank", "score") if _any(spoken, name)), "label")
    found = [(number, reply, _measured(reply, measure)) for number, reply in spoken]
    compared = [answer for answer in found if answer[2] is not None]
    lost["unranked"] += len(found) - len(compared)
    by_text: dict[Any, list[Answer]] = {}
    for answer in compared:
        message = answer[1].message
        key = (message.text.strip(), message.reasoning, repr(message.tool_calls))
        by_text.setdefault(key, []).append(answer)
    once = [max(same, key=_worth) for same in by_text.values() if measure != "label" or len({a[2] for a in same}) == 1]
    lost["same_text"] += len(compared) - len(once)
    return measure, once


def _any(answers: Sequence[tuple[int, Reply]], name: str) -> bool:
    return any(getattr(reply, name) is not None for _, reply in answers)


def _measured(reply: Reply, measure: str) -> float | None:
    if measure == "rank":
        return None if reply.rank is None else -float(reply.rank)
    found = reply.score if measure == "score" else reply.label
    return None if found is None else float(found)


def _worth(answer: Answer) -> float:
    return answer[2] or 0.0


def _against(levels: Sequence[list[Answer]], take: Take) -> Iterator[tuple[list[Answer], list[Answer]]]:
    """The levels that stand against each other, the better first."""
    if len(levels) < 2:
        return
    match take:
        case "adjacent":
            yield from pairwise(levels)
        case "best_vs_worst":
            yield levels[0], levels[-1]
        case "best_vs_rest":
            yield from ((levels[0], other) for other in levels[1:])
        case "all":
            yield from combinations(levels, 2)


def _why(lost: Counter[str], places: int, margin: float | None) -> tuple[str, str]:
    """The reason, and a sentence, why a ranking makes no pair."""
    if not places:
        way_out = "where the others are records of their own, put `- use: group_by_prompt` before this step"
        return "one_reply", f"no message has two answers to compare; {way_out}"
    if lost["too_wide"]:
        return "too_wide", f"messages with more than {WIDEST:,} answers: {lost['too_wide']}"
    if lost["below_margin"]:
        return (
            "below_margin",
            f"pairs that differ by less than {margin:g}: {lost['below_margin']}, and there are no others",
        )
    if lost["ties"]:
        return "tie", f"pairs of equally good answers: {lost['ties']}, and there are no others"
    if lost["unranked"]:
        return "unranked", f"answers without a rank, score or label to tell them from others: {lost['unranked']}"
    if lost["same_text"]:
        return "same_text", f"answers that say what others say: {lost['same_text']}; no two are left to compare"
    return "empty_reply", f"empty answers: {lost['empty']}; no two are left to compare"
