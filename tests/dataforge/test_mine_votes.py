"""Pairs mined of votes: taken by hand, and what must hold whatever the votes are."""

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations, permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from pydantic import ValidationError

from dataforge import seeds
from dataforge.components import depends, gathers
from dataforge.records import Chat, Message, Origin, Preference, Prompt, Ranking, Record, Reject, Reply, Text
from dataforge.steps import mine_votes
from dataforge.votes import worth
from tests.chat_corpora import rows
from tests.context import CONTEXT
from tests.dataforge.test_chat_sources import CORPORA
from tests.dataforge.test_sources import converted
from tests.gathering import decisions, taken

AT = Origin("s", "f", 0, 1)
Q = (Message("user", "q"),)
ALL = {"pairs_per_post": None}
DROPPED = (
    *("ties", "earlier_higher", "rules_disagree", "ratio", "no_ratio", "difference", "seconds_apart", "same_author"),
    *("length_ratio", "overlap", "author_on_both_sides", "pairs_per_post", "longer_thinned", "shorter_thinned"),
)


def answer(name: str, created: int, score: float, text: str = "", **more: Any) -> Reply:
    facts = {"id": name, "author": f"by {name}", "created": created, **more}
    return Reply(Message("assistant", text or name), score=score, facts=facts)


def thread(*replies: Reply, post: str = "p", **more: Any) -> Ranking:
    facts = {"post": post, "community": "eli5", "score": 12, "created": 0, **more}
    return Ranking(f"id of {post}", AT, Q, replies, family=f"post eli5/{post}", facts=facts)


def mined(*replies: Reply, **said: Any) -> tuple[list[str], dict[str, int]]:
    """The pairs as `chosen>rejected`, sorted, and all counts that are not 0."""
    step = mine_votes.start("mine_votes", mine_votes.Settings(**{**ALL, **said}), CONTEXT)
    made = step.take(thread(*replies))
    return names(made), {what: count for what, count in step.noted().items() if count}


def names(made: Any) -> list[str]:
    return [] if isinstance(made, Reject) else sorted(f"{p.facts['id_chosen']}>{p.facts['id_rejected']}" for p in made)


def test_of_two_answers_the_later_one_is_preferred_if_its_score_is_higher_and_else_nothing_follows() -> None:
    # a is oldest; b came later and is higher than both a and c; c and d were written in the same second.
    replies = [answer("a", 10, 5), answer("b", 20, 9), answer("c", 30, 5), answer("d", 30, 7)]
    pairs, counts = mined(*replies)
    assert pairs == ["b>a", "d>a", "d>c"]
    assert counts == {"compared": 6, "ties": 1, "earlier_higher": 2, "pairs": 3, "same_length": 3}


@pytest.mark.parametrize(("a", "wanted"), [(112, ["a>b"]), (110, ["a>b"]), (109, [])])
def test_the_example_of_shps_card_which_its_sentence_contradicts(a: int, wanted: list[str]) -> None:
    assert mined(answer("a", a, 340), answer("b", 110, 166))[0] == wanted


@given(st.integers(-5, 10**6), st.booleans())
def test_h4s_score_is_the_rounded_logarithm(score: int, accepted: bool) -> None:
    assert worth(score, accepted) == (-1 if score < 0 else round(math.log2(1 + score))) + (1 if accepted else 0)


def test_h4s_score_where_the_logarithm_is_nearly_half_way() -> None:
    half = math.isqrt(2**101)  # 2 to the power of 50.5, rounded down: as a float both logarithms are 50.5
    assert (worth(half - 1, False), worth(half, False)) == (50, 51)


def test_h4_goes_by_magnitude_and_not_by_time() -> None:
    # 3 and 4 votes are both 2, 0 is 0, -7 is -1; the accepted one has one more.
    replies = [answer("a", 10, 3), answer("b", 20, 4), answer("c", 30, 0), answer("d", 40, -7)]
    pairs, counts = mined(*replies, rule="h4")
    assert pairs == ["a>c", "a>d", "b>c", "b>d", "c>d"]
    assert counts["ties"] == 1
    accepted = [*replies[:2], answer("c", 30, 3, accepted=True), replies[3]]
    assert mined(*accepted, rule="h4")[0] == ["a>d", "b>d", "c>a", "c>b", "c>d"]
    assert mined(*[replace(reply, facts={**reply.facts, "accepted": False}) for reply in replies], rule="h4") == (
        pairs,
        counts,
    )


def test_both_rules_have_to_agree() -> None:
    # b beats a by time, but a was accepted and is worth more; c beats a and b by both; d has as many votes as c.
    replies = [answer("a", 1, 6, accepted=True), answer("b", 2, 7), answer("c", 3, 40), answer("d", 4, 40)]
    pairs, counts = mined(*replies, rule="both")
    assert pairs == ["c>a", "c>b", "d>a", "d>b"]
    assert {what: counts[what] for what in ("compared", "ties", "rules_disagree")} == {
        "compared": 6,
        "ties": 1,
        "rules_disagree": 1,
    }
    assert mined(answer("a", 1, 40), answer("b", 2, 3), rule="both")[1] == {"compared": 1, "earlier_higher": 1}


def test_the_facts_of_a_pair() -> None:
    step = mine_votes.start("mine_votes", mine_votes.Settings(smoothing=1), CONTEXT)
    record = thread(answer("a", 100, 3), answer("b", 160, 7, attribution={"author": "bo"}), attribution="someone")
    (pair,) = step.take(record)
    assert isinstance(pair, Preference)
    assert pair.facts == {
        **{"rule": "shp", "score_chosen": 7, "score_rejected": 3, "score_ratio": 2.0, "created_chosen": 160},
        **{"created_rejected": 100, "seconds_later": 60, "id_chosen": "b", "id_rejected": "a", "post": "p"},
        **{"community": "eli5", "attribution": {"prompt": "someone", "chosen": {"author": "bo"}}},
    }
    assert (pair.margin, pair.family, pair.prompt) == (2.0, "post eli5/p", Q)
    assert (pair.chosen, pair.rejected) == ((Message("assistant", "b"),), (Message("assistant", "a"),))
    h4 = mine_votes.start("mine_votes", mine_votes.Settings(rule="h4"), CONTEXT)
    (other,) = h4.take(thread(answer("a", 100, 31), answer("b", 160, -1)))
    assert (other.margin, other.facts["score_ratio"], other.facts["seconds_later"]) == (6.0, None, -60)


LADDER = [answer("a", 0, 0), answer("b", 10, 1), answer("c", 30, 3), answer("d", 1000, 10)]


@pytest.mark.parametrize(
    ("said", "pairs", "counts"),
    [
        ({}, ["b>a", "c>a", "c>b", "d>a", "d>b", "d>c"], {}),
        ({"min_ratio": 3.1}, ["d>b", "d>c"], {"no_ratio": 3, "ratio": 1}),
        ({"min_ratio": 3, "smoothing": 1}, ["c>a", "d>a", "d>b"], {"ratio": 3}),
        ({"min_difference": 3}, ["c>a", "d>a", "d>b", "d>c"], {"difference": 2}),
        ({"max_seconds_apart": 30}, ["b>a", "c>a", "c>b"], {"seconds_apart": 3}),
        ({"max_seconds_apart": 29}, ["b>a", "c>b"], {"seconds_apart": 4}),
        ({"min_difference": 3, "max_seconds_apart": 30}, ["c>a"], {"difference": 2, "seconds_apart": 3}),
    ],
)
def test_what_the_settings_drop_is_counted_at_the_first_of_them(
    said: dict[str, Any], pairs: list[str], counts: dict[str, int]
) -> None:
    made, counted = mined(*LADDER, **said)
    assert made == pairs
    assert {what: count for what, count in counted.items() if what in DROPPED} == counts


def test_the_window_of_time_holds_whichever_answer_came_first() -> None:
    replies = [answer("a", 0, 9), answer("b", 50, 1)]
    assert mined(*replies, rule="h4", max_seconds_apart=50)[0] == ["a>b"]
    assert mined(*replies, rule="h4", max_seconds_apart=49)[1] == {"compared": 1, "seconds_apart": 1}


def test_ratios_are_compared_as_they_are_written() -> None:
    # 1.1 * 10 is a little more than 11 as a float.
    assert mined(answer("a", 1, 10), answer("b", 2, 11), min_ratio=1.1)[0] == ["b>a"]
    assert mined(answer("a", 1, 1), answer("b", 2, 2), min_ratio=1.3, smoothing=2.3)[0] == ["b>a"]  # 4.3 / 3.3
    assert mined(answer("a", 1, 1), answer("b", 2, 2), min_ratio=1.31, smoothing=2.3)[1]["ratio"] == 1


def test_a_pair_without_a_ratio_is_made_where_nobody_asks_for_one() -> None:
    step = mine_votes.start("mine_votes", mine_votes.Settings(), CONTEXT)
    (pair,) = step.take(thread(answer("a", 1, -2), answer("b", 2, 0)))
    assert (pair.margin, pair.facts["score_ratio"]) == (None, None)


def test_lengths_and_common_words_of_two_answers() -> None:
    long = "bread rises because yeast makes gas " * 3
    replies = [answer("a", 1, 1, long), answer("b", 2, 2, "yeast makes the gas"), answer("c", 3, 3, "no idea at all")]
    assert mined(*replies, max_length_ratio=6)[0] == ["b>a", "c>b"]
    assert mined(*replies, max_length_ratio=5)[1]["length_ratio"] == 2
    assert mined(answer("a", 1, 1, "xxx"), answer("b", 2, 2, "xx"), max_length_ratio=1.5)[0] == ["b>a"]
    assert mined(answer("a", 1, 1, "xxx"), answer("b", 2, 2, "xx"), max_length_ratio=1.49)[0] == []
    # Three of five content words.
    assert mined(*replies, min_overlap=0.6)[0] == ["b>a"]
    assert mined(*replies, min_overlap=0.61)[1]["overlap"] == 3
    # Of 面包靠酵母 and 靠酵母的气体, without 的: three of seven characters.
    chinese = [answer("a", 1, 1, "面包靠酵母"), answer("b", 2, 2, "靠酵母的气体。")]
    assert mined(*chinese, min_overlap=0.42)[0] == ["b>a"]
    assert mined(*chinese, min_overlap=0.43)[1]["overlap"] == 1
    nothing = [answer("a", 1, 1, "!"), answer("b", 2, 2, "?")]
    assert mined(*nothing, min_overlap=0.01)[1]["overlap"] == 1


def test_how_often_the_longer_answer_wins_is_counted() -> None:
    replies = [answer("a", 1, 1, "xx"), answer("b", 2, 2, "xxx"), answer("c", 3, 3, "x"), answer("d", 4, 4, "y")]
    counts = mined(*replies)[1]
    assert (counts["longer_chosen"], counts["shorter_chosen"], counts["same_length"]) == (1, 4, 1)


def test_an_author_on_both_sides() -> None:
    # ann wins against bob and loses to eve with one answer: that is no contradiction. bob has two answers, of which
    # one wins and one loses.
    ann = [answer("b1", 1, 1, author="bob"), answer("a", 2, 2, author="ann"), answer("e", 3, 3, author="eve")]
    assert mined(*ann, author_on_both_sides="drop")[0] == ["a>b1", "e>a", "e>b1"]
    bob = [*ann, answer("b2", 4, 4, author="bob")]
    pairs, counts = mined(*bob, author_on_both_sides="drop")
    assert pairs == ["e>a"]
    assert (counts["same_author"], counts["author_on_both_sides"]) == (1, 4)
    assert len(mined(*bob)[0]) == 6
    # Two answers of one author that both win, or whose authors nobody knows, are no case of it.
    twice = [answer("x", 1, 1), answer("b1", 2, 2, author="bob"), answer("b2", 3, 3, author="bob")]
    assert mined(*twice, author_on_both_sides="drop")[0] == ["b1>x", "b2>x"]
    for nobody in ("", "[deleted]", None):
        gone = [answer("a", 1, 1, author=nobody), answer("b", 2, 2, author=nobody), answer("c", 3, 3, author=nobody)]
        assert len(mined(*gone, author_on_both_sides="drop")[0]) == 3


def ladder(post: str, answers: int = 12) -> Ranking:
    return thread(*(answer(f"{post}{at}", at, at + 2) for at in range(answers)), post=post)


def test_pairs_per_post_are_drawn_by_the_ids() -> None:
    def drawn(record: Ranking, most: int, seed: int = 7) -> set[str]:
        settings = mine_votes.Settings(pairs_per_post=most)
        step = mine_votes.start("mine_votes", settings, replace(CONTEXT, seed=seed))
        return set(names(step.take(record)))

    five, nine = drawn(ladder("p"), 5), drawn(ladder("p"), 9)
    assert (len(five), len(nine)) == (5, 9)
    assert five < nine
    assert drawn(ladder("p"), 5, seed=8) != five
    every = [(high, low) for low in range(12) for high in range(low + 1, 12)]
    ranked = sorted(every, key=lambda p: seeds.draw(7, "mine_votes", "cap", "post eli5/p", f"p{p[0]}", f"p{p[1]}"))
    assert five == {f"p{high}>p{low}" for high, low in ranked[:5]}
    # An answer more or less does not change what was drawn for the others.
    fewer = ladder("p", 11)
    assert {pair for pair in five if "p11" not in pair} <= drawn(fewer, 5)
    assert mine_votes.Settings().pairs_per_post == 5


def test_pairs_per_post_favour_no_pair() -> None:
    chosen = Counter[str]()
    for post in range(400):
        step = mine_votes.start("mine_votes", mine_votes.Settings(pairs_per_post=5), CONTEXT)
        made = step.take(ladder(f"{post}.", 5))
        chosen.update(pair.replace(f"{post}.", "") for pair in names(made))
    assert len(chosen) == 10
    assert all(abs(count - 200) < 50 for count in chosen.values())  # five standard deviations


ANSWERS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.integers(-2, 6),
        st.booleans(),
        st.sampled_from(["ann", "bob", "eve", ""]),
        st.sampled_from(["yeast", "yeast makes gas", "面包靠酵母发", "no idea what it is that makes it rise"]),
    ),
    min_size=2,
    max_size=8,
)
SETTINGS = st.fixed_dictionaries(
    {"rule": st.sampled_from(["shp", "h4", "both"])},
    optional={
        "min_ratio": st.sampled_from([1, 1.5, 2]),
        "smoothing": st.sampled_from([0, 0.5, 3]),
        "min_difference": st.integers(1, 3),
        "max_length_ratio": st.sampled_from([1, 2, 3.5]),
        "max_seconds_apart": st.integers(0, 3),
        "min_overlap": st.sampled_from([0.1, 0.5]),
        "pairs_per_post": st.none() | st.integers(1, 4),
        "author_on_both_sides": st.sampled_from(["drop", "keep"]),
    },
)


def replies_of(drawn: Sequence[tuple[int, int, bool, str, str]], post: str = "") -> list[Reply]:
    return [
        answer(f"{post}{at}", created, score, text, author=author, accepted=accepted)
        for at, (created, score, accepted, author, text) in enumerate(drawn)
    ]


def naive(replies: Sequence[Reply], rule: str) -> set[str]:
    """The pairs of a rule as its sentence has them, of all answers in both orders."""
    found = set()
    for a, b in permutations(replies, 2):
        worths = [
            (-1 if r.score < 0 else round(math.log2(1 + r.score))) + r.facts["accepted"]  # type: ignore[operator]
            for r in (a, b)
        ]
        later = a.facts["created"] >= b.facts["created"] and a.score > b.score  # type: ignore[operator]
        if all({"shp": [later], "h4": [worths[0] > worths[1]], "both": [later, worths[0] > worths[1]]}[rule]):
            found.add(f"{a.facts['id']}>{b.facts['id']}")
    return found


@given(ANSWERS, st.sampled_from(["shp", "h4", "both"]))
def test_the_rules_are_what_their_sentences_say(drawn: Any, rule: str) -> None:
    replies = replies_of(drawn)
    assert set(mined(*replies, rule=rule)[0]) == naive(replies, rule)


@given(ANSWERS, SETTINGS, st.randoms())
def test_the_order_of_replies_does_not_matter_and_no_pair_stands_there_in_both_directions(
    drawn: Any, said: dict[str, Any], order: random.Random
) -> None:
    def made(replies: list[Reply]) -> tuple[Any, dict[str, int]]:
        step = mine_votes.start("mine_votes", mine_votes.Settings(**said), CONTEXT)
        return step.take(thread(*replies)), dict(step.noted())

    replies = replies_of(drawn)
    first = made(replies)
    order.shuffle(replies)
    assert made(replies) == first
    pairs = names(first[0])
    assert not {">".join(reversed(pair.split(">"))) for pair in pairs} & set(pairs)
    counts = first[1]
    assert counts["compared"] == counts["pairs"] + sum(counts.get(what, 0) for what in DROPPED)
    assert counts["pairs"] == sum(counts.get(what, 0) for what in ("longer_chosen", "shorter_chosen", "same_length"))


@given(st.lists(st.integers(0, 50), min_size=2, max_size=8, unique=True), st.data())
def test_where_time_runs_backwards_exactly_the_other_pairs_are_made(scores: list[int], data: st.DataObject) -> None:
    times = data.draw(st.permutations(range(len(scores))))
    forth = {f"{at}": (time, score) for at, (time, score) in enumerate(zip(times, scores, strict=True))}
    pairs = mined(*(answer(name, time, score) for name, (time, score) in forth.items()))[0]
    back = mined(*(answer(name, -time, score) for name, (time, score) in forth.items()))[0]
    either = {f"{a}>{b}" if forth[a][1] > forth[b][1] else f"{b}>{a}" for a, b in combinations(forth, 2)}
    assert set(pairs) | set(back) == either
    assert not set(pairs) & set(back)


def threads(seed: int, count: int) -> list[Record]:
    """Discussions in which the longer answer tends to win, among them records of other kinds and rankings to refuse."""
    drawn = random.Random(seed)
    found: list[Record] = []
    for number in range(count):
        lengths = [drawn.randint(1, 40) for _ in range(drawn.randint(1, 7))]
        replies = [
            answer(f"{number}.{at}", drawn.randint(0, 9), length // 4 + drawn.randint(0, 6), "x" * length)
            for at, length in enumerate(lengths)
        ]
        found.append(thread(*replies, post=str(number)))
        if number % 7 == 0:
            found.append(Text(f"t{number}", AT, "text"))
        if number % 11 == 0:
            found.append(Ranking(f"r{number}", AT, Q, (Reply(Message("assistant", "a"), rank=0),) * 2))
    return found


def unbalanced(records: Sequence[Record], **said: Any) -> tuple[list[Any], Counter[str]]:
    step = mine_votes.start("mine_votes", mine_votes.Settings(**said), CONTEXT)
    made = [step.take(record) for record in records]
    return made, Counter(step.noted())


def balanced(records: Sequence[Record], sizes: Sequence[int] = (), **said: Any) -> tuple[list[Any], Counter[str]]:
    gather = mine_votes.start("mine_votes", mine_votes.Settings(balance="length", **said), CONTEXT)
    made = taken(gather, records, sizes=sizes)
    return made, Counter(gather.noted())


def pairs_of(made: Sequence[Any]) -> set[str]:
    return {pair.id for each in made if isinstance(each, list) for pair in each}


@pytest.mark.parametrize("rule", ["shp", "h4"])
@pytest.mark.parametrize("most", [None, 2])
def test_balance_thins_the_commoner_side_and_makes_no_other_pairs(rule: str, most: int | None) -> None:
    records = threads(3, 120)
    said = {"rule": rule, "pairs_per_post": most}
    (whole, before), (made, after) = unbalanced(records, **said), balanced(records, **said)
    assert before["longer_chosen"] > before["shorter_chosen"] > 10
    assert after["longer_chosen"] == after["shorter_chosen"] == before["shorter_chosen"]
    assert after["longer_thinned"] == before["longer_chosen"] - before["shorter_chosen"]
    assert (after["shorter_thinned"], after["same_length"]) == (0, before["same_length"])
    assert pairs_of(made) < pairs_of(whole)
    assert len(pairs_of(made)) == after["pairs"]
    everything = {pair.id: pair for each in whole if isinstance(each, list) for pair in each}
    assert all(everything[pair.id] == pair for each in made if isinstance(each, list) for pair in each)
    # What neither makes pairs of becomes the same thing both ways.
    assert [a for a in whole if not isinstance(a, list)] == [
        b for a, b in zip(whole, made, strict=True) if not isinstance(a, list)
    ]
    emptied = [b for a, b in zip(whole, made, strict=True) if isinstance(a, list) and isinstance(b, Reject)]
    assert all(reject.reason == "no_pair" and "longer_thinned" in reject.detail for reject in emptied)
    assert bool(emptied)


def test_a_side_that_is_rarer_by_chance_is_not_thinned_and_where_one_is_missing_the_other_goes() -> None:
    short = [thread(answer("a", 1, 1, "xx"), answer("b", 2, 2, "x"), post=str(at)) for at in range(3)]
    made, counts = balanced(short)
    assert [each.reason for each in made] == ["no_pair"] * 3
    assert (counts["shorter_thinned"], counts["pairs"]) == (3, 0)
    assert balanced([])[0] == []


def test_which_pairs_are_thinned_is_drawn_by_the_ids() -> None:
    long = [thread(answer("a", 1, 1, "x"), answer("b", 2, 2, "xx"), post=f"long {at}") for at in range(30)]
    short = [thread(answer("a", 1, 1, "xx"), answer("b", 2, 2, "x"), post=f"short {at}") for at in range(12)]
    made, _ = balanced([*long, *short])
    ranked = sorted(range(30), key=lambda at: seeds.draw(7, "mine_votes", "balance", f"post eli5/long {at}", "b", "a"))
    assert [at for at in range(30) if isinstance(made[at], list)] == sorted(ranked[:12])
    assert not any(isinstance(each, Reject) for each in made[30:])


def test_equal_threads_are_balanced_one_by_one() -> None:
    long = thread(answer("a", 1, 1, "x"), answer("b", 2, 2, "xx"))
    short = thread(answer("a", 1, 1, "xx"), answer("b", 2, 2, "x"), post="other")
    _, counts = balanced([long, long, long, short])
    assert (counts["longer_chosen"], counts["shorter_chosen"]) == (1, 1)


def test_nothing_depends_on_parts_or_threads() -> None:
    records = threads(5, 60)
    gather = mine_votes.start("mine_votes", mine_votes.Settings(balance="length"), CONTEXT)
    found = [
        decisions(gather, records, sizes=sizes, threads=workers)
        for sizes, workers in (((), 1), ((), 4), ((1, 1, 50), 2), ((20, 20), 3), ((7,) * 30, 2))
    ]
    assert all(each == found[0] for each in found)
    assert sum(line["longer"] for line in found[0].values()) == sum(line["shorter"] for line in found[0].values()) > 0


@hypothesis_settings(max_examples=15, deadline=None)
@given(st.lists(ANSWERS, min_size=1, max_size=6), SETTINGS)
def test_balanced_pairs_are_of_the_same_pairs(drawn: Any, said: dict[str, Any]) -> None:
    records = [thread(*replies_of(each, f"{at}."), post=str(at)) for at, each in enumerate(drawn)]
    (whole, before), (made, after) = unbalanced(records, **said), balanced(records, **said)
    assert pairs_of(made) <= pairs_of(whole)
    assert after["longer_chosen"] == after["shorter_chosen"] == min(before["longer_chosen"], before["shorter_chosen"])
    assert after["same_length"] == before["same_length"]


def refused(record: Record) -> Reject:
    made = mine_votes.start("mine_votes", mine_votes.Settings(), CONTEXT).take(record)
    assert isinstance(made, Reject)
    return made


def test_a_thread_without_a_pair_says_what_became_of_its_answers() -> None:
    reject = refused(thread(answer("a", 1, 9), answer("b", 2, 9), answer("c", 3, 1)))
    assert (reject.reason, reject.stage) == ("no_pair", "mine_votes")
    assert reject.detail == "its 3 answers make no pair: ties 1, earlier_higher 2"
    assert reject.facts == {"counts": {"ties": 1, "earlier_higher": 2}}
    assert refused(thread()).detail == "nobody answered, and a pair takes two"
    assert refused(thread(answer("a", 1, 9))).reason == "few_answers"


@pytest.mark.parametrize(
    ("reply", "what"),
    [
        (replace(answer("b", 2, 2), score=None, rank=1), "reply 2 has no score"),
        (answer("b", 2, 2.5), "a score of 2.5, and votes are whole numbers"),
        (answer("b", 2, 1e300), "a score of 1e+300"),
        (answer("b", 2, math.inf), "a score of inf"),
        (answer("b", 2, math.nan), "a score of nan"),
        (Reply(Message("assistant", "b"), score=2.0, facts={"id": "b"}), "does not say when it was written"),
        (
            Reply(Message("assistant", "b"), score=2.0, facts={"id": "b", "created": "2"}),
            "(`created`, in whole seconds)",
        ),
        (Reply(Message("assistant", "b"), score=2.0, facts={"created": 2}), "has no `id`"),
    ],
)
def test_a_ranking_without_votes_is_told_the_way_out(reply: Reply, what: str) -> None:
    reject = refused(thread(answer("a", 1, 1), reply))
    assert reject.reason == "no_votes"
    assert what in reject.detail
    assert "`- use: pairs`" in reject.detail


def test_a_tree_of_oasst_has_no_votes() -> None:
    trees = [converted("oasst", row) for row in rows(CORPORA / "oasst.jsonl")]
    (tree, *_) = [
        record for each in trees for record in each if isinstance(record, Ranking) and len(record.replies) > 1
    ]
    assert "`- use: pairs`" in refused(tree).detail


def test_a_thread_that_is_too_long_or_has_an_answer_twice_is_refused() -> None:
    reject = refused(thread(*(answer(str(at), at, at) for at in range(1001))))
    assert reject.reason == "many_answers"
    assert "1,001 answers, and 1,000 are the most" in reject.detail
    for other in (answer("a", 2, 2), answer("a", 1, 1, "another text")):
        assert refused(thread(answer("a", 1, 1), other)).reason == "same_id"


def test_other_records_pass() -> None:
    step = mine_votes.start("mine_votes", mine_votes.Settings(), CONTEXT)
    others: list[Record] = [
        Chat("c", AT, Q),
        Text("t", AT, "text"),
        Prompt("p", AT, Q),
        Preference("x", AT, Q, (Message("assistant", "a"),), (Message("assistant", "b"),)),
    ]
    assert [step.take(record) for record in others] == others


def test_it_is_a_gather_only_where_all_pairs_must_be_seen_and_needs_the_seed_only_to_draw() -> None:
    for said, gathered, needed in (
        ({}, False, ("seed",)),
        ({"pairs_per_post": None}, False, ()),
        ({"pairs_per_post": None, "balance": "length"}, True, ("seed",)),
    ):
        settings = mine_votes.Settings(**said)
        assert gathers("mine_votes", settings) is gathered
        assert depends("mine_votes", settings) == needed


@pytest.mark.parametrize(
    "said", [{"min_ratio": 0.5}, {"smoothing": -1}, {"min_overlap": 2}, {"pairs_per_post": 0}, {"rule": "elo"}]
)
def test_settings_that_cannot_be_meant_are_refused(said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        mine_votes.Settings(**said)
