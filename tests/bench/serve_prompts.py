"""Do rows begin with what a running inference server counts as the prompt?

    transformers serve FOLDER_OF_SMOLLM2 --port 8017
    python -m tests.bench.serve_prompts CONVERSATIONS.jsonl.gz --url http://localhost:8017/v1 [--out FILE]

For a sample of conversations (hh-rlhf, and some written here with Chinese, emoji, blanks and system messages) every
prompt is sent to the server, and its `usage.prompt_tokens` is compared with where the row begins to be trained.
"""

import argparse
import itertools
from pathlib import Path

import openai

from dataforge.bases import load_tokenizer, resolve
from dataforge.chat_format import ChatFormat
from dataforge.records import Chat, Message, Origin, Reject
from dataforge.tokenize import encode
from tests.bench.mask_speed import read_conversations

BASE = "smollm2-135m"
EVERY = 150
WRITTEN = (
    ("Antworte kurz.", "你是谁？", " 我是一个小模型。\n", "👩🏽\u200d🚀?", "\n\n🎻"),
    (None, "  blanks  ", "e\u0301 and \u00e9", "[[x]] {{ y }}", "<b>&amp;</b>"),
    ("", "hello", "\thello\n\nhello", "and\r\n?", "so"),
)


def main() -> None:
    """Ask the server for each prompt and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path)
    parser.add_argument("--url", required=True)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    client = openai.OpenAI(base_url=arguments.url, api_key="none")
    format_ = ChatFormat(load_tokenizer(BASE), "tokenizer", Path())
    chats = [_written(*texts) for texts in WRITTEN]
    chats += [
        _chat(messages) for messages in itertools.islice(read_conversations(arguments.conversations), 0, None, EVERY)
    ]
    prompts, wrong = 0, []
    for chat in chats:
        for number, start in _starts(format_, chat):
            asked = [{"role": each.role, "content": each.text} for each in chat.messages[:number]]
            reply = client.chat.completions.create(model=resolve(BASE), messages=asked, max_tokens=1)  # type: ignore[arg-type]
            prompts += 1
            served = reply.usage.prompt_tokens if reply.usage else None
            if served != start:
                wrong.append(f"{chat.messages[number - 1].text[:40]!r}: served {served}, row {start}")
    text = f"{len(chats)} conversations, {prompts} prompts, {len(wrong)} of another length than the server's\n"
    print(text, *wrong, sep="\n")
    if arguments.out:
        arguments.out.write_text(
            "\n".join([f"# Prompts beside `transformers serve`\n\n{text}", *wrong]), encoding="utf-8"
        )


def _starts(format_: ChatFormat, chat: Chat) -> list[tuple[int, int]]:
    """Each answer's number, and where it begins to be trained."""
    rendering = format_.renderer.render(chat)
    result = next(encode([rendering], format_.encoder, "all_turns")) if not isinstance(rendering, Reject) else rendering
    if isinstance(result, Reject):
        raise SystemExit(f"refused: {result.detail}")
    found = []
    for row in result.rows:
        mask = [0, *row.mask.tolist()]
        found += [at for at in range(1, len(mask)) if mask[at] and not mask[at - 1]]
    answers = [number for number, message in enumerate(chat.messages) if message.role == "assistant"]
    return list(zip(answers, (at - 1 for at in sorted(found)), strict=True))


def _chat(messages: list[Message]) -> Chat:
    return Chat("bench", Origin("bench", "bench", 0, 1), tuple(messages))


def _written(system: str | None, *texts: str) -> Chat:
    said = [Message("assistant" if number % 2 else "user", text) for number, text in enumerate(texts)]
    return _chat([*([Message("system", system)] if system is not None else []), *said])


if __name__ == "__main__":
    main()
