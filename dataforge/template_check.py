"""What a chat template makes of conversations of every shape: one row, rows of its own for some turns, or a refusal."""

from collections.abc import Iterator
from dataclasses import dataclass

from dataforge import laws
from dataforge.answers import UNPROVEN, divergence, parting
from dataforge.chat_format import ChatFormat
from dataforge.records import Chat, Message, Origin, Reject, ToolCall
from dataforge.render import Rendering
from dataforge.tokenize import Encoded, encode

_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "description": "The city's name."}},
            "required": ["city"],
        },
    },
}
_CALL = ToolCall("get_weather", {"city": "Paris"}, "call00001")
_CALL_TOO = ToolCall("get_weather", {"city": "北京"}, "call00002")
_SYSTEM = Message("system", "Answer in one sentence.")
_ASK, _ANSWER = Message("user", "What is the capital of France?"), Message("assistant", "Paris.")
_ASK_ZH, _ANSWER_ZH = Message("user", "中国的首都呢？"), Message("assistant", "北京。")
_ASK_MORE, _ANSWER_MORE = Message("user", "And of Italy?"), Message("assistant", "Rome.")
_THINKS = Message("assistant", "Paris.", reasoning="France's capital is Paris.")
_RESULT = Message("tool", '{"sky": "clear"}', tool_call_id=_CALL.id, name="get_weather")
_RESULT_TOO = Message("tool", '{"sky": "rain"}', tool_call_id=_CALL_TOO.id, name="get_weather")
_SAYS_RESULT = Message("assistant", "The sky is clear.")


@dataclass(frozen=True, slots=True)
class Shape:
    """What became of a conversation of one shape."""

    name: str
    outcome: str
    """`one row`, `forked` or `refused`."""
    turns: int
    forked: int
    tokens: int
    """Of all its rows."""
    overhead: int
    """Tokens beyond those of the conversation rendered once."""
    reason: str | None
    """Of a refusal."""
    detail: str | None
    """The template's own message, or where prompt and history first differ."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is known of a chat template on a tokenizer."""

    template: str
    tokenizer: str
    stop_tokens: dict[str, int]
    missing: tuple[str, ...]
    """Control tokens that the tokenizer lacks and that were written as ordinary text."""
    left_to_right: bool
    """Whether one rendering serves all prompts of a conversation."""
    laws: dict[str, str | None]
    """Each law with where it breaks, or None where it holds."""
    shapes: tuple[Shape, ...]

    @property
    def holds(self) -> bool:
        """Whether every shape that the template knows has a proven mask."""
        return not any(shape.reason in UNPROVEN for shape in self.shapes)


def check(format_: ChatFormat) -> Report:
    """Render and certify a conversation of each shape.

    Raises `TemplateError` where the template serves none.
    """
    broken = {fault.law: fault.detail for fault in laws.broken(format_.renderer)}
    return Report(
        template=format_.chat,
        tokenizer=format_.tokenizer.name,
        stop_tokens=format_.stop_tokens,
        missing=tuple(format_.missing),
        left_to_right=format_.template.left_to_right,
        laws={law: broken.get(law) for law in laws.LAWS},
        shapes=tuple(_shape(format_, name, chat) for name, chat in _chats()),
    )


def _chats() -> Iterator[tuple[str, Chat]]:
    def chat(*messages: Message, tools: bool = False) -> Chat:
        return Chat("check", Origin("check", "check", 0, 1), messages, tools=(_WEATHER,) if tools else ())

    three = (_ASK, _ANSWER, _ASK_ZH, _ANSWER_ZH, _ASK_MORE, _ANSWER_MORE)
    yield "one turn", chat(_ASK, _ANSWER)
    yield "system, one turn", chat(_SYSTEM, _ASK, _ANSWER)
    yield "three turns", chat(*three)
    yield "system, three turns", chat(_SYSTEM, *three)
    yield "developer, one turn", chat(Message("developer", "Be brief."), _ASK, _ANSWER)
    yield "two questions in a row", chat(_ASK, _ASK_ZH, _ANSWER)
    yield "blanks around an answer", chat(_ASK, Message("assistant", "\n\n  Paris. \n"), _ASK_ZH, _ANSWER_ZH)
    yield "reasoning", chat(_ASK, _THINKS)
    yield "reasoning, three turns", chat(_ASK, _THINKS, _ASK_ZH, _THINKS, _ASK_MORE, _THINKS)
    called = Message("assistant", None, tool_calls=(_CALL,))
    yield "tool call", chat(_ASK, called, tools=True)
    yield "tool call and its result", chat(_ASK, called, _RESULT, _SAYS_RESULT, tools=True)
    said = Message("assistant", "Let me look.", tool_calls=(_CALL,))
    yield "tool call with words", chat(_ASK, said, _RESULT, _SAYS_RESULT, tools=True)
    both = Message("assistant", None, tool_calls=(_CALL, _CALL_TOO))
    yield "two calls at once", chat(_ASK, both, _RESULT, _RESULT_TOO, _SAYS_RESULT, tools=True)


def _shape(format_: ChatFormat, name: str, chat: Chat) -> Shape:
    turns = sum(message.role == "assistant" for message in chat.messages)
    rendering = format_.renderer.render(chat)
    result = rendering if isinstance(rendering, Reject) else next(encode([rendering], format_.encoder, "all_turns"))
    if isinstance(result, Reject):
        return Shape(name, "refused", turns, 0, 0, 0, result.reason, result.detail)
    tokens = sum(len(row.input_ids) for row in result.rows)
    if not isinstance(rendering, Rendering) or not result.forked:
        return Shape(name, "one row", turns, 0, tokens, 0, None, None)
    overhead = max(tokens - len(format_.encoder.whole(rendering.text)), 0)
    return Shape(name, "forked", turns, result.forked, tokens, overhead, None, _why_forked(rendering, result))


def _why_forked(rendering: Rendering, result: Encoded) -> str:
    """Where the first turn that needs a row of its own departs from the conversation."""
    forked = {int(row.id.rpartition("#")[2]) for row in result.rows[-result.forked :]}
    turn = next(turn for turn in rendering.turns if turn.message in forked)
    if not turn.through.startswith(turn.prompt):
        return f"message {turn.message + 1}: {divergence(turn.prompt, turn.through)}"
    if not rendering.text.startswith(turn.through):
        before, alone, later = parting(turn.through, rendering.text)
        return f"message {turn.message + 1}: at the end it reads {alone!r}, further up {later!r} (after {before!r})"
    return f"message {turn.message + 1}: the prompt's last token and the answer's first would merge into one"
