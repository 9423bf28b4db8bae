"""The conversations of the preparation benchmark, in the forms that its contenders begin with."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dataforge import bases
from dataforge.chat_format import ChatFormat
from dataforge.records import Chat
from dataforge.render import Rendering
from tests.bench.mask_speed import numbered, read_conversations

BASE = "smollm2-135m"
WINDOW = 1024


@dataclass(frozen=True)
class Corpus:
    """The same conversations as files."""

    base: Path
    """The folder of the tokenizer and its chat template."""
    conversations: Path
    """JSONL: `{"messages": [{"role", "content"}]}`."""
    texts: Path
    """A JSON list of the rendered conversations."""
    recipe: Path
    number: int
    answers: int


def write(source: Path, folder: Path) -> Corpus:
    """Read hh-rlhf's conversations, number them, and write each form.

    Raises `ValueError` where one cannot be rendered.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chats = list(numbered(list(read_conversations(source))))
    conversations, texts, recipe = (folder / name for name in ("conversations.jsonl", "texts.json", "recipe.yaml"))
    with conversations.open("w", encoding="utf-8") as lines:
        for chat in chats:
            messages = [{"role": message.role, "content": message.text} for message in chat.messages]
            lines.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")
    texts.write_text(json.dumps(_rendered(chats)), encoding="utf-8")
    recipe.write_text(
        f"name: prepare\nsources:\n  - {{use: openai, path: {conversations.name}}}\n"
        f"chat: tokenizer\ntokenizer: {BASE}\nmax_tokens: {WINDOW}\nwindow: {WINDOW}\n",
        encoding="utf-8",
    )
    answers = sum(message.role == "assistant" for chat in chats for message in chat.messages)
    return Corpus(Path(bases.resolve(BASE)), conversations, texts, recipe, len(chats), answers)


def _rendered(chats: Sequence[Chat]) -> list[str]:
    renderer = ChatFormat(bases.load_tokenizer(BASE), "tokenizer", Path()).renderer
    renderings = [renderer.render(chat) for chat in chats]
    texts = [rendering.text for rendering in renderings if isinstance(rendering, Rendering)]
    if len(texts) < len(chats):
        raise ValueError(f"{len(chats) - len(texts)} conversations cannot be rendered")
    return texts
