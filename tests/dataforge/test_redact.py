"""What is redacted and what only looks like it; every text of every kind of record is looked at.

Keys, numbers and addresses are made up here, from pieces, so that nobody takes them for real ones.
"""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataforge import record_table
from dataforge.personal import KINDS
from dataforge.records import (
    Chat,
    Example,
    Message,
    Origin,
    Preference,
    Prompt,
    Ranking,
    Record,
    Reply,
    Text,
    ToolCall,
)
from dataforge.steps import redact
from tests.context import CONTEXT

AT = Origin("corpus", "corpus.jsonl", 0, 1)
MAIL = "mara.lind" + "@" + "example.org"


def resident(first: str) -> str:
    """17 digits with the check digit that the standard's table of weights gives."""
    weights = (7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2)
    total = sum(int(digit) * weight for digit, weight in zip(first, weights, strict=True))
    return first + "10X98765432"[total % 11]


def luhn(first: str) -> str:
    """Digits with the last one that makes the check, found by trying all ten."""

    def passes(number: str) -> bool:
        total = 0
        for place, digit in enumerate(reversed(number)):
            value = int(digit) * (2 if place % 2 else 1)
            total += value // 10 + value % 10
        return total % 10 == 0

    return next(first + digit for digit in "0123456789" if passes(first + digit))


def redacted(text: str, **said: Any) -> str:
    record = Text("t", AT, text)
    found = redact.start("redact", redact.Settings(**said), CONTEXT).take(record)
    assert isinstance(found, Text)
    return found.text


CARD = luhn("451623004417200")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"Write to {MAIL}.", "Write to [EMAIL]."),
        (f"请发邮件到{MAIL}，谢谢", "请发邮件到[EMAIL]，谢谢"),
        ("Ring +44 20 7946 0958 now", "Ring [PHONE] now"),
        ("Ring +1 (415) 555-2671", "Ring [PHONE]"),
        ("(415) 555-2671 or 415-555-2671", "[PHONE] or [PHONE]"),
        ("电话13812345678。", "电话[PHONE]。"),
        ("手机：138 1234 5678，座机：010-62345678", "手机：[PHONE]，座机：[PHONE]"),
        ("（0571）87654321", "[PHONE]"),
        ("+86 138-1234-5678", "[PHONE]"),
        ("server 93.184.216.34:8080", "server [IP]:8080"),
        ("from 2606:2800:220:1:248:1893:25c8:1946 today", "from [IP] today"),
        (f"身份证号{resident('11010519491231002')}。", "身份证号[ID]。"),
        (f"card {CARD}, thanks", "card [CARD], thanks"),
        (f"card {CARD[:4]} {CARD[4:8]} {CARD[8:12]} {CARD[12:]}", "card [CARD]"),
        ("SSN 219-09-9999", "SSN [SSN]"),
        ("OPENAI=" + "sk-" + "proj-" + "a1B2" * 8, "OPENAI=[KEY]"),
        ("token " + "gh" + "p_" + "x9" * 18, "token [KEY]"),
        ("密钥" + "AK" + "IA" + "ABCD1234" * 2, "密钥[KEY]"),
        ("-----BEGIN RSA PRIVATE" + " KEY-----\nMIIE\nabc\n-----END RSA PRIVATE KEY-----!", "[KEY]!"),
        ("jwt ey" + "JhbGciOiJIUzI1NiJ9.ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0." + "abc_def-ghi123", "jwt [KEY]"),
    ],
)
def test_what_belongs_to_somebody_is_replaced(text: str, wanted: str) -> None:
    assert redacted(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "version 1.2.3.4 and v10.20.30.40",
        "版本号：93.184.216.34",
        "127.0.0.1, 0.0.0.0, 192.168.1.7, 10.0.0.1",
        "1.2.3.4.5 is a section",
        "999.184.216.34",
        "at 12:30:45 on 2024-10-05, std::vector<int>, a::b, ::1",
        "3.14159265358979 and 2718281828459045",
        "id 110105194912310021",  # a wrong check digit
        "order 4516230044172001",  # fails Luhn's check
        "000-12-3456, 666-12-3456, 123-00-4567",
        "2024-11-05 to 2025-01-31, pages 100-200, ISBN 978-7-111-12345-6",
        "12345678901",
        "user@localhost, @mention, a@b",
        "sk-learn is not a key, hf_hub neither",
        "x = 1000000007 * 998244353",
        "",
    ],
)
def test_what_only_looks_like_it_stays(text: str) -> None:
    assert redacted(text) == text


def test_a_check_digit_decides() -> None:
    whole = resident("11010519491231002")
    for last in "0123456789X":
        assert (redacted(whole[:17] + last, kinds=["id"]) == "[ID]") == (last == whole[17])
    for last in "0123456789":
        assert (redacted(CARD[:15] + last, kinds=["card"]) == "[CARD]") == (last == CARD[15])


def test_kinds_and_placeholders_are_settable() -> None:
    text = f"{MAIL} 13812345678"
    assert redacted(text, kinds=["phone"]) == f"{MAIL} [PHONE]"
    assert redacted(text, placeholders={"email": "<m\\1>", "phone": ""}) == "<m\\1> "


def test_a_placeholder_of_what_is_not_looked_for_is_refused() -> None:
    with pytest.raises(ValueError, match="'email', which is not looked for; add it to `kinds:`"):
        redact.Settings(kinds=("ip",), placeholders={"email": "x"})


ASKED = Message("user", f"q {MAIL}", input=MAIL)
CALLING = Message("assistant", None, None, None, MAIL, (ToolCall("send", {"to": [MAIL, {"cc": MAIL}]}, "c"),))
RECORDS: list[Record] = [
    Chat(
        "1",
        AT,
        (ASKED, CALLING, Message("tool", MAIL, tool_call_id="c")),
        tools=({"name": "send", "description": MAIL},),
        template_kwargs={"documents": [MAIL]},
        facts={"author": MAIL},
    ),
    Example("2", AT, "nli", {"premise": MAIL, "labels": [1, MAIL]}),
    Ranking("3", AT, (ASKED,), (Reply(Message("assistant", MAIL), replies=(Reply(Message("user", MAIL)),)),)),
    Preference("4", AT, (ASKED,), (Message("assistant", MAIL),), (Message("assistant", MAIL),)),
    Text("5", AT, MAIL, MAIL),
    Prompt("6", AT, (ASKED,)),
]


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: type(record).__name__)
def test_every_text_of_every_kind_is_looked_at_and_counted(record: Record) -> None:
    step = redact.start("redact", redact.Settings(), CONTEXT)
    found = step.take(record)
    before, after = (
        json.dumps(record_table.to_table([each]).to_pylist(), default=bytes.decode) for each in (record, found)
    )
    # A message's `input` stands in the content as well.
    assert MAIL not in after
    assert after.count("[EMAIL]") == before.count(MAIL)
    assert (found.id, found.origin, type(found)) == (record.id, record.origin, type(record))
    counted = step.noted()
    assert counted["records"] == 1
    assert counted["email"] >= 1
    assert step.take(found) is found
    assert not step.noted()


@given(st.text(), st.sampled_from([MAIL, "13812345678", CARD]), st.text())
def test_it_is_found_among_any_text_that_does_not_touch_it(before: str, what: str, after: str) -> None:
    assert what not in redacted(f"{before} ， {what} ， {after}")


def test_all_kinds_have_a_pattern_and_a_name() -> None:
    assert sorted(KINDS) == sorted(redact.Settings().kinds)
