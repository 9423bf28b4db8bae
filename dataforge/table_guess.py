"""Tables that no shape reads: which columns ask, which answer, which hold a label, and whether there are messages in a
list. What comes out is for `forge init` to write and for a person to look at."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from dataforge import label_guess
from dataforge.records import Row
from dataforge.shape_guess import Guess, language

_ASKS = ("instruction", "question", "prompt", "query", "input", "ask", "问题", "提问", "指令", "题目", "咨询", "问")
_ANSWERS = (
    "answer",
    "response",
    "reply",
    "output",
    "completion",
    "target",
    "答案",
    "回答",
    "回复",
    "答复",
    "解答",
    "答",
)
_SPEAKERS = ("role", "from", "author", "speaker", "sender", "角色", "发送")
_LABELS = range(2, 31)
"""So many different values a column of labels may have."""
_SHORT = 40
"""Characters that a label has at most."""


def of(rows: Sequence[Row]) -> list[Guess]:
    """Ways to read a table, the best first; none where nothing can be made of it."""
    found = [guess for guess in (_messages(rows), _asked(rows), _labelled(rows)) if guess is not None]
    return sorted(found, key=lambda guess: -guess.fit)


def _asked(rows: Sequence[Row]) -> Guess | None:
    names = _columns(rows)
    asks, answers = _named(names, _ASKS), _named(names, _ANSWERS)
    answers = answers if answers != asks else None
    doubts = []
    asks_and_answers = asks is not None and answers is not None
    if not (asks and answers):
        by_length = sorted(names, key=lambda name: -_length(rows, name))
        texts = [name for name in by_length if _length(rows, name) > 0]
        if len(texts) < 2:
            return None
        pair = sorted(texts[:2], key=names.index)
        asks, answers = asks or next(name for name in pair if name != answers), answers or pair[1]
        if asks == answers:
            return None
        doubts.append(f"that {asks!r} asks and {answers!r} answers is told by their length and order alone")
    entry = {"use": "columns", "question": _expression(asks), "answer": _expression(answers)}
    full = sum(1 for row in rows if _says(row.columns.get(asks)) and _says(row.columns.get(answers)))
    if full < len(rows):
        doubts.append(f"{len(rows) - full} of the {len(rows)} have no text in one of the two")
    return Guess(entry, full, len(rows), 0.5 if asks_and_answers else 0.2, doubts=doubts)


def _labelled(rows: Sequence[Row]) -> Guess | None:
    names = sorted(_columns(rows), key=lambda name: -_length(rows, name))
    found = []
    # Of several columns with few values, words that a task knows say more than short values do.
    for name in reversed(names[1:]):
        values = Counter(str(row.columns.get(name)) for row in rows if row.columns.get(name) not in (None, ""))
        few = len(values) in _LABELS and min(values.values()) > 1 and len(values) * 5 < values.total()
        texts = [each for each in names if each != name and _length(rows, each) > 0]
        if few and texts and max(map(len, values)) <= _SHORT:
            found.append(label_guess.told(name, list(values), texts))
    best = min(found, key=lambda each: not each.words, default=None)
    if best is None:
        return None
    said = language([str(row.columns.get(names[0], "")) for row in rows])
    entry: dict[str, Any] = {**best.entry, "language": said}
    fit = 0.6 if best.words else 0.3
    return Guess(entry, len(rows), len(rows), fit, steps=["instruct"], doubts=best.doubts)


def _messages(rows: Sequence[Row]) -> Guess | None:
    """A list of messages in each record, of whatever keys."""
    for name in _columns(rows):
        lists = [row.columns[name] for row in rows if isinstance(row.columns.get(name), list)]
        spoken = [item for each in lists for item in each if isinstance(item, Mapping)]
        if len(lists) < len(rows) or not spoken or len(spoken) < sum(map(len, lists)):
            continue
        path = _text_path(spoken)
        if path is None:
            continue
        listed = _reference(name)
        entry = {
            "use": "columns",
            "history": f"{{{{ {listed}[:-2] | map(attribute='{path}') | batch(2) | list }}}}",
            "question": f"{{{{ {listed}[-2].{path} }}}}",
            "answer": f"{{{{ {listed}[-1].{path} }}}}",
        }
        even = sum(1 for each in lists if len(each) >= 2 and len(each) % 2 == 0)
        speakers = [key for key in spoken[0] if any(word in key.lower() for word in _SPEAKERS)]
        doubts = [f"the messages in {name!r} are taken to alternate, the user first and the assistant last"]
        doubts += [f"who speaks stands in {', '.join(map(repr, speakers))}: see that it does so"] if speakers else []
        doubts += (
            [f"{len(lists) - even} of the {len(lists)} have an odd number of messages"] if even < len(lists) else []
        )
        return Guess(entry, even, len(lists), 0.4, doubts=doubts)
    return None


def _text_path(messages: Sequence[Mapping[str, Any]]) -> str | None:
    """Where the text of messages stands: the key, or a key in a key, with the longest texts in all of them."""
    lengths: Counter[str] = Counter()
    held: Counter[str] = Counter()
    for message in messages:
        for key, value in message.items():
            inner = value.items() if isinstance(value, Mapping) else ()
            for path, text in ((key, value), *((f"{key}.{name}", each) for name, each in inner)):
                if isinstance(text, str) and all(part.isidentifier() for part in path.split(".")):
                    lengths[path] += len(text)
                    held[path] += 1
    everywhere = {path: length for path, length in lengths.items() if held[path] == len(messages)}
    return max(everywhere, key=lambda path: everywhere[path], default=None)


def _columns(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(key for row in rows for key in row.columns))


def _named(names: Sequence[str], words: Sequence[str]) -> str | None:
    exact = [name for word in words for name in names if name.strip().lower() == word]
    return next(iter([*exact, *(name for word in words for name in names if word in name.lower())]), None)


def _length(rows: Sequence[Row], name: str) -> float:
    return sum(len(value) for row in rows if isinstance(value := row.columns.get(name), str)) / len(rows)


def _says(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _reference(name: str) -> str:
    return name if name.isidentifier() else f'row["{name}"]'


def _expression(name: str) -> str:
    return f"{{{{ {_reference(name)} }}}}"
