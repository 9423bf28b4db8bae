"""Stack Exchange's dumps become rankings, held against a reading of the same XML without a database."""

import io
import json
from collections import Counter
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dataforge import check, config, preview, xml_rows
from dataforge.assembly import Assembly
from dataforge.build import build
from dataforge.content import Fault
from dataforge.errors import InputError
from dataforge.export import export
from dataforge.records import Origin, Ranking, Reject, Row
from dataforge.sources import stackexchange

CORPUS = Path(__file__).parent.parent.parent / "samples" / "corpora" / "stackexchange"
RECIPE = CORPUS.parent.parent / "recipes" / "stackexchange.yaml"
SITE = "tea.example.org"
ALL: dict[str, Any] = {
    **{"site": SITE, "min_post_score": None, "zero_scores": True, "deleted_users": True, "own_answers": True},
    **{"edited_after_answer": True, "max_answers": 1000},
}
"""Settings that leave nothing out for what it is."""


def question(number: int, **more: Any) -> dict[str, Any]:
    return post(number, PostTypeId=1, Title=f"Title {number}", **more)


def answer(number: int, parent: int, **more: Any) -> dict[str, Any]:
    return post(number, PostTypeId=2, ParentId=parent, **more)


def post(number: int, **more: Any) -> dict[str, Any]:
    made = {"Id": number, "CreationDate": f"2020-01-01T00:00:{number % 60:02}.500", "Score": 7, "OwnerUserId": number}
    return {**made, "Body": f"<p>Body {number}</p>", **more}


def written(kind: str, rows: Sequence[dict[str, Any]]) -> bytes:
    """A dump's file as Stack Exchange writes it."""
    lines = [
        "  <row " + " ".join(f"{k}={quoteattr(str(v), {chr(10): '&#xA;'})}" for k, v in row.items() if v is not None)
        for row in rows
    ]
    text = f'<?xml version="1.0" encoding="utf-8"?>\n<{kind}>\n' + "".join(f"{line} />\n" for line in lines)
    return text.encode("utf-8-sig") + f"</{kind}>\n".encode()


def assembled(folder: Path, files: dict[str, bytes], **said: Any) -> tuple[list[Any], Assembly]:
    """The rows and faults that are made of some files, and what was counted."""
    folder.mkdir(exist_ok=True, parents=True)
    places = []
    for number, (name, content) in enumerate(sorted(files.items())):
        place = folder / str(number)
        place.write_bytes(content)
        places.append((name, place))
    tally = Assembly()
    rows = list(stackexchange.assemble(places, stackexchange.Settings(**said), folder, tally))
    assert [number for number, _ in rows] == list(range(1, len(rows) + 1))
    tally.check(len(rows))
    return [row for _, row in rows], tally


def ranking(columns: dict[str, Any]) -> Ranking:
    made = stackexchange.convert(Row("id", Origin("s", "f", 0, 1), columns), stackexchange.Settings())
    assert isinstance(made, Ranking)
    return made


def test_a_question_and_its_answers_say_all_that_is_known_of_them(tmp_path: Path) -> None:
    posts = [
        question(
            1, Tags="<a-b><c>", AcceptedAnswerId=4, Body="<p>Why <em>me</em>?</p>", LastEditDate="2020-01-01T00:00:02"
        ),
        answer(4, 1, Score=9, OwnerUserId=12, Body="<pre><code>x &lt; y</code></pre>", ContentLicense="CC BY-SA 4.0"),
        answer(3, 1, Score=-2, CreationDate="2010-05-01T00:00:00.000", OwnerUserId=None, OwnerDisplayName="user5"),
    ]
    users = [{"Id": 12, "DisplayName": "Änne"}, {"Id": -1, "DisplayName": "Community"}]
    files = {"Posts.xml": written("posts", posts), "Users.xml": written("users", users)}
    (row,), tally = assembled(tmp_path, files, **ALL)
    made = ranking(row)
    assert [(message.role, message.content) for message in made.prompt] == [("user", "Title 1\n\nWhy *me*?")]
    assert made.family == f"post {SITE}/1"
    assert made.facts == {
        **{"post": "1", "community": SITE, "score": 7, "created": 1577836801, "edited": 1577836802, "author": "1"},
        **{"url": f"https://{SITE}/q/1", "licence": "CC BY-SA 4.0", "tags": ["a-b", "c"]},
        "attribution": {
            **{"author": "user 1", "url": f"https://{SITE}/q/1", "licence": "CC BY-SA 4.0"},
            "profile": f"https://{SITE}/users/1",
        },
    }
    first, second = made.replies
    assert (first.score, first.message.content, first.message.role) == (-2.0, "Body 3", "assistant")
    assert first.facts["author"] == first.facts["attribution"]["author"] == "user5"
    assert (first.facts["licence"], first.facts["accepted"], first.facts["created"]) == (
        "CC BY-SA 2.5",
        False,
        1272672000,
    )
    assert (second.score, second.message.content) == (9.0, "```\nx < y\n```")
    assert (second.facts["accepted"], second.facts["author"], second.facts["id"]) == (True, "12", "4")
    assert second.facts["attribution"] == {
        **{"author": "Änne", "url": f"https://{SITE}/a/4", "licence": "CC BY-SA 4.0"},
        "profile": f"https://{SITE}/users/12",
    }
    assert tally.counts() == {"read": 3, "passed": 1, "joined": 2, "rejected": {}}


@pytest.mark.parametrize(
    ("changed", "said", "reason"),
    [
        ({"Score": 4}, {"min_post_score": 5}, "low_post_score"),
        ({"ClosedDate": "2020-02-01T00:00:00.000"}, {"closed": False}, "closed"),
        ({"CommunityOwnedDate": "2020-02-01T00:00:00.000"}, {"community_wiki": False}, "community_wiki"),
        ({"OwnerUserId": None}, {"deleted_users": False}, "deleted_user"),
        ({"OwnerUserId": -1}, {"deleted_users": False}, "deleted_user"),
        ({"CreationDate": "2019-12-31T23:59:59.999"}, {"after": date(2020, 1, 1)}, "too_early"),
        ({"CreationDate": "2020-01-02T00:00:00.000"}, {"before": date(2020, 1, 2)}, "too_late"),
        ({"Body": "<p> </p>\n"}, {}, "empty_body"),
    ],
)
def test_a_question_that_does_not_count_is_counted(
    tmp_path: Path, changed: dict[str, Any], said: dict[str, Any], reason: str
) -> None:
    posts = [question(1), answer(2, 1), answer(3, 1), question(11, **changed), answer(12, 11), answer(13, 11)]
    rows, tally = assembled(tmp_path, {"Posts.xml": written("posts", posts)}, **{**ALL, **said})
    assert [row["id"] for row in rows] == [1]
    assert tally.rejected == {reason: 1, "question_left_out": 2}


@pytest.mark.parametrize(
    ("changed", "said", "reason"),
    [
        ({"Score": 1}, {"min_score": 2}, "low_score"),
        ({"Score": 0}, {"zero_scores": False}, "zero_score"),
        ({"OwnerUserId": 1}, {"own_answers": False}, "own_answer"),
        ({"OwnerUserId": None}, {"deleted_users": False}, "deleted_user"),
        ({"CommunityOwnedDate": "2020-02-01T00:00:00.000"}, {"community_wiki": False}, "community_wiki"),
        ({"CreationDate": "2020-01-01T00:00:01.900"}, {"edited_after_answer": False}, "question_edited_since"),
        ({"LastEditDate": "2020-02-01T00:00:00.000"}, {"edited_answers": False}, "edited"),
        ({"Body": ""}, {}, "empty_body"),
        ({"ParentId": 99}, {}, "orphan"),
        ({"PostTypeId": 5}, {}, "post_type_5"),
        ({"Score": 6}, {"max_answers": 2}, "over_max_answers"),
        ({"Id": 3, "Score": 1}, {}, "listed_twice"),
    ],
)
def test_an_answer_that_does_not_count_is_counted(
    tmp_path: Path, changed: dict[str, Any], said: dict[str, Any], reason: str
) -> None:
    asked = question(1, LastEditDate="2020-01-01T00:00:02.000")
    posts = [asked, {**answer(2, 1), **changed}, answer(3, 1), answer(4, 1)]
    (row,), tally = assembled(tmp_path, {"Posts.xml": written("posts", posts)}, **{**ALL, **said})
    assert [(each["id"], each["score"]) for each in row["answers"]] == [(3, 7), (4, 7)]
    assert tally.counts() == {"read": 4, "passed": 1, "joined": 2, "rejected": {reason: 1}}


def test_answers_stand_in_the_order_of_time_and_a_picture_is_an_answer(tmp_path: Path) -> None:
    picture = '<p><img src="a.png"></p>'
    posts = [question(1), answer(5, 1), answer(2, 1, CreationDate="2020-01-02T00:00:00", Body=picture), answer(3, 1)]
    (row,), _ = assembled(tmp_path, {"Posts.xml": written("posts", posts)}, **ALL)
    assert [reply.facts["id"] for reply in ranking(row).replies] == ["3", "5", "2"]
    assert ranking(row).replies[2].message.content == "![](a.png)"


def test_a_history_tells_edits_of_text_from_those_of_tags(tmp_path: Path) -> None:
    posts = [question(1, LastEditDate="2020-03-01T00:00:00.000"), answer(2, 1), answer(3, 1)]
    edits = [{"PostHistoryTypeId": kind, "PostId": 1, "CreationDate": "2020-02-01T00:00:00.000"} for kind in (1, 6, 24)]
    files = {"Posts.xml": written("posts", posts), "PostHistory.xml": written("posthistory", edits)}
    (row,), _ = assembled(tmp_path / "a", files, **{**ALL, "edited_after_answer": False})
    assert row["edited"] is None
    edits.append({"PostHistoryTypeId": 5, "PostId": 1, "CreationDate": "2020-01-01T00:00:03.000"})
    files["PostHistory.xml"] = written("posthistory", edits)
    rows, tally = assembled(tmp_path / "b", files, **{**ALL, "edited_after_answer": False})
    assert (rows, tally.rejected) == ([], {"question_edited_since": 1, "too_few_answers": 2})


def test_sites_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    posts = [question(1), answer(2, 1), answer(3, 1)]
    names = [{"Id": 1, "DisplayName": "of coffee"}]
    files = {
        "dumps/tea.example.org/Posts.xml": written("posts", posts[::-1]),
        "dumps/coffee.example.org/Posts.xml": written("posts", posts),
        "dumps/coffee.example.org/Users.xml": written("users", names),
        "dumps/coffee.example.org/Badges.xml": written("badges", names),
    }
    rows, tally = assembled(tmp_path, files, **{**ALL, "site": None})
    assert [(row["site"], row["name"]) for row in rows] == [("coffee.example.org", "of coffee"), (SITE, None)]
    assert [[each["id"] for each in row["answers"]] for row in rows] == [[2, 3], [2, 3]]
    assert [note.split(":")[0] for note in tally.notes] == ["dumps/coffee.example.org/Badges.xml", SITE]


@pytest.mark.parametrize(
    ("name", "content", "said", "sentence"),
    [
        ("Posts.xml", written("posts", []), {}, "Posts.xml: of which site? "),
        ("x.example.org/Posts.xml", written("posts", []), {"site": SITE}, "lies in a folder of another site"),
        ("Users.xml", written("users", []), {"site": SITE}, "Users.xml: has no posts"),
        ("x.7z", b"7z\xbc\xaf\x27\x1c\x00\x04", {"site": SITE}, "x.7z: is packed by 7-Zip; unpack it"),
    ],
)
def test_a_file_that_does_not_serve_is_an_error(
    tmp_path: Path, name: str, content: bytes, said: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(InputError) as caught:
        assembled(tmp_path, {name: content}, **said)
    assert sentence in str(caught.value)


def test_xml_that_breaks_in_the_middle_gives_what_can_be_read(tmp_path: Path) -> None:
    posts = [question(1), answer(2, 1), answer(3, 1), answer(4, 1), question(5), answer(6, 5), answer(7, 5)]
    whole = written("posts", posts)
    broken = whole.replace(b"Body 4", b"Body \x00").replace(
        b'Score="7" OwnerUserId="5"', b'Score="many" OwnerUserId="5"'
    )
    rows, tally = assembled(tmp_path / "a", {"Posts.xml": broken}, **ALL)
    assert [answer["id"] for answer in rows[0]["answers"]] == [2, 3]
    assert [row.detail.partition(" (")[0] for row in rows[1:]] == [
        "Posts.xml: what stands in line 6 is no XML",
        "Posts.xml: the row in line 7 is no post: invalid literal for int() with base 10: 'many'",
    ]
    assert tally.rejected == {"orphan": 2}
    (said,) = (note for note in tally.notes if "cannot be read" in note)
    assert said.startswith("what cannot be read is rejected (2 places); the first: Posts.xml: what stands in line 6")
    cut = whole[: whole.index(b'Id="6"') + 60]
    rows, _ = assembled(tmp_path / "b", {"Posts.xml": cut}, **ALL)
    assert [row["id"] for row in rows[:1]] == [1]
    assert rows[1] == Fault("broken_xml", "Posts.xml: ends in line 8, before the XML does")


OPENING = b"\xef\xbb\xbf<?xml version='1.0'?>\n<posts>\n"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (b"<row a='1' />\n<row a='2' />\n</posts>\n", {3: "1", 4: "2"}),
        (b"<row a='1\n<row a='2' />\n<row a='3' />\n</posts>", {3: Fault, 4: "2", 5: "3"}),
        (b"<row a='&#x1B;' />\n<row a='2' />\n</posts>", {3: Fault, 4: "2"}),
        (b"<row a='1' a='1' />\nrubbish & more\n<row a='2' />\n</posts>", {3: Fault, 4: Fault, 5: "2"}),
        (b"<row\n a='1'\n/>\n<row a='\xff' />\n<row a='2' />\n</posts>", {3: "1", 6: Fault, 7: "2"}),
        (b"<row a='1' />\n<row a='2", {3: "1", 4: Fault}),
        (b"<row a='1' />\n", {3: "1", 4: Fault}),
    ],
)
def test_rows_are_read_on_behind_a_broken_one(text: bytes, wanted: dict[int, Any]) -> None:
    found = dict(xml_rows.read(io.BufferedReader(io.BytesIO(OPENING + text)), "f"))
    assert {line: Fault if isinstance(row, Fault) else row["a"] for line, row in found.items()} == wanted


def test_a_file_of_rubbish_is_an_error() -> None:
    with pytest.raises(InputError, match="is it another file"):
        list(xml_rows.read(io.BufferedReader(io.BytesIO(OPENING + b"a & b\n" * 2000)), "f"))


SCORES = st.integers(-2, 3)
OWNERS = st.sampled_from([None, -1, 1, 2, 3, 4, 5, 6, 7])
TIMES = st.integers(0, 5).map(lambda second: f"2020-01-01T00:00:0{second}.000")


@st.composite
def dumps(draw: st.DrawFn) -> list[dict[str, Any]]:
    posts = []
    for number in range(1, draw(st.integers(4, 16))):
        made = post(number, Score=draw(SCORES), OwnerUserId=draw(OWNERS), CreationDate=draw(TIMES))
        if draw(st.booleans()):
            made["LastEditDate"] = draw(TIMES)
        if number > 2 and draw(st.integers(0, 5)):
            made |= {"PostTypeId": 2, "ParentId": draw(st.integers(1, 3))}
        else:
            made |= {"PostTypeId": 1, "Title": "T"}
        posts.append(made)
    return draw(st.permutations(posts))


def expected(posts: bytes, said: dict[str, Any]) -> list[tuple[int, list[int]]]:
    """Questions with their answers by the rules, read by another library and compared one by one."""
    rows = [dict(row.attrib) for row in ElementTree.fromstring(posts)]
    threads = []
    for asked in sorted((row for row in rows if row["PostTypeId"] == "1"), key=lambda row: int(row["Id"])):
        owned = int(asked.get("OwnerUserId", -1)) > 0
        if int(asked["Score"]) < said["min_post_score"] or not (owned or said["deleted_users"]):
            continue
        kept = []
        for row in rows:
            mine = int(row.get("OwnerUserId", -1))
            if row["PostTypeId"] != "2" or row["ParentId"] != asked["Id"]:
                continue
            if mine < 0 and not said["deleted_users"]:
                continue
            if mine > 0 and row.get("OwnerUserId") == asked.get("OwnerUserId") and not said["own_answers"]:
                continue
            if row["Score"] == "0" and not said["zero_scores"]:
                continue
            if not said["edited_after_answer"] and row["CreationDate"] < asked.get("LastEditDate", ""):
                continue
            kept.append(row)
        kept.sort(key=lambda row: (-int(row["Score"]), row["CreationDate"], int(row["Id"])))
        if len(kept) >= 2:
            best = sorted(kept[: said["max_answers"]], key=lambda row: (row["CreationDate"], int(row["Id"])))
            threads.append((int(asked["Id"]), [int(row["Id"]) for row in best]))
    return threads


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    posts=dumps(),
    said=st.fixed_dictionaries(
        {
            "min_post_score": st.integers(-2, 1),
            "max_answers": st.integers(2, 4),
            **{key: st.booleans() for key in ("zero_scores", "deleted_users", "own_answers", "edited_after_answer")},
        }
    ),
)
def test_any_dump_gives_the_threads_that_the_rules_say(
    tmp_path: Path, posts: list[dict[str, Any]], said: dict[str, Any]
) -> None:
    content = written("posts", posts)
    rows, tally = assembled(tmp_path, {"Posts.xml": content}, site=SITE, **said)
    assert [(row["id"], [each["id"] for each in row["answers"]]) for row in rows] == expected(content, said)
    assert tally.read == len(posts)


def test_html_that_is_too_deep_rejects_the_thread() -> None:
    deep = {"id": 2, "score": 1, "created": 1, "edited": None, "owner": 1, "name": None, "licence": "x", "body": "<p>"}
    asked = {**deep, "site": SITE, "title": "T", "accepted": None, "tags": []}
    columns = {**asked, "answers": [{**deep, "body": "<ul><li>" * 600 + "x"}]}
    made = stackexchange.convert(Row("id", Origin("s", "f", 0, 1), columns), stackexchange.Settings())
    assert isinstance(made, Reject)
    assert (made.reason, made.detail.startswith("answer 2 is HTML")) == ("deep_html", True)


def test_the_sample_becomes_pairs_with_whom_to_credit(tmp_path: Path, tiny_base: Path) -> None:
    overrides = (f"tokenizer={tiny_base}", "chat=chatml", "missing_tokens=as_text", "max_tokens=100000")
    made = build(config.load(RECIPE, overrides), tmp_path / "b", lambda text: None)
    first = made.manifest.funnel[0]
    assert (first.stage, first.read, first.passed, first.joined) == ("threads", 15, 3, 7)
    assert Counter(first.rejected) == Counter(
        deleted_user=1, own_answer=1, post_type_4=1, question_edited_since=1, question_left_out=1
    )
    assert not list(check.faults(tmp_path / "b"))


def test_an_export_carries_whom_to_credit_or_says_that_it_does_not(tmp_path: Path, tiny_base: Path) -> None:
    overrides = (f"tokenizer={tiny_base}", "chat=chatml", "missing_tokens=as_text", "max_tokens=100000", "split.eval=0")
    build(config.load(RECIPE, overrides), tmp_path / "b", lambda text: None)
    for target in ("jsonl", "trl"):
        export(str(tmp_path / "b"), target, tmp_path / target, lossy=False, force=False)
    lines = (tmp_path / "jsonl/data/train.jsonl").read_bytes().splitlines()
    named = [json.loads(line)["facts"]["attribution"] for line in lines]
    assert [set(whom) for whom in named] == [{"prompt", "chosen", "rejected"}] * 4
    assert {whom["licence"] for each in named for whom in each.values()} == {"CC BY-SA 3.0", "CC BY-SA 4.0"}
    assert all(whom["url"].startswith("https://tea.example.org/") for each in named for whom in each.values())
    whole, left_out = ((tmp_path / target / "README.md").read_text(encoding="utf-8") for target in ("jsonl", "trl"))
    assert "| 4 records name theirs, in `facts` |" in whole
    assert "| 4 records name theirs, which this shape leaves out |" in left_out
    assert "author, link and licence of 4 records (kept by jsonl)" in left_out


def test_where_no_thread_is_left_the_rules_that_left_them_out_are_told(tmp_path: Path, tiny_base: Path) -> None:
    recipe = config.load(RECIPE, (f"tokenizer={tiny_base}", "sources.0.min_post_score=1000"))
    told = (
        r"^tea.example.org/Posts.xml, .*: of the 15 records in them no thread is left \(question_left_out 10, low_post"
    )
    with pytest.raises(InputError, match=told):
        build(recipe, tmp_path / "b", lambda text: None)
    with pytest.raises(InputError, match=told):
        preview.of_recipe(recipe, 1)


def test_a_dump_without_posts_holds_no_records(tmp_path: Path, tiny_base: Path) -> None:
    (tmp_path / "Posts.xml").write_bytes(OPENING + b"</posts>\n")
    source = f"sources=[{{use: stackexchange, path: {tmp_path}/Posts.xml, site: {SITE}}}]"
    with pytest.raises(InputError, match=r"^Posts.xml: holds no records$"):
        build(config.load(RECIPE, (f"tokenizer={tiny_base}", source)), tmp_path / "b", lambda text: None)
