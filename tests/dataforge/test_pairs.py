"""Pairs out of rankings, trees and labels, taken by hand; and the way to labels and back."""

import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge import components, record_table
from dataforge.records import Chat, Message, Origin, Preference, Ranking, Reject, Reply, group_of
from dataforge.steps import pairs, to_labels
from tests.chat_corpora import rows
from tests.context import CONTEXT
from tests.dataforge.test_chat_sources import CORPORA
from tests.dataforge.test_sources import converted

AT = Origin("s", "f", 0, 1)
Q = (Message("user", "q"),)


def answer(text: str, *below: Reply, role: Any = "assistant", **worth: Any) -> Reply:
    return Reply(Message(role, text), replies=below, **worth)


def step(**settings: Any) -> pairs.Step:
    return pairs.start("pairs", pairs.Settings(**settings), CONTEXT)


def made(record: Any, **settings: Any) -> list[Any]:
    found = step(**settings).take(record)
    return found if isinstance(found, list) else [found]


def won(*replies: Reply, **settings: Any) -> list[str]:
    """Each pair as `better>worse`, or the reason why there is none."""
    found = made(Ranking("r", AT, Q, replies), **settings)
    return [
        f"{one.chosen[0].text}>{one.rejected[0].text}" if isinstance(one, Preference) else one.reason for one in found
    ]


RANKED = (answer("b", rank=1), answer("a", rank=0), answer("d", rank=4), answer("c", rank=2), answer("u"))
TIED = (answer("a", score=9.0), answer("b", score=5.0), answer("c", score=5.0), answer("d", score=1.5))
LABELLED = (answer("y", label=True), answer("n", label=False), answer("z", label=True))


@pytest.mark.parametrize(
    ("replies", "take", "wanted"),
    [
        (RANKED, "adjacent", ["a>b", "b>c", "c>d"]),
        (RANKED, "best_vs_worst", ["a>d"]),
        (RANKED, "best_vs_rest", ["a>b", "a>c", "a>d"]),
        (RANKED, "all", ["a>b", "a>c", "a>d", "b>c", "b>d", "c>d"]),
        (TIED, "adjacent", ["a>b", "a>c", "b>d", "c>d"]),
        (TIED, "best_vs_worst", ["a>d"]),
        (TIED, "best_vs_rest", ["a>b", "a>c", "a>d"]),
        (TIED, "all", ["a>b", "a>c", "a>d", "b>d", "c>d"]),
        (LABELLED, "adjacent", ["y>n", "z>n"]),
        (LABELLED, "best_vs_worst", ["y>n", "z>n"]),
        (LABELLED, "best_vs_rest", ["y>n", "z>n"]),
        (LABELLED, "all", ["y>n", "z>n"]),
    ],
)
def test_levels_stand_against_levels(replies: tuple[Reply, ...], take: str, wanted: list[str]) -> None:
    assert sorted(won(*replies, take=take)) == wanted


def test_what_is_left_out_is_counted() -> None:
    counting = step(take="all", margin=4)
    counting.take(Ranking("r", AT, Q, RANKED))
    counting.take(Ranking("s", AT, Q, TIED))
    counting.take(Ranking("t", AT, Q, (answer("a", score=9.0), answer("a ", score=3.0), answer(" ", score=5.0))))
    # Ranks 0, 1, 2, 4: only a>d differs by 4. Scores 9, 5, 5, 1.5: a>b, a>c by 4, a>d by 7.5.
    assert {name: count for name, count in counting.noted().items() if count} == {
        "places": 3,
        "pairs": 4,
        "unranked": 1,
        "ties": 1,
        "below_margin": 5 + 2,
        "same_text": 1,
        "empty": 1,
    }
    assert counting.noted() == {}


@pytest.mark.parametrize(
    ("replies", "reason"),
    [
        ((), "one_reply"),
        ((answer("a", label=True),), "one_reply"),
        ((answer("a"), answer("b")), "unranked"),
        ((answer("a", rank=0), answer("b")), "unranked"),
        ((answer("a", score=1.0), answer("b", score=1.0)), "tie"),
        ((answer("a", label=True), answer("b", label=True)), "tie"),
        ((answer("a", label=True), answer("a", label=False)), "same_text"),
        ((answer("a", rank=0), answer("a\n", rank=1)), "same_text"),
        ((answer("a", rank=0), answer("", rank=1)), "empty_reply"),
        ((answer("a", score=1.0), answer("b", score=2.0)), "below_margin"),
    ],
)
def test_a_ranking_without_pairs_says_why(replies: tuple[Reply, ...], reason: str) -> None:
    (refused,) = made(Ranking("r", AT, Q, replies), margin=1.5)
    assert isinstance(refused, Reject)
    assert (refused.reason, refused.id, refused.stage) == (reason, "r", "pairs")
    assert refused.detail


def test_a_place_with_very_many_answers_is_left_out() -> None:
    wide = [answer(f"a{number}", score=float(number)) for number in range(pairs.WIDEST + 1)]
    assert won(*wide) == ["too_wide"]
    assert len(won(*wide[1:])) == pairs.WIDEST - 1


def test_of_the_same_text_the_best_stays() -> None:
    assert won(answer("a", rank=2), answer("b", rank=1), answer("a", rank=0)) == ["a>b"]


def test_labels_know_no_margin() -> None:
    (pair, _) = made(Ranking("r", AT, Q, LABELLED), margin=3)
    assert pair.margin is None


TREE = Ranking(
    "t",
    AT,
    (Message("system", "s"), *Q),
    (
        answer("a2", rank=1, facts={"message_id": "m2"}),
        answer(
            "a1",
            answer("q1", answer("b1", rank=1), answer("b2", rank=0), answer("b3"), role="user"),
            answer("q2", answer("c1", rank=0), role="user"),
            answer("q3", answer("d1", answer("q4", answer("e"), answer("f"), role="user")), role="user"),
            rank=0,
            facts={"message_id": "m1", "model_name": "x"},
        ),
    ),
    tools=({"name": "f"},),
    family="tree t",
    facts={"task": "chat", "language": "en"},
)


def test_every_answered_message_of_a_tree_is_a_place_and_the_prompt_is_the_whole_path() -> None:
    counting = step()
    found = counting.take(TREE)
    assert isinstance(found, list)
    first, second = found
    assert [message.text for message in first.prompt] == ["s", "q"]
    assert (first.chosen[0].text, first.rejected[0].text, first.margin) == ("a1", "a2", 1)
    assert [message.text for message in second.prompt] == ["s", "q", "a1", "q1"]
    assert (second.chosen[0].text, second.rejected[0].text) == ("b2", "b1")
    assert first.facts == {
        "task": "chat",
        "language": "en",
        "rule": "pairs/adjacent",
        **{"rank_chosen": 0, "rank_rejected": 1, "id_chosen": "m1", "id_rejected": "m2", "model_chosen": "x"},
    }
    assert {group_of(pair) for pair in found} == {"tree t"}
    assert (first.tools, len({first.id, second.id, TREE.id})) == (TREE.tools, 3)
    # Three places with two answers, of which one has no ranks (e, f); b3 has none beside two that have.
    assert {name: count for name, count in counting.noted().items() if count} == {
        "places": 3,
        "pairs": 2,
        "unranked": 3,
    }
    assert list(record_table.from_table(record_table.to_table(found))) == found


def test_what_an_assistant_said_is_answered_by_nobody() -> None:
    assert won(answer("a", answer("b", rank=0), answer("c", rank=1), rank=0)) == ["one_reply"]


def test_a_flat_ranking_is_its_own_family_and_keeps_its_scores() -> None:
    found = made(Ranking("r", AT, Q, TIED), take="all")
    assert {group_of(pair) for pair in found} == {"r"}
    last = found[2]
    assert (last.margin, last.facts["score_chosen"], last.facts["score_rejected"]) == (7.5, 9.0, 1.5)


def test_the_cap_is_drawn_by_what_is_said_and_not_by_place() -> None:
    wide = [answer(f"a{number}", score=float(number)) for number in range(8)]

    def kept(replies: Any, identity: str = "r") -> set[tuple[str, str]]:
        found = made(Ranking(identity, AT, Q, tuple(replies)), take="all", per_prompt=5)
        assert len(found) == 5
        return {(pair.chosen[0].text, pair.rejected[0].text) for pair in found}

    assert kept(wide) == kept(reversed(wide))
    assert kept(wide) != kept(wide, "another")
    counting = step(take="all", per_prompt=5)
    counting.take(Ranking("r", AT, Q, tuple(wide)))
    assert counting.noted()["over_cap"] == 8 * 7 // 2 - 5


def test_the_cap_is_of_each_prompt() -> None:
    threes = [answer(text, rank=at) for at, text in enumerate("abc")]
    root = answer("x", answer("q1", *threes, role="user"), answer("q2", *threes, role="user"), rank=0)
    assert len(made(Ranking("r", AT, Q, (root, answer("y", rank=1))), take="all", per_prompt=2)) == 1 + 2 + 2


def test_the_seed_matters_only_where_pairs_are_drawn() -> None:
    assert components.depends("pairs", pairs.Settings()) == ()
    assert components.depends("pairs", pairs.Settings(per_prompt=1)) == ("seed",)


def test_preferences_and_conversations_pass_and_a_fragment_names_the_step_that_it_needs() -> None:
    others = [Chat("c", AT, Q), Preference("p", AT, Q, (Message("assistant", "a"),), (Message("assistant", "b"),))]
    assert [made(other) for other in others] == [[other] for other in others]
    (fragment,) = converted("oasst", rows(CORPORA / "oasst_messages.jsonl")[0])
    assert "`- use: trees`" in made(fragment)[0].detail


WORTHS = st.lists(st.none() | st.integers(0, 3), max_size=6)


@given(WORTHS, st.sampled_from(["rank", "score"]))
def test_all_is_every_pair_that_differs(worths: list[int | None], measure: str) -> None:
    replies = [answer(f"a{at}", **{measure: worth}) for at, worth in enumerate(worths)]
    found = won(*replies, take="all")
    known = [(worth, at) for at, worth in enumerate(worths) if worth is not None]
    ordered = [(one, other) for one, other in itertools.permutations(known, 2) if one[0] < other[0]]
    ordered = ordered if measure == "rank" else [(one, other) for other, one in ordered]
    wanted = {f"a{one[1]}>a{other[1]}" for one, other in ordered}
    assert set(found) == wanted or (not wanted and len(found) == 1)
    assert len(set(found)) == len(found)


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6))
def test_the_narrower_ways_take_of_all_pairs(worths: list[int]) -> None:
    replies = [answer(f"a{at}", score=float(worth)) for at, worth in enumerate(worths)]
    everything = set(won(*replies, take="all"))
    best, worst = max(worths), min(worths)
    for take in ("adjacent", "best_vs_rest", "best_vs_worst"):
        assert set(won(*replies, take=take)) <= everything
    if best != worst:
        for pair in won(*replies, take="best_vs_worst"):
            better, worse = (worths[int(side[1:])] for side in pair.split(">"))
            assert (better, worse) == (best, worst)


def labels(record: Any) -> list[Any]:
    found = to_labels.start("to_labels", to_labels.Settings(), CONTEXT).take(record)
    return found if isinstance(found, list) else [found]


def test_a_preference_is_a_good_answer_and_a_bad_one() -> None:
    sides = (Message("assistant", "a"),), (Message("assistant", "b"),)
    pair = Preference("p", AT, Q, *sides, tools=({"name": "f"},), facts={"task": "x"})
    good, bad = labels(pair)
    assert [(one.prompt, one.replies[0].message.text, one.replies[0].label) for one in (good, bad)] == [
        (Q, "a", True),
        (Q, "b", False),
    ]
    assert [(group_of(one), one.facts, one.tools) for one in (good, bad)] == [("p", {"task": "x"}, pair.tools)] * 2
    assert len({good.id, bad.id, "p"}) == 3
    assert labels(Chat("c", AT, Q)) == [Chat("c", AT, Q)]


def test_a_side_of_several_messages_has_no_label() -> None:
    side = (Message("assistant", "a"), Message("user", "q2"), Message("assistant", "c"))
    (refused,) = labels(Preference("p", AT, Q, side, (Message("assistant", "b"),)))
    assert refused.reason == "several_messages"
