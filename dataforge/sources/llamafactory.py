"""A data set that LLaMA-Factory's `dataset_info.json` describes, by its name there.

    {"tea": {"file_name": "tea.json", "columns": {"prompt": "question", "response": "answer"}}}

    - use: llamafactory
      path: LLaMA-Factory/data          # the folder, or the file dataset_info.json in it
      name: tea

What stands there becomes the source that it means: `alpaca`, `sharegpt` or `openai` by `formatting` and `tags`, or
`documents` where there is a prompt and nothing that answers it; a file, or a data set of a hub with its `subset` and
`split`; and the columns it names, and no others. Further settings of the recipe are those of that source. What cannot
be kept is refused when the recipe is read: images and other media, `script_url`, `folder`, `num_samples` (`weight:`
takes its place), and tags that no source reads.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dataforge import config

FILE = "dataset_info.json"
_KEYS = {
    *("file_name", "hf_hub_url", "ms_hub_url", "om_hub_url", "revision", "subset", "split"),
    *("formatting", "ranking", "columns", "tags"),
}
_WAYS_OUT = {
    "num_samples": "leave it out there and say `weight:` in the recipe",
    "folder": "name the files themselves with `path:`",
    "script_url": "a script is never run; save its data as a file",
}
_ALPACA = {"prompt": "instruction", "query": "input", "response": "output", "history": "history", "system": "system"}
_ALPACA_USUAL = {"instruction": "instruction", "input": "input", "output": "output"}
_OPINIONS = ("chosen", "rejected", "kto_tag")
_USUAL_TAGS = {
    "role_tag": "from",
    "content_tag": "value",
    "user_tag": "human",
    "assistant_tag": "gpt",
    "observation_tag": "observation",
    "function_tag": "function_call",
    "system_tag": "system",
}
_SHAPES: dict[tuple[str, str], tuple[str, str, dict[str, set[str]]]] = {
    ("from", "value"): (
        "sharegpt",
        "conversations",
        {
            "user_tag": {"human", "user"},
            "assistant_tag": {"gpt", "assistant", "chatgpt", "bing", "bard"},
            "observation_tag": {"observation", "tool"},
            "function_tag": {"function_call"},
            "system_tag": {"system"},
        },
    ),
    ("role", "content"): (
        "openai",
        "messages",
        {
            "user_tag": {"user"},
            "assistant_tag": {"assistant"},
            "observation_tag": {"tool", "function"},
            "system_tag": {"system", "developer"},
        },
    ),
}
"""By the names of a message's role and text: the source, its column of messages, and the roles that it knows."""


class Settings(config.Settings):
    """All that is to be said stands in the file."""


def resolve(place: Path, name: str | None) -> dict[str, Any]:
    """The keys of a recipe's source that mean the same as the data set of that name.

    Raises `ValueError` with what is wrong where there is none, or where something of it cannot be kept.
    """
    path = place / FILE if place.is_dir() else place
    described = _read(path)
    if name is None:
        raise ValueError(f"{path} needs `name:` of a data set, one of {', '.join(sorted(described)) or 'none'}")
    if name not in described:
        raise ValueError(f"{path} has no data set {name!r}; `name:` one of {', '.join(sorted(described)) or 'none'}")
    entry = described[name]
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: {name} must be an object")
    for key in ("columns", "tags"):
        if not isinstance(entry.get(key) or {}, dict):
            raise ValueError(f"{path}: {name}: {key!r} must be an object")
    try:
        return {**_place(entry, path.parent), **_shape(entry)}
    except ValueError as error:
        raise ValueError(f"{path}: {name}: {error}") from None


def _read(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}); `path:` is the folder with {FILE}") from None
    except ValueError as error:
        raise ValueError(f"{path} cannot be read as JSON: {error}") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold an object with a key for each data set")
    return found


def _place(entry: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Where its records are."""
    for key in sorted(entry.keys() - _KEYS):
        raise ValueError(f"{key!r} is not read here; {_WAYS_OUT.get(key, 'take it out')}")
    hub = {
        ours: entry[theirs] for ours, theirs in (("hub", "hf_hub_url"), ("modelscope", "ms_hub_url")) if theirs in entry
    }
    if hub:
        # The program that the file is for prefers Hugging Face's hub unless it is told otherwise.
        ours = next(iter(hub))
        keys = {"config": "subset", "split": "split", "revision": "revision"}
        return {ours: hub[ours], **{key: entry[theirs] for key, theirs in keys.items() if entry.get(theirs)}}
    if not isinstance(entry.get("file_name"), str):
        raise ValueError("has neither 'file_name' nor 'hf_hub_url' nor 'ms_hub_url'")
    return {"path": str(folder / entry["file_name"])}


def _shape(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Which source reads it, and what that source's columns are called."""
    columns = {key: name for key, name in (entry.get("columns") or {}).items() if name}
    for key in ("images", "videos", "audios"):
        if key in columns:
            raise ValueError(f"has {key}, and only text can be trained on")
    opinions = {key: columns[key] for key in _OPINIONS if key in columns}
    if not entry.get("ranking"):
        opinions = {key: name for key, name in opinions.items() if key == "kto_tag"}
    formatting = entry.get("formatting", "alpaca")
    if formatting == "alpaca":
        return _alpaca(columns, opinions)
    if formatting not in ("sharegpt", "openai"):
        raise ValueError(f"has the formatting {formatting!r}; known: alpaca, sharegpt, openai")
    tags = {**dict.fromkeys(_USUAL_TAGS), **entry["tags"]} if entry.get("tags") else _USUAL_TAGS
    use, messages, roles = _SHAPES.get((tags["role_tag"], tags["content_tag"]), ("", "", {}))
    unread = {key: tag for key, tag in tags.items() if tag and tag not in roles.get(key, {tag})}
    if not use or unread:
        said = unread or {key: tags[key] for key in ("role_tag", "content_tag")}
        raise ValueError(f"has tags that no source reads, {said}; rewrite its messages as `use: openai` reads them")
    further = {key: columns[key] for key in ("system", "tools") if key in columns}
    if use == "openai" and "system" in further:
        raise ValueError("has a column of system texts beside messages with roles; put them into the messages")
    return {"use": use, "columns": {messages: columns.get("messages", "conversations"), **further, **opinions}}


def _alpaca(columns: Mapping[str, str], opinions: Mapping[str, str]) -> dict[str, Any]:
    if "tools" in columns:
        raise ValueError("has tools beside an instruction, which no source reads; rewrite it as `use: openai` reads it")
    if not columns:
        return {"use": "alpaca", "columns": {**_ALPACA_USUAL, **opinions}}
    if set(columns) == {"prompt"}:
        return {"use": "documents", "columns": {"text": columns["prompt"]}}
    chosen = "chosen" in opinions
    named = {
        ours: columns[key] for key, ours in _ALPACA.items() if key in columns and not (chosen and key == "response")
    }
    return {"use": "alpaca", "columns": {**named, **opinions}}
