"""Answers with votes, and which of two the votes prefer.

Two rules are known. Stanford's (SHP) trusts a score only against the clock: what was written later had less time to be
seen, so if it has the higher score all the same, it is preferred. That of Askell et al. and of H4's Stack Exchange
preferences goes by the magnitude of the score and does not look at the time.
"""

from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any, NamedTuple

from dataforge import seeds
from dataforge.records import Message, Ranking, Reply
from dataforge.text import pieces

_NOBODY = {"", "[deleted]", "[removed]"}
_MOST = 2**53  # what a float tells from its neighbours
_ENGLISH = """
    a about after all also am an and any are as at be because been before being but by can could did do does doing don
    each for from get had has have having he her here him his how i if in into is it its just ll m me more most my no
    not now of off on one only or other our out over own re s she should so some such t than that the their them then
    there these they this those through to too under until up us ve very was we were what when where which while who
    why will with would you your
"""
_FUNCTION_WORDS = frozenset(_ENGLISH.split()) | frozenset(
    "的了是在和也就都而及与着或一不我你他她它们这那有个之其于把被让向从到给对又很吗呢吧啊么"
)


class Answer(NamedTuple):
    """One answer to a post, with what the votes need of it."""

    created: int
    """Seconds since 1970, UTC."""
    id: str
    score: int
    scaled: int
    """The score with smoothing, in whole units of the smoothing's denominator."""
    worth: int
    """The score as H4 counts it."""
    author: str
    """Empty where nobody knows, so that two deleted users are not the same one."""
    length: int
    """In characters."""
    words: frozenset[str]
    """Its content words, empty unless they were asked for."""
    messages: tuple[Message]
    credit: Any
    """Who is to be named for it, None where nobody is."""


Pair = tuple[Answer, Answer]
"""The chosen and the rejected one."""
Rule = Callable[[Answer, Answer], Pair | str]
"""Of two answers, the earlier first, the pair that they make, or the name under which it is counted that they make
none."""


def worth(score: int, accepted: bool) -> int:
    """H4's score of an answer: round(log2(1 + score)), or -1 where the score is below 0; 1 more where it was accepted.

    In whole numbers: 2 log2(m), rounded down, is one less than the number of binary digits of m * m. No power of 2 lies
    half-way, so there is nothing to round to even.
    """
    magnitude = -1 if score < 0 else ((1 + score) ** 2).bit_length() // 2
    return magnitude + accepted


def answers(record: Ranking, smoothing: tuple[int, int], with_words: bool) -> list[Answer]:
    """The answers of a discussion, the earliest first, whatever their order in the record.

    `smoothing` is the numerator and the denominator of what is added to each score. Raises `ValueError` with a sentence
    where a reply does not say what a vote needs.
    """
    more, unit = smoothing
    found = [
        _answer(number, reply, reply.facts, more, unit, with_words) for number, reply in enumerate(record.replies, 1)
    ]
    found.sort(key=lambda answer: answer[:2])
    return found


def _answer(number: int, reply: Reply, known: Mapping[str, Any], more: int, unit: int, with_words: bool) -> Answer:
    score, created, identity = reply.score, known.get("created"), known.get("id")
    if score is None:
        raise ValueError(f"reply {number} has no score")
    if not float(score).is_integer() or abs(score) > _MOST:
        raise ValueError(f"reply {number} has a score of {score:g}, and votes are whole numbers up to 2^53")
    if type(created) is not int:
        raise ValueError(f"reply {number} does not say when it was written (`created`, in whole seconds)")
    if not isinstance(identity, str):
        raise ValueError(f"reply {number} has no `id`")
    votes = int(score)
    author = known.get("author") or ""
    text = reply.message.text
    return Answer(
        created,
        identity,
        votes,
        votes * unit + more,
        worth(votes, known.get("accepted") is True),
        "" if author in _NOBODY else author,
        len(text),
        content_words(text) if with_words else frozenset(),
        (reply.message,),
        known.get("attribution"),
    )


def by_time(earlier: Answer, later: Answer) -> Pair | str:
    """The later one, if it has the higher score; of two written in the same second, the one that has."""
    if earlier.score == later.score:
        return "ties"
    if later.score > earlier.score:
        return later, earlier
    return (earlier, later) if earlier.created == later.created else "earlier_higher"


def by_worth(earlier: Answer, later: Answer) -> Pair | str:
    """The one that H4's score is higher of."""
    if earlier.worth == later.worth:
        return "ties"
    return (later, earlier) if later.worth > earlier.worth else (earlier, later)


def by_both(earlier: Answer, later: Answer) -> Pair | str:
    """The one that both rules prefer."""
    timed, weighed = by_time(earlier, later), by_worth(earlier, later)
    if isinstance(timed, str) or isinstance(weighed, str):
        return "ties" if "ties" in (timed, weighed) else "earlier_higher"
    return timed if timed[0] is weighed[0] else "rules_disagree"


RULES: Mapping[str, Rule] = {"shp": by_time, "h4": by_worth, "both": by_both}


def facts(chosen: Answer, rejected: Answer, ratio: float | None) -> dict[str, Any]:
    """What is known of a pair's votes."""
    return {
        "score_chosen": chosen.score,
        "score_rejected": rejected.score,
        "score_ratio": ratio,
        "created_chosen": chosen.created,
        "created_rejected": rejected.created,
        "seconds_later": chosen.created - rejected.created,
        "id_chosen": chosen.id,
        "id_rejected": rejected.id,
    }


def credit(prompt: Any, chosen: Answer, rejected: Answer) -> dict[str, Any]:
    """Whoever is to be named for a pair, as the fact `attribution`; empty where nobody is."""
    named = {"prompt": prompt, "chosen": chosen.credit, "rejected": rejected.credit}
    known = {what: whom for what, whom in named.items() if whom}
    return {"attribution": known} if known else {}


def content_words(text: str) -> frozenset[str]:
    """The different words of a text, and in Chinese and Japanese its characters, without those that only join others.

    What joins others is known of English and Chinese; in other languages every word is content.
    """
    return frozenset(pieces(text)) - _FUNCTION_WORDS


def overlap(one: frozenset[str], other: frozenset[str]) -> float:
    """The share of the words of two texts that both have; 0 where there are none."""
    either = len(one | other)
    return len(one & other) / either if either else 0.0


def two_sided(pairs: list[Pair]) -> set[str]:
    """The authors of several answers of whom one is chosen in a pair and another one is rejected in a pair.

    One answer that is better than a second and worse than a third puts nobody on both sides.
    """
    chosen: dict[str, set[str]] = {}
    rejected: dict[str, set[str]] = {}
    for better, worse in pairs:
        chosen.setdefault(better.author, set()).add(better.id)
        rejected.setdefault(worse.author, set()).add(worse.id)
    return {
        author for author, ids in chosen.items() if author and author in rejected and len(ids | rejected[author]) > 1
    }


def side(pair: Pair) -> int:
    """1 where the longer answer is chosen, -1 where the shorter one is, 0 where they are as long."""
    chosen, rejected = pair[0].length, pair[1].length
    return (chosen > rejected) - (chosen < rejected)


def draws(pairs: list[Pair], seed: int, purpose: str, post: str) -> list[int]:
    """What is drawn for each of some pairs of a post; draws for one purpose say nothing of those for another."""
    draw = seeds.drawer(seed, "mine_votes", purpose, post)
    return [draw(chosen.id, rejected.id) for chosen, rejected in pairs]


def drawn(pairs: list[Pair], most: int, seed: int, purpose: str, post: str) -> list[Pair]:
    """So many of some pairs of a post, those that drew the lowest numbers, in the order that they had."""
    ranked = sorted(range(len(pairs)), key=draws(pairs, seed, purpose, post).__getitem__)
    return [pairs[number] for number in sorted(ranked[:most])]


def thinned(pairs: list[Pair], most: Mapping[int, int], seed: int, post: str) -> list[Pair]:
    """The pairs of a post of which so many of each `side` are left; all where nothing is said of a side."""
    gone: set[tuple[str, str]] = set()
    for which, bound in most.items():
        of_side = [pair for pair in pairs if side(pair) == which]
        stay = drawn(of_side, bound, seed, "balance", post)
        gone |= {(chosen.id, rejected.id) for chosen, rejected in of_side}
        gone -= {(chosen.id, rejected.id) for chosen, rejected in stay}
    return [pair for pair in pairs if (pair[0].id, pair[1].id) not in gone]


def within(one: int, other: int, times: Fraction) -> bool:
    """Whether the longer of two lengths is at most so many times the shorter."""
    return max(one, other) * times.denominator <= min(one, other) * times.numerator
