"""Whatever a dump of Reddit holds, its threads are those that a reading of the same rows without a database finds."""

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataforge.assembly import Assembly
from dataforge.content import Fault
from dataforge.errors import InputError
from dataforge.sources import reddit
from tests.dataforge.test_reddit import TIME, comment, post, threads

Columns = dict[str, Any]
MISSING = object()
FIRST_OF_2023 = 1_672_531_200
AUTHORS = [*["ann", "bo", "cat"] * 4, "Abbot", "[deleted]", None, "AutoModerator", "Mo", "RemindMeBot", "count-bot"]
EDITED = [*[False] * 6, None, 0, TIME + 9, float(TIME + 9), True, MISSING]
SPECIAL: dict[str, list[Any]] = {
    "stickied": [False] * 6 + [True, None, MISSING],
    "distinguished": [None] * 6 + ["moderator", "admin", MISSING],
    "retrieved_on": [MISSING, TIME + 10, TIME + 20, None],
    "_meta": [MISSING] * 8 + [{"is_edited": True}, {"removal_type": "removed"}, {"was_deleted_later": True}, {}],
}


def columns_of(**more: list[Any]) -> st.SearchStrategy[Columns]:
    drawn = st.fixed_dictionaries({name: st.sampled_from(values) for name, values in {**SPECIAL, **more}.items()})
    return drawn.map(lambda row: {name: value for name, value in row.items() if value is not MISSING})


def times(last: int) -> list[Any]:
    return [TIME, TIME + 1, str(TIME + 1), float(TIME + 2), FIRST_OF_2023 - 1, last, None]


POSTS = columns_of(
    id=["p1", "p2", "p3", "P3"],
    title=["T", "U"],
    selftext=["So?", "Why?", "", "[removed]"],
    author=AUTHORS,
    subreddit=["ask"] * 5 + ["Other"],
    score=[10, 11, 12, 30, 9, None],
    created_utc=times(FIRST_OF_2023),
    edited=EDITED,
    is_self=[True] * 6 + [False, MISSING],
    over_18=[False] * 6 + [True, MISSING],
    hide_score=[False] * 6 + [True, MISSING],
    removed_by_category=[MISSING] * 6 + [None, "reddit"],
)
COMMENTS = columns_of(
    id=[f"c{number}" for number in range(14)],
    on=[*["p1", "p2"] * 4, "p3", "p4"],
    above=[None] * 6 + ["t1_c1"],
    author=AUTHORS,
    body=["a", "b", "b", '","parent_id":"t1_c1"', "[deleted]", ""],
    score=[2, 3, 3, 4, 5, 1, -7, None],
    created_utc=times(FIRST_OF_2023),
    edited=EDITED,
    is_submitter=[MISSING] * 5 + [False, False, True],
    score_hidden=[False] * 6 + [True, MISSING],
).map(
    lambda row: {
        **{name: value for name, value in row.items() if name not in ("on", "above")},
        **{"link_id": f"t3_{row['on']}", "parent_id": row["above"] or f"t3_{row['on']}"},
    }
)
TAKEN_BACK = ("edited", "over_18", "links", "stickied", "moderators", "bots", "post_authors", "hidden_scores")
SAID = st.fixed_dictionaries(
    {
        "communities": st.sampled_from([[], [], ["r/Ask"]]),
        "min_post_score": st.sampled_from([10, 12, -1]),
        "min_comment_score": st.sampled_from([2, 4, -9]),
        "before": st.sampled_from(["2023-01-01", None]),
        "max_comments": st.integers(1, 4),
        "min_comments": st.integers(1, 3),
        "edited_comments": st.booleans(),
        "moderators": st.sampled_from([[], ["mo"]]),
        "bots": st.sampled_from([[], ["ABBOT"]]),
        "keep": st.lists(
            st.sampled_from([*TAKEN_BACK]),
            unique=True,
        ),
    }
)


def seconds(row: Columns) -> int | None:
    return None if row.get("created_utc") is None else int(float(row["created_utc"]))


def edited(row: Columns) -> bool:
    return bool(row.get("edited")) or bool(row.get("_meta", {}).get("is_edited"))


def lost(row: Columns, text: str) -> bool:
    meta = row.get("_meta", {})
    return (
        row["author"] in (None, "[deleted]")
        or row[text] in ("[deleted]", "[removed]")
        or "removal_type" in meta
        or meta.get("was_deleted_later", False)
    )


def of_both(row: Columns, said: Columns) -> list[tuple[str, str, bool]]:
    name = (row["author"] or "").lower()
    return [
        (
            "moderators",
            "by_moderator",
            bool(row.get("distinguished")) or name in ["automoderator", *said["moderators"]],
        ),
        ("bots", "by_bot", name in ["remindmebot", "count-bot"] or name.upper() in said["bots"]),
        ("stickied", "stickied", bool(row.get("stickied"))),
        ("hidden_scores", "hidden_score", bool(row.get("hide_score") or row.get("score_hidden"))),
    ]


def first(rules: list[tuple[str, str, bool]], said: Columns, of: str) -> str | None:
    return next((f"{of}_{reason}" for kept, reason, holds in rules if holds and kept not in said["keep"]), None)


def post_reason(row: Columns, said: Columns) -> str | None:
    when, score = seconds(row), row["score"]
    text_of_its_own = row["is_self"] if "is_self" in row else row["selftext"] != ""
    rules = [
        ("", "other_community", bool(said["communities"]) and row["subreddit"].lower() != "ask"),
        ("links", "link", not text_of_its_own),
        ("", "deleted", lost(row, "selftext") or row.get("removed_by_category") is not None),
        *of_both(row, said),
        ("edited", "edited", edited(row)),
        ("over_18", "over_18", bool(row.get("over_18"))),
        ("", "without_time", when is None),
        ("", "too_late", said["before"] is not None and when is not None and when >= FIRST_OF_2023),
        ("", "without_score", score is None),
        ("", "low_score", score is not None and score < said["min_post_score"]),
    ]
    return first(rules, said, "post")


def comment_reason(row: Columns, said: Columns) -> str | None:
    score = row["score"]
    rules = [
        ("", "without_score", score is None),
        ("", "low_score", score is not None and score < said["min_comment_score"]),
        ("", "deleted", lost(row, "body") or not row["body"]),
        *of_both(row, said),
        ("", "without_time", seconds(row) is None),
        ("", "edited", not said["edited_comments"] and edited(row)),
    ]
    return first(rules, said, "comment")


def last_retrieved(row: Columns) -> tuple[bool, int]:
    found = row.get("retrieved_on")
    return found is None, -(found or 0)


def told(value: Any) -> str:
    """Any difference that a row could show."""
    return json.dumps(value, sort_keys=True, default=str)


def expected(posts: list[Columns], comments: list[Columns], said: Columns) -> tuple[list[Any], Counter[str]]:
    """The threads in their order, and how many rows each rule left out."""
    left_out = Counter[str]()
    known: dict[str, tuple[Columns, str | None]] = {}
    for id_ in sorted({row["id"].lower() for row in posts}):
        listed = [(row, post_reason(row, said)) for row in posts if row["id"].lower() == id_]
        listed.sort(key=lambda each: (last_retrieved(each[0]), each[0]["score"] is None, -(each[0]["score"] or 0)))
        known[id_] = listed[0]
        left_out["post_listed_twice"] += len(listed) - 1
    by_id: dict[str, list[Columns]] = {}
    for row in comments:
        post_id = row["link_id"][3:]
        if row["parent_id"] != row["link_id"]:
            reason: str | None = "comment_not_top_level"
        elif post_id not in known:
            reason = "comment_without_post"
        elif known[post_id][1]:
            reason = "comment_on_left_out_post"
        else:
            reason = comment_reason(row, said)
        if reason is None and "post_authors" not in said["keep"]:
            own = row.get("is_submitter") or row["author"] == known[post_id][0]["author"]
            reason = "comment_by_post_author" if own else None
        if reason is None:
            by_id.setdefault(row["id"], []).append(row)
        else:
            left_out[reason] += 1
    on: dict[str, list[Columns]] = {}
    for listed_comments in by_id.values():
        listed_comments.sort(key=lambda row: (last_retrieved(row), -row["score"]))
        on.setdefault(listed_comments[0]["link_id"][3:], []).append(listed_comments[0])
        left_out["comment_listed_twice"] += len(listed_comments) - 1
    found = []
    for id_, (row, reason) in known.items():
        these = on.get(id_, [])
        if reason is not None:
            left_out[reason] += 1
        elif len(these) < said["min_comments"]:
            left_out["post_with_few_comments"] += 1
            left_out["comment_among_few"] += len(these)
        else:
            these.sort(key=lambda each: (-each["score"], seconds(each), each["id"]))
            left_out["comment_above_most"] += len(these[said["max_comments"] :])
            best = sorted(these[: said["max_comments"]], key=lambda each: (seconds(each), each["id"]))
            replies = [[each["id"], each["author"], each["body"], each["score"], seconds(each)] for each in best]
            found.append([seconds(row), id_, row["title"], row["selftext"], row["score"], row["author"], replies])
    return sorted(found), +left_out


def assembled(folder: Path, files: list[list[Columns]], compact: bool, said: Columns) -> tuple[list[Any], Assembly]:
    folder.mkdir(exist_ok=True)
    places = []
    for number, rows in enumerate(files):
        place = folder / str(number)
        separators = (",", ":") if compact else (", ", ": ")
        place.write_text("".join(json.dumps(row, separators=separators) + "\n" for row in rows))
        places.append((f"f{number}", place))
    tally = Assembly()
    made = list(reddit.assemble(places, reddit.Settings(**said), folder, tally))
    (folder / "threads.duckdb").unlink()
    assert [number for number, _ in made] == list(range(1, len(made) + 1))
    tally.check(len(made))
    return [row for _, row in made], tally


def unlike(rows: list[Columns]) -> list[Columns]:
    """Rows of which none is listed twice as retrieved at the same time and with the same score."""
    return list({(row["id"].lower(), last_retrieved(row), row["score"]): row for row in rows}.values())


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    posts=st.lists(POSTS, min_size=1, max_size=6).map(unlike),
    comments=st.lists(COMMENTS, min_size=1, max_size=24).map(unlike),
    said=SAID,
    draw=st.randoms(use_true_random=False),
    compact=st.booleans(),
)
def test_any_dump_gives_the_threads_that_the_rules_say(
    tmp_path: Path, posts: list[Columns], comments: list[Columns], said: Columns, draw: random.Random, compact: bool
) -> None:
    rows = [*posts, *comments]
    draw.shuffle(rows)
    files: list[list[Columns]] = [[], [], []]
    for row in rows:
        files[draw.randrange(3)].append(row)
    made, tally = assembled(tmp_path / "a", files, compact, said)
    keys = ("created", "id", "title", "body", "score", "author")
    replies = ("id", "author", "body", "score", "created")
    found = [
        [*(row[key] for key in keys), [[each[key] for key in replies] for each in row["comments"]]] for row in made
    ]
    wanted, left_out = expected(posts, comments, said)
    assert (found, tally.rejected, tally.read) == (wanted, left_out, len(rows))


@settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    posts=st.lists(POSTS, min_size=1, max_size=5),
    comments=st.lists(COMMENTS, min_size=1, max_size=16),
    draw=st.randoms(use_true_random=False),
)
def test_no_order_of_lines_and_files_changes_a_thread_even_if_rows_contradict_each_other(
    tmp_path: Path, posts: list[Columns], comments: list[Columns], draw: random.Random
) -> None:
    said = {"min_comments": 1, "min_comment_score": -9, "before": None}
    whole, counted = assembled(tmp_path / "a", [[*posts, *comments]], True, said)
    rows = [*posts, *comments]
    draw.shuffle(rows)
    cut = draw.randrange(len(rows) + 1)
    made, tally = assembled(tmp_path / "b", [rows[:cut], rows[cut:]], False, said)
    assert told(made) == told(whole)
    assert tally.counts() == counted.counts()


@pytest.mark.parametrize(
    ("of", "one", "other"),
    [
        ("post", {"title": "T"}, {"title": "U"}),
        ("post", {"author": "bo"}, {"author": "cat"}),
        ("post", {"created_utc": TIME + 1}, {"created_utc": TIME + 2}),
        ("post", {"subreddit": "ask"}, {"subreddit": "Ask"}),
        ("post", {"upvote_ratio": 0.5}, {"upvote_ratio": 0.75}),
        ("post", {"over_18": True}, {"over_18": False}),
        ("comment", {"body": "a"}, {"body": "b"}),
        ("comment", {"created_utc": TIME + 70}, {"created_utc": TIME + 80}),
        ("comment", {"edited": False}, {"edited": TIME + 90}),
        ("comment", {"link_id": "t3_q", "parent_id": "t3_q"}, {}),
    ],
)
def test_which_of_two_listings_counts_does_not_depend_on_their_order(
    tmp_path: Path, of: str, one: Columns, other: Columns
) -> None:
    if of == "post":
        twice = [post("p", **one), post("p", **other)]
    else:
        twice = [comment("c1", "p", **one), comment("c1", "p", **other), post("p")]
    rest = [post("q"), comment("c2", "p"), comment("c3", "p"), comment("d2", "q"), comment("d3", "q")]
    before, counted = assembled(tmp_path / "a", [[*twice, *rest]], True, {})
    after, tally = assembled(tmp_path / "b", [[*rest, *reversed(twice)]], True, {})
    assert told(after) == told(before)
    assert tally.counts() == counted.counts()
    assert tally.rejected[f"{of}_listed_twice"] == 1


@pytest.mark.parametrize(
    ("reason", "columns", "said"),
    [
        ("comment_by_moderator", {"distinguished": "moderator"}, {"keep": ["moderators"]}),
        ("comment_by_bot", {"author": "RemindMeBot"}, {"keep": ["bots"]}),
        ("comment_stickied", {"stickied": True}, {"keep": ["stickied"]}),
        ("comment_hidden_score", {"score_hidden": True}, {"keep": ["hidden_scores"]}),
        ("comment_by_post_author", {"author": "ann"}, {"keep": ["post_authors"]}),
        ("comment_by_post_author", {"is_submitter": True}, {"keep": ["post_authors"]}),
        ("comment_low_score", {"score": 1}, {"min_comment_score": 1}),
    ],
)
def test_what_leaves_a_comment_out_can_be_taken_back(
    tmp_path: Path, reason: str, columns: Columns, said: Columns
) -> None:
    rows = [post("p"), comment("c1", "p"), comment("c2", "p"), comment("c3", "p", **columns)]
    found, _, tally = threads(tmp_path / "a", {"all": rows})
    assert (found, tally.rejected) == ({"p": ["c1", "c2"]}, {reason: 1})
    found, _, tally = threads(tmp_path / "b", {"all": rows}, **said)
    assert (found, tally.rejected) == ({"p": ["c1", "c2", "c3"]}, {})


@pytest.mark.parametrize(
    ("said", "reason", "lifted"),
    [
        ({"communities": ["science"]}, "post_other_community", {"communities": ["r/ASK"]}),
        ({"moderators": ["ANN"]}, "post_by_moderator", {"moderators": ["bo"]}),
        ({"bots": ["Ann"]}, "post_by_bot", {"bots": ["bo"]}),
        ({"min_post_score": 11}, "post_low_score", {"min_post_score": 10}),
        ({"before": "2017-07-14"}, "post_too_late", {"before": "2017-07-15"}),
        ({"before": "2017-07-14"}, "post_too_late", {"before": None}),
        ({"min_comments": 3}, "post_with_few_comments", {"min_comments": 2}),
    ],
)
def test_a_setting_leaves_a_post_out_and_takes_it_back(
    tmp_path: Path, said: Columns, reason: str, lifted: Columns
) -> None:
    rows = [post("p"), comment("c1", "p"), comment("c2", "p")]
    found, _, tally = threads(tmp_path / "a", {"all": rows}, **said)
    assert (found, tally.rejected[reason]) == ({}, 1)
    assert any(note.startswith("no thread is left") for note in tally.notes)
    assert threads(tmp_path / "b", {"all": rows}, **lifted)[0] == {"p": ["c1", "c2"]}


def test_a_month_that_lacks_most_columns_is_read(tmp_path: Path) -> None:
    asked = {"id": "p", "title": "T", "selftext": "S", "author": "ann", "score": 12, "created_utc": str(TIME)}
    said = {"link_id": "t3_p", "parent_id": "t3_p", "author": "bo", "body": "b", "score": 3, "created_utc": str(TIME)}
    named = {"name": "t1_c2", **said, "author": "cat"}
    found, _, tally = threads(tmp_path, {"rs": [asked], "rc": [{"id": "c1", **said}, named]})
    assert (found, tally.rejected) == ({"p": ["c1", "c2"]}, {})


@pytest.mark.parametrize(
    "text", ["a\0b", "<|im_end|>\n<|im_start|>system", "\u202e \u2028 \x1b[1m", "\\u0000", "石头 🪨"]
)
def test_what_people_write_arrives_as_it_is(tmp_path: Path, text: str) -> None:
    rows = [post("p", title=text, selftext=text), comment("c1", "p", body=text), comment("c2", "p")]
    ((made,), tally) = assembled(tmp_path, [rows], True, {})
    assert (made["title"], made["body"], made["comments"][0]["body"]) == (text, text, text)
    assert tally.rejected == {}


def test_half_a_surrogate_is_a_fault_of_its_line_and_no_breakdown(tmp_path: Path) -> None:
    rows = [post("p"), comment("c1", "p"), comment("c2", "p"), comment("c3", "p", body="x\ud800y")]
    made, tally = assembled(tmp_path, [rows], True, {})
    assert made[0].reason == "broken_json"
    assert made[0].detail.startswith("f0:4: no low surrogate")
    assert [each["id"] for each in made[1]["comments"]] == ["c1", "c2"]
    assert tally.counts() == {"read": 4, "passed": 2, "joined": 2, "rejected": {}}


def test_of_twenty_thousand_comments_the_fifty_best_become_objects(tmp_path: Path) -> None:
    rows = [post("p"), *(comment(f"c{number:05}", "p", score=2 + number % 9973) for number in range(20_000))]
    random.Random(1).shuffle(rows)
    found, _, tally = threads(tmp_path, {"all": rows})
    best = sorted(range(20_000), key=lambda number: (-(number % 9973), number))[:50]
    assert found == {"p": [f"c{number:05}" for number in sorted(best)]}
    assert tally.rejected == {"comment_above_most": 19_950}


@pytest.mark.parametrize(("scores", "dead"), [(499, False), (500, True)])
def test_scores_are_dead_where_nearly_all_of_many_are_one(tmp_path: Path, scores: int, dead: bool) -> None:
    ones = scores * 9 // 10
    rows = [comment(f"n{number}", "p", score=1 if number < ones else 5) for number in range(scores)]
    if dead:
        with pytest.raises(InputError, match=r"2017-07.*90% of 500 comments.*leave these files out"):
            threads(tmp_path, {"all": [post("p"), *rows]})
    else:
        assert len(threads(tmp_path, {"all": [post("p"), *rows]})[0]["p"]) == 50


def test_replies_of_the_api_may_be_one_answer_a_line(tmp_path: Path) -> None:
    below = {"kind": "t1", "data": comment("c3", "p", parent_id="t1_c1", replies="")}
    nested = comment("c1", "p", replies={"kind": "Listing", "data": {"children": [below]}})
    flat = comment("c2", "p", replies="")
    filler = [comment(f"x{number}", "gone", body="y" * 300) for number in range(2000)]
    for name, rows in {"early": [nested, flat], "late": [*filler, flat, nested]}.items():
        found, faults, tally = threads(tmp_path / name, {"rs": [post("p")], "rc": rows})
        assert (found, faults) == ({"p": ["c1", "c2"]}, [])
        assert tally.rejected["comment_not_top_level"] == 1


def test_faults_say_what_is_wrong(tmp_path: Path) -> None:
    lines = [json.dumps(row) for row in (post("p"), comment("c1", "p"), comment("c2", "p"))]
    content = "\n".join([*lines, "3", '{"id": "x", "color": 1}', '{"id": '])
    _, faults, tally = threads(tmp_path, {"all": content.encode()})
    assert [(fault.reason, fault.detail.split(":")[1]) for fault in faults] == [
        ("not_an_object", "4"),
        ("neither_post_nor_comment", "5"),
        ("broken_json", "6"),
    ]
    assert all(isinstance(fault, Fault) for fault in faults)
    assert tally.counts() == {"read": 6, "passed": 4, "joined": 2, "rejected": {}}
