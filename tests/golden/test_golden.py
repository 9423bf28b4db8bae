"""What is trained, in files that a person reviews: trained text stands in ⟦ ⟧.

`pytest --regold` writes them anew; the commit then says why they changed.
"""

import itertools
import json
from pathlib import Path

import pytest

from dataforge.bases import BaseTokenizer
from dataforge.preview import show
from dataforge.records import Chat, Message, Origin
from dataforge.tokenize import Encoded
from tests.formats import encoded

HERE = Path(__file__).parent
CONVERSATIONS = json.loads((HERE / "conversations.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_what_is_trained_is_what_was_reviewed(
    case: str, tokenizer: BaseTokenizer, request: pytest.FixtureRequest
) -> None:
    messages = tuple(Message(role, content) for role, content in CONVERSATIONS[case])
    result = encoded(Chat(case, Origin("golden", "conversations.json", 0, 1), messages), "tokenizer", tokenizer)
    assert isinstance(result, Encoded)
    text = ""
    for row in result.rows:
        shown = show(row.id, row.input_ids.tolist(), row.mask.tolist(), tokenizer.encoder, ())
        runs = itertools.groupby(shown.tokens, key=lambda token: token.trained)
        texts = [(trained, "".join(token.text for token in run)) for trained, run in runs]
        marked = "".join(f"⟦{part}⟧" if trained else part for trained, part in texts)
        text += f"--- row {row.id}: {len(shown.tokens)} tokens, {shown.trained} trained\n{marked}\n"
    path = HERE / "chatml" / f"{case}.txt"
    if request.config.getoption("--regold"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
