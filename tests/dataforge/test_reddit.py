"""Reddit's dumps: what is told apart, left out, joined and counted, on files written by hand."""

import gzip
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import zstandard

from dataforge.assembly import Assembly
from dataforge.content import Fault
from dataforge.errors import InputError
from dataforge.records import Ranking
from dataforge.sources import reddit
from tests.dataforge.test_sources import converted

TIME = 1_500_000_000
SAMPLE = Path(__file__).parents[2] / "samples/corpora/reddit"


def post(id_: str, **columns: Any) -> dict[str, Any]:
    return {
        **{"id": id_, "title": f"Why {id_}?", "selftext": "So?", "author": "ann", "subreddit": "ask", "score": 10},
        **{"created_utc": TIME, "edited": False, "is_self": True, "over_18": False, **columns},
    }


def comment(id_: str, on: str, **columns: Any) -> dict[str, Any]:
    return {
        **{"id": id_, "link_id": f"t3_{on}", "parent_id": f"t3_{on}", "author": f"by {id_}", "body": f"said {id_}"},
        **{"score": 2, "created_utc": TIME + 60, "edited": False, **columns},
    }


def threads(
    folder: Path, files: dict[str, list[Any] | bytes], **settings: Any
) -> tuple[dict[str, list[str]], list[Fault], Assembly]:
    """The comments' ids of each thread, the faults, and the counts, which must add up."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        lines = content if isinstance(content, bytes) else b"".join(json.dumps(row).encode() + b"\n" for row in content)
        (folder / name).write_bytes(lines)
    scratch, tally = folder / "scratch", Assembly()
    scratch.mkdir()
    listed = [(name, folder / name) for name in sorted(files)]
    rows = [row for _, row in reddit.assemble(listed, reddit.Settings(**settings), scratch, tally)]
    tally.check(len(rows))
    found = {row["id"]: [each["id"] for each in row["comments"]] for row in rows if isinstance(row, dict)}
    return found, [row for row in rows if isinstance(row, Fault)], tally


TWO = [comment("c1", "p"), comment("c2", "p")]
LEFT_OUT: list[tuple[str, dict[str, Any], str | None]] = [
    ("post_link", {"is_self": False}, "links"),
    ("post_deleted", {"author": "[deleted]"}, None),
    ("post_deleted", {"selftext": "[removed]"}, None),
    ("post_by_moderator", {"distinguished": "moderator"}, "moderators"),
    ("post_by_bot", {"author": "count-bot"}, "bots"),
    ("post_edited", {"edited": 1500000000.0}, "edited"),
    ("post_edited", {"edited": True}, "edited"),
    ("post_edited", {"_meta": {"is_edited": True}}, "edited"),
    ("post_over_18", {"over_18": True}, "over_18"),
    ("post_stickied", {"stickied": True}, "stickied"),
    ("post_hidden_score", {"hide_score": True}, "hidden_scores"),
    ("post_low_score", {"score": 9}, None),
    ("post_without_score", {"score": None}, None),
    ("post_too_late", {"created_utc": 1672531200}, None),
]


@pytest.mark.parametrize(("reason", "columns", "kept_by"), LEFT_OUT)
def test_a_post_is_left_out_by_each_rule_and_counted(
    tmp_path: Path, reason: str, columns: dict[str, Any], kept_by: str | None
) -> None:
    files: dict[str, list[Any] | bytes] = {"rs": [post("p", **columns)], "rc": TWO}
    found, _, tally = threads(tmp_path / "out", files)
    assert found == {}
    assert tally.rejected == {reason: 1, "comment_on_left_out_post": 2}
    if kept_by:
        assert threads(tmp_path / "in", files, keep=[kept_by])[0] == {"p": ["c1", "c2"]}


@pytest.mark.parametrize(
    ("reason", "columns"),
    [
        ("comment_not_top_level", {"parent_id": "t1_c1"}),
        ("comment_deleted", {"author": None}),
        ("comment_deleted", {"body": "[removed]"}),
        ("comment_by_moderator", {"author": "AutoModerator"}),
        ("comment_by_post_author", {"author": "ann"}),
        ("comment_by_bot", {"author": "RemindMeBot"}),
        ("comment_low_score", {"score": 1}),
        ("comment_without_score", {"score": None}),
        ("comment_hidden_score", {"score_hidden": True}),
        ("comment_without_post", {"link_id": "t3_q", "parent_id": "t3_q"}),
    ],
)
def test_a_comment_is_left_out_by_each_rule_and_counted(tmp_path: Path, reason: str, columns: dict[str, Any]) -> None:
    found, _, tally = threads(tmp_path, {"rs": [post("p")], "rc": [*TWO, comment("c3", "p", **columns)]})
    assert found == {"p": ["c1", "c2"]}
    assert tally.rejected == {reason: 1}


def test_an_edited_comment_is_taken_unless_it_is_set_otherwise(tmp_path: Path) -> None:
    files: dict[str, list[Any] | bytes] = {"rs": [post("p")], "rc": [*TWO, comment("c3", "p", edited=1500000100)]}
    assert threads(tmp_path / "a", files)[0] == {"p": ["c1", "c2", "c3"]}
    assert threads(tmp_path / "b", files, edited_comments=False)[0] == {"p": ["c1", "c2"]}


@pytest.mark.parametrize("time", [str(TIME), TIME, float(TIME)])
def test_times_may_be_text_integers_or_floats(tmp_path: Path, time: Any) -> None:
    both = [post("p", created_utc=time), *({**each, "created_utc": time} for each in TWO)]
    assert threads(tmp_path, {"all": both})[0] == {"p": ["c1", "c2"]}


def test_neither_the_order_of_files_nor_of_lines_nor_their_packing_matters(tmp_path: Path) -> None:
    rows = [post("p"), post("q", created_utc=TIME + 5), *TWO, comment("d1", "q"), comment("d2", "q", score=7)]
    long_ = zstandard.ZstdCompressionParameters.from_level(3, window_log=31, enable_ldm=True)
    expected = {"p": ["c1", "c2"], "q": ["d1", "d2"]}
    for number, order in enumerate(itertools.islice(itertools.permutations(rows), 0, 720, 61)):
        packed = zstandard.ZstdCompressor(compression_params=long_).compressobj()
        first = b"".join(json.dumps(row).encode() + b"\n" for row in order[:3])
        second = b"".join(json.dumps(row).encode() + b"\n" for row in order[3:])
        files: dict[str, list[Any] | bytes] = {
            "a.zst": packed.compress(first) + packed.flush(),
            "b.gz": gzip.compress(second),
        }
        found, _, _ = threads(tmp_path / str(number), files)
        assert list(found.items()) == list(expected.items())


def test_posts_may_come_to_light_behind_many_comments(tmp_path: Path) -> None:
    many = [comment(f"x{number}", "other", body="y" * 200) for number in range(2000)]
    found, _, tally = threads(tmp_path, {"rc": [*TWO, *many, post("p")]})
    assert found == {"p": ["c1", "c2"]}
    assert tally.rejected == {"comment_without_post": 2000}


def test_of_a_post_listed_twice_the_last_retrieved_counts(tmp_path: Path) -> None:
    rows = [post("p", score=50, retrieved_on=5), post("p", score=3, retrieved_on=9), *TWO]
    found, _, tally = threads(tmp_path / "a", {"all": rows})
    assert found == {}
    assert tally.rejected["post_listed_twice"] == 1
    rows = [post("p", score=3), post("p", score=50), *TWO]
    assert threads(tmp_path / "b", {"all": rows})[0] == {"p": ["c1", "c2"]}


def test_the_best_comments_are_kept_the_earlier_of_equal_ones(tmp_path: Path) -> None:
    rows = [comment("a", "p", score=5), comment("b", "p", created_utc=TIME + 9), comment("c", "p"), comment("d", "p")]
    found, _, tally = threads(tmp_path, {"rc": rows, "rs": [post("p")]}, max_comments=3)
    assert found == {"p": ["b", "a", "c"]}
    assert tally.rejected == {"comment_above_most": 1}


def test_broken_lines_are_faults_with_their_place(tmp_path: Path) -> None:
    lines = [json.dumps(row).encode() for row in TWO]
    lines = [lines[0], b"", b'{"id": "c9", "link', b"[1]", b"\xff", lines[1]]
    found, faults, _ = threads(tmp_path, {"rc": b"\r\n".join(lines), "rs": [post("p")]})
    assert found == {"p": ["c1", "c2"]}
    assert [fault.detail.split(" ")[0] for fault in faults] == ["rc:3:", "rc:4:", "rc:5:"]


@pytest.mark.parametrize(
    ("later", "reason"),
    [
        ({"body": "[removed]"}, "comment_deleted"),
        ({"score": 1}, "comment_low_score"),
        ({"author": None}, "comment_deleted"),
    ],
)
def test_of_a_comment_listed_twice_the_last_retrieved_counts_even_where_it_leaves_it_out(
    tmp_path: Path, later: dict[str, Any], reason: str
) -> None:
    rows = [
        comment("c1", "p", retrieved_on=100),
        *TWO[1:],
        comment("c3", "p"),
        comment("c1", "p", retrieved_on=200, **later),
    ]
    found, _, tally = threads(tmp_path, {"rc": rows, "rs": [post("p")]})
    assert found == {"p": ["c2", "c3"]}
    assert tally.rejected == {"comment_listed_twice": 1, reason: 1}


def test_a_dump_in_another_encoding_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^rc: is UTF-16, and dumps are UTF-8; convert it"):
        threads(tmp_path, {"rc": json.dumps(comment("c1", "p")).encode("utf-16"), "rs": [post("p")]})


def test_a_file_that_breaks_off_is_told_after_what_could_be_read(tmp_path: Path) -> None:
    rows = [comment(f"n{number}", "p", body=f"{number * 7919:x}" * 50) for number in range(20_000)]
    packed = zstandard.ZstdCompressor().compress(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    found, faults, _ = threads(tmp_path, {"rc.zst": packed[: len(packed) // 2], "rs": [post("p")]})
    assert len(found["p"]) == 50
    assert faults[-1].reason == "breaks_off"


def test_the_api_nests_replies_and_stubs(tmp_path: Path) -> None:
    def listing(*children: Any) -> dict[str, Any]:
        return {"kind": "Listing", "data": {"children": list(children)}}

    below = {"kind": "t1", "data": comment("c3", "p", parent_id="t1_c1", replies="")}
    more = {"kind": "more", "data": {"count": 12, "children": ["x"]}}
    first = {"kind": "t1", "data": {**TWO[0], "replies": listing(below, more)}}
    answer = [listing({"kind": "t3", "data": post("p")}), listing(first, {"kind": "t1", "data": TWO[1]})]
    found, _, tally = threads(tmp_path, {"api.json": json.dumps(answer, indent=1).encode()})
    assert found == {"p": ["c1", "c2"]}
    assert tally.rejected == {"comment_not_top_level": 1, "comments_not_listed": 1}
    assert "12 comments" in tally.notes[0]


def test_a_month_of_dead_scores_is_refused_unless_forced(tmp_path: Path) -> None:
    rows = [post("p"), *TWO, *(comment(f"n{number}", "p", score=1) for number in range(600))]
    with pytest.raises(InputError, match=r"2017-07 \(100% of 602 comments have the score 1\)"):
        threads(tmp_path / "a", {"all": rows})
    assert threads(tmp_path / "b", {"all": rows}, dead_scores="keep")[0] == {"p": ["c1", "c2"]}


def test_a_thread_becomes_a_ranking_with_clean_text() -> None:
    columns = {
        **{"id": "p", "community": "changemyview", "title": "CMV: cats &gt; dogs", "body": "ELI5: why?", "score": 12},
        **{"created": TIME, "author": "ann", "edited": "false"},
        "comments": [
            {
                **{"id": "c", "author": "bo", "score": 3, "created": TIME + 1, "edited": "true"},
                "body": "See [this](https://a.org/x_(y)?q=1&amp;z=2) and https://b.org, a &amp;lt; b\0",
            }
        ],
    }
    (found,) = converted("reddit", columns)
    assert isinstance(found, Ranking)
    assert found.prompt[0].text == "Change my view that cats > dogs\n\nExplain like I'm five: why?"
    (reply,) = found.replies
    assert reply.message.text == "See this and https://b.org, a &lt; b\0"
    assert (reply.score, reply.facts) == (3.0, {"id": "c", "author": "bo", "created": TIME + 1, "edited": True})
    assert found.family == "post changemyview/p"


def test_the_sample_shows_what_is_left_out(tmp_path: Path) -> None:
    files: dict[str, list[Any] | bytes] = {path.name: path.read_bytes() for path in SAMPLE.iterdir()}
    found, faults, tally = threads(tmp_path, files)
    assert found == {"b01": ["c02", "c01", "c03"], "b02": ["c09", "c08"], "b03": ["c12", "c11"]}
    assert (len(faults), tally.read) == (1, 25)
