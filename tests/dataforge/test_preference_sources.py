"""Sources of preferences and rankings: what each sample's rows mean, written down by hand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge.records import Message, Preference, Ranking, Reject, group_of
from tests.chat_corpora import rows, said
from tests.dataforge.test_chat_sources import CORPORA, one, sample
from tests.dataforge.test_sources import converted


def test_hh_is_split_at_the_last_answer_of_the_common_beginning() -> None:
    found = sample("hh_rlhf", 1)
    assert said(found.prompt) == [("user", "How do I calm a nervous dog?")]
    assert found.chosen == (Message("assistant", "Speak softly.\n\nAnd give it time."),)
    assert said(sample("hh_rlhf", 2).prompt) == [
        ("user", "我睡不着"),
        ("assistant", "睡前别看手机。"),
        ("user", "还有呢？"),
    ]


def test_hh_replies_with_a_speaker_are_kept_where_that_is_set() -> None:
    assert sample("hh_rlhf", 6, speakers_in_replies="keep").chosen[0].text == "La.  Human: Louder!"


TURN = st.text(st.characters(exclude_characters=":", exclude_categories=("Cs",)), max_size=9).map(
    lambda text: f"x{text}x".replace("\r", "")
)


@given(st.lists(st.tuples(TURN, TURN), max_size=3), TURN, TURN, TURN)
def test_hh_transcripts_come_back_as_they_were_written(
    rounds: list[tuple[str, str]], asked: str, one_: str, other: str
) -> None:
    prompt = "".join(f"\n\nHuman: {question}\n\nAssistant: {answer}" for question, answer in rounds)
    prompt += f"\n\nHuman: {asked}\n\nAssistant: "
    found = one("hh_rlhf", chosen=prompt + one_, rejected=prompt + other)
    if one_ == other:
        assert found.reason == "equal_replies"
        return
    assert isinstance(found, Preference)
    assert [message.text for message in found.prompt] == [*(text for pair in rounds for text in pair), asked]
    assert (found.chosen[0].text, found.rejected[0].text) == (one_, other)


def test_shp_prefers_the_later_comment_with_the_higher_score() -> None:
    # The card's own example: A at ...112 with 340, B at ...110 with 166, labels 1.
    found = sample("shp", 1)
    assert found.chosen[0].text == "Your yeast was dead: try it in warm water first."
    assert [found.facts[f"score_{side}"] for side in ("chosen", "rejected")] == [340, 166]
    assert [found.facts[f"created_{side}"] for side in ("chosen", "rejected")] == [1600000112, 1600000110]
    assert found.facts["seconds_later"] == 2
    assert found.margin == pytest.approx(340 / 166)
    assert (group_of(found), found.facts["domain"]) == ("post p1", "askbaking_train")


def test_shp_label_0_prefers_b() -> None:
    assert sample("shp", 2).chosen[0].text == "水太烫会把酵母烫死，三十五度左右就好。"


def test_shp_takes_ratio_and_seconds_from_scores_and_times_where_they_are_missing() -> None:
    row = {**rows(CORPORA / "shp.jsonl")[0], "score_ratio": None, "seconds_difference": None}
    (found,) = converted("shp", row)
    assert (found.margin, found.facts["seconds_later"]) == (pytest.approx(340 / 166), 2)


def test_ultrafeedback_tens_are_read_by_the_ratings() -> None:
    assert [reply.score for reply in sample("ultrafeedback", 1).replies] == [8.5, 1, 6, 10]
    assert [reply.score for reply in sample("ultrafeedback", 2).replies] == [7, None]


def test_ultrafeedback_ratings_are_text_and_may_be_missing() -> None:
    found = sample("ultrafeedback", 1, score="aspects")
    assert [reply.score for reply in found.replies] == [4.25, pytest.approx(4 / 3), 3, 4.75]


def test_ultrafeedback_sources_are_left_out() -> None:
    assert sample("ultrafeedback", 3, without=("truthful_qa",)).reason == "left_out"


def test_ultrafeedback_binarized_has_a_margin() -> None:
    found = sample("ultrafeedback", 4)
    assert (said(found.prompt), found.margin, found.family) == ([("user", "Rhyme with 'light'.")], 5.5, "r1")
    assert (found.facts["score_chosen"], found.facts["score_rejected"]) == (8, 2.5)


def test_lists_have_scores_or_places() -> None:
    assert [reply.score for reply in sample("ranked_list", 1).replies] == [0.11, 0.05, 0.14]
    assert [(reply.message.text, reply.score) for reply in sample("ranked_list", 2).replies] == [
        ("A library.", 9),
        ("A station.", 2),
    ]
    assert [(reply.rank, reply.score) for reply in sample("ranked_list", 3).replies] == [(0, None), (1, None)]


def test_the_columns_of_a_list_can_be_named() -> None:
    found = one("ranked_list", {"prompt": "q", "replies": "r", "scores": "s"}, q="?", r=["a"], s=[2])
    assert found.replies[0].score == 2
    assert one("ranked_list", {"scores": "s"}, prompt="?", responses=["a"]).reason == "missing_scores"


def test_the_writer_of_a_scored_answer_is_kept() -> None:
    assert [reply.facts for reply in sample("ranked_list", 2).replies] == [{"model": "m1"}, {"model": "m2"}]


def test_a_judgement_counts_where_both_orders_agree() -> None:
    found = sample("pairwise", 1)
    assert said(found.prompt) == [("user", "Write a line about tides.")]
    assert found.chosen == (Message("assistant", "Boats rise with the tide.\n\nSo do spirits."),)
    assert found.rejected == (Message("assistant", "Water."),)
    assert found.family == "question 1"
    assert found.facts == {
        "turn": 1,
        "question_id": 1,
        "model_chosen": "wren",
        "model_rejected": "lark",
        "judge": "judge-1 pair-v2",
    }
    with_reference = sample("pairwise", 2)
    assert (with_reference.prompt[0].text, with_reference.chosen[0].text) == ("7 乘 8 是多少？", "五十六。")


def test_a_judgement_of_two_turns_prefers_all_that_follows_the_first_question() -> None:
    found = sample("pairwise", 6)
    assert said(found.prompt) == [("user", "Name a bird.")]
    assert said(found.chosen) == [("assistant", "Owl."), ("user", "And a fish?"), ("assistant", "Trout.")]
    assert said(found.rejected) == [("assistant", "Bird."), ("user", "And a fish?"), ("assistant", "Fish.")]


def test_a_vote_is_on_the_turn_that_was_judged() -> None:
    first, second = sample("pairwise", 8), sample("pairwise", 9)
    assert (first.chosen[0].text, first.rejected[0].text, len(first.chosen)) == ("Owl.", "Bird.", 1)
    assert (second.chosen[-1].text, second.rejected[-1].text, len(second.chosen)) == ("Trout.", "Fish.", 3)
    assert first.family == second.family == "question 8"


def test_an_annotation_is_on_one_side_of_the_middle() -> None:
    first, second = sample("pairwise", 14), sample("pairwise", 15)
    assert (first.chosen[0].text, first.rejected[0].text, first.margin) == ("The Danube.", "A river.", 1)
    assert (second.chosen[0].text, second.rejected[0].text, second.margin) == ("Good morning.", "Morning", 0.5)
    assert second.facts == {"model_chosen": "lark", "model_rejected": "wren", "judge": "judge-2"}
    assert one("pairwise", instruction="q", output_1="a", output_2="b", preference=3).reason == "bad_preference"


def test_an_answer_that_holds_the_marks_of_a_judge_prompt_is_not_guessed_at() -> None:
    row = rows(CORPORA / "pairwise.jsonl")[0]
    spoilt = row["g1_user_prompt"].replace("Water.", "Water.\n[The End of Assistant A's Answer]")
    assert converted("pairwise", {**row, "g1_user_prompt": spoilt})[0].reason == "ambiguous_answers"
    assert converted("pairwise", {**row, "g1_user_prompt": "Which is better?"})[0].reason == "unknown_prompt"


@given(TURN, TURN, TURN)
def test_what_a_judge_was_shown_is_read_back(question: str, one_: str, other: str) -> None:
    def shown(first: str, second: str) -> str:
        return (
            f"[User Question]\n{question}\n\n[The Start of Assistant A's Answer]\n{first}\n"
            "[The End of Assistant A's Answer]\n\n[The Start of Assistant B's Answer]\n"
            f"{second}\n[The End of Assistant B's Answer]"
        )

    found = one(
        "pairwise",
        question_id=1,
        model_1="a",
        model_2="b",
        g1_winner="model_2",
        g2_winner="model_2",
        g1_user_prompt=shown(one_, other),
        g2_user_prompt=shown(other, one_),
    )
    if one_.strip() == other.strip():
        assert found.reason == "equal_replies"
        return
    assert (found.prompt[0].text, found.chosen[0].text, found.rejected[0].text) == (question, other, one_)


def test_a_benchmark_question_is_a_prompt_and_its_further_turns_are_facts() -> None:
    found = sample("mt_bench", 2)
    assert said(found.messages) == [("user", "一打鸡蛋用去五个，还剩几个？")]
    assert found.facts == {
        "task": "math",
        "question_id": 2,
        "further_turns": ["再买半打呢？"],
        "reference": ["7", "13"],
    }
    assert sample("mt_bench", 3).facts == {"task": "reasoning", "question_id": 3}


def tree(number: int, **settings: Any) -> tuple[Ranking, list[Reject]]:
    found, *rejects = converted("oasst", rows(CORPORA / "oasst.jsonl")[number - 1], **settings)
    assert isinstance(found, Ranking)
    return found, rejects


def test_an_oasst_tree_is_one_ranking() -> None:
    found, rejects = tree(1)
    assert said(found.prompt) == [("user", "How do I start to draw?")]
    assert [(reply.facts["message_id"], reply.rank) for reply in found.replies] == [("a1", 0), ("a2", 1), ("a4", None)]
    first = found.replies[0]
    assert (first.facts["labels"], first.facts["emojis"]) == ({"quality": 0.75}, {"+1": 3})
    assert [reply.message.text for reply in first.replies] == ["Pencil or pen?", "How long?", "Thanks"]
    assert group_of(found) == "tree a"
    assert [(reject.reason, reject.detail.split()[1]) for reject in rejects] == [
        ("spam", "a3"),
        ("below_left_out", "a31"),
    ]
    assert len({found.id, *(reject.id for reject in rejects)}) == 3


def test_oasst_spam_is_kept_where_that_is_set() -> None:
    found, rejects = tree(1, keep=("spam",))
    assert len(found.replies) == 4
    assert not rejects


def test_oasst_languages_take_their_regions_too() -> None:
    row = rows(CORPORA / "oasst.jsonl")[1]
    row["prompt"]["lang"] = "zh-CN"
    assert isinstance(converted("oasst", row, languages=("zh",))[0], Ranking)
    assert converted("oasst", row, languages=("en",))[0].reason == "language"


def test_an_oasst_message_is_a_fragment_with_its_labels_by_name() -> None:
    by_id = {row["message_id"]: row for row in rows(CORPORA / "oasst_messages.jsonl")}
    (found,) = converted("oasst", by_id["a1"])
    assert found.prompt == ()
    assert found.facts["fragment"] == {"tree": "a", "message": "a1", "parent": "a"}
    assert found.replies[0].facts["labels"] == {"quality": 0.75}
    assert found.replies[0].facts["emojis"] == {"+1": 3}


def test_an_oasst_tree_with_two_turns_of_one_speaker_is_rejected() -> None:
    row = rows(CORPORA / "oasst.jsonl")[0]
    row["prompt"]["replies"][0]["role"] = "prompter"
    assert converted("oasst", row)[0].reason == "same_speaker_twice"
