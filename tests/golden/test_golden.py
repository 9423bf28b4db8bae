"""What is trained, in files that a person reviews: trained text stands in ⟦ ⟧.

`pytest --regold` writes them anew; the commit then says why they changed.
"""

import json
from pathlib import Path

import pytest

from dataforge.bases import BaseTokenizer, load_tokenizer
from dataforge.preview import show
from dataforge.records import Chat, Message, Origin
from dataforge.render import Rendering, render
from dataforge.templates import ChatTemplate
from dataforge.tokenize import Encoded, encode, stop_tokens

HERE = Path(__file__).parent
CONVERSATIONS = json.loads((HERE / "conversations.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tokenizer(tiny_base: Path) -> BaseTokenizer:
    return load_tokenizer(str(tiny_base))


@pytest.mark.parametrize("case", CONVERSATIONS)
def test_what_is_trained_is_what_was_reviewed(
    case: str, tokenizer: BaseTokenizer, request: pytest.FixtureRequest
) -> None:
    messages = tuple(Message(role, content) for role, content in CONVERSATIONS[case])
    template = ChatTemplate(tokenizer.template or "", tokenizer.variables)
    rendering = render(Chat(case, Origin("golden", "conversations.json", 0, 1), messages), template)
    assert isinstance(rendering, Rendering)
    stops = set(stop_tokens(template, tokenizer.encoder, tokenizer.control_tokens).values())
    (encoded,) = encode([rendering], tokenizer.encoder, stops, "all_turns")
    assert isinstance(encoded, Encoded)
    text = ""
    for row in encoded.rows:
        shown = show(row.id, row.input_ids.tolist(), row.mask.tolist(), tokenizer.encoder)
        marked = "".join(f"⟦{run.text}⟧" if run.trained else run.text for run in shown.runs)
        text += f"--- row {row.id}: {shown.tokens} tokens, {shown.trained_tokens} trained\n{marked}\n"
    path = HERE / "chatml" / f"{case}.txt"
    if request.config.getoption("--regold"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == text
