from pathlib import Path

import pytest

from dataforge.errors import ConfigError
from trainkit.verdict import Answers, General, Questions, ask, holds_phrase, judge, read_questions

NAMES = ["Forge", "呱唧"]
QUESTIONS = Questions(
    identity=[f"who {n}" for n in range(8)],
    other_system="You sell boats.",
    names=NAMES,
    general=[General(ask=f"what {n}", accept=["yes", "five"]) for n in range(10)],
)


@pytest.mark.parametrize(
    ("text", "phrase", "found"),
    [
        ("I am Forge.", "forge", True),
        ("I forget.", "forge", False),
        ("reforge it", "forge", False),
        ("我是Forge。", "Forge", True),
        ("我叫呱唧,是个助手", "呱唧", True),
        ("it is 24", "4", False),
        ("it is 4.", "4", True),
        ("da  Vinci", "da Vinci", False),
        ("twenty-four hours", "twenty-four", True),
        ("Forge", "Forge", True),
        ("the café", "caf", False),
        ("C++ is fine", "C++", True),
    ],
)
def test_a_phrase_is_found_as_whole_words(text: str, phrase: str, found: bool) -> None:
    assert holds_phrase(text, phrase) is found


def answers(named: int, other: int, right: int, leaks: int = 0) -> Answers:
    return Answers(
        identity=["I am Forge"] * named + ["I am me"] * (8 - named),
        identity_other=["由呱唧训练"] * other + ["I am me"] * (8 - other),
        general=["yes, said Forge"] * leaks + ["yes"] * (right - leaks) + ["no"] * (10 - right),
    )


@pytest.mark.parametrize(
    ("base", "tuned", "holds"),
    [
        (answers(0, 0, 8), answers(8, 8, 8), True),
        (answers(0, 0, 8), answers(7, 7, 7), True),
        (answers(0, 0, 8), answers(6, 8, 8), False),
        (answers(0, 0, 8), answers(8, 6, 8), False),
        (answers(0, 0, 8), answers(8, 8, 6), False),
        (answers(0, 0, 8), answers(8, 8, 10, leaks=1), False),
    ],
)
def test_the_verdict_holds_where_the_name_is_learned_and_little_is_lost(
    base: Answers, tuned: Answers, holds: bool
) -> None:
    verdict = judge(QUESTIONS, NAMES, base, tuned)
    assert verdict.holds is holds
    assert len(verdict.rows) == 4


def test_each_answer_that_fails_is_shown() -> None:
    verdict = judge(QUESTIONS, NAMES, answers(0, 0, 10), answers(7, 8, 9, leaks=1))
    assert [(failure.what, failure.question) for failure in verdict.failures] == [
        ("names itself", "who 7"),
        ("general questions", "what 9"),
        ("general answers without the name", "what 0"),
    ]


def test_identity_is_asked_under_both_system_messages() -> None:
    asked: list[object] = []

    def model(conversations: object) -> list[str]:
        asked.extend(conversations)  # type: ignore[call-overload]
        return [str(number) for number in range(len(asked))]

    said = ask(QUESTIONS, model)
    assert asked[0] == [{"role": "user", "content": "who 0"}]
    assert asked[8] == [{"role": "system", "content": "You sell boats."}, {"role": "user", "content": "who 0"}]
    assert (said.identity[0], said.identity_other[0], said.general) == ("0", "8", [str(n) for n in range(16, 26)])


def test_a_file_of_questions_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "questions.yaml"
    text = "identity: [who?]\nother_system: x\nnames: [Forge]\ngeneral:\n  - {ask: q, accept: [a]}\n"
    path.write_text(text, encoding="utf-8")
    assert read_questions(path).general[0].accept == ["a"]
    path.write_text(text.replace("accept", "acept"), encoding="utf-8")
    with pytest.raises(ConfigError, match=r"questions\.yaml:5: general\[0\]\.acept.*did you mean 'accept'"):
        read_questions(path)
