"""Where a base model and its tokenizer are: a bundled name, a folder, or a hub id.

A bundled model comes inside a package of the package index and is converted once, by `trainkit` in a process of
its own, into the user's cache folder.
"""

import json
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from tokenizers import AddedToken, Tokenizer

from dataforge.errors import BaseModelError
from dataforge.shards import tokenizer_sha256

BUNDLED = ("smollm2-135m",)


@dataclass(frozen=True)
class BaseTokenizer:
    """A base model's tokenizer with the chat template it carries."""

    name: str
    encoder: Tokenizer
    sha256: str
    template: str | None
    control_tokens: dict[str, int]
    """The texts that the tokenizer reads as one special token, with their ids."""
    added_tokens: dict[str, int]
    """These and all others that it reads as one token whatever stands around them."""
    isolates: bool
    """Whether its special tokens take nothing of the text beside them, so that a text may be encoded in parts."""
    variables: dict[str, str]
    """What chat templates are given beside the messages: `bos_token` and its like."""


def resolve(name: str, folder: Path = Path()) -> str:
    """The folder or hub id behind a base model's name; `folder` is where relative paths start.

    Raises `BaseModelError` where the name is neither.
    """
    if name in BUNDLED:
        return str(_bundled(name))
    path = folder / Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", name):
        return name
    bundled = ", ".join(BUNDLED)
    raise BaseModelError(f"{name}: no such base model; name a folder, a hub id (owner/name) or one of: {bundled}")


def load_tokenizer(name: str, folder: Path = Path()) -> BaseTokenizer:
    """Read a base model's tokenizer without loading the model.

    Raises `BaseModelError` where it has no `tokenizer.json` or no file can be had.
    """
    base = resolve(name, folder)
    content = _file(base, "tokenizer.json")
    if content is None:
        raise BaseModelError(f"{name}: has no tokenizer.json; convert its tokenizer to one and name that folder")
    settings = json.loads(_file(base, "tokenizer_config.json") or b"{}")
    encoder = Tokenizer.from_str(content.decode())
    encoder.no_truncation()
    encoder.no_padding()
    return _base_tokenizer(
        name=name,
        encoder=encoder,
        sha256=tokenizer_sha256(content),
        template=_template(base, settings),
        variables={key: _token_text(value) for key, value in settings.items() if key.endswith("_token") and value},
    )


def with_new_tokens(tokenizer: BaseTokenizer, tokens: Sequence[str]) -> BaseTokenizer:
    """The tokenizer with further control tokens; their ids follow the last one that it has.

    `sha256` stays that of the tokenizer without them.
    """
    encoder = Tokenizer.from_str(tokenizer.encoder.to_str())
    encoder.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens])
    return _base_tokenizer(tokenizer.name, encoder, tokenizer.sha256, tokenizer.template, tokenizer.variables)


def _base_tokenizer(
    name: str, encoder: Tokenizer, sha256: str, template: str | None, variables: dict[str, str]
) -> BaseTokenizer:
    added = encoder.get_added_tokens_decoder()
    special = [token for token in added.values() if token.special]
    return BaseTokenizer(
        name=name,
        encoder=encoder,
        sha256=sha256,
        template=template,
        control_tokens={token.content: number for number, token in added.items() if token.special},
        added_tokens={token.content: number for number, token in added.items()},
        isolates=not any(token.lstrip or token.single_word or token.normalized for token in special),
        variables=variables,
    )


def _bundled(name: str) -> Path:
    folder = Path(platformdirs.user_cache_path("forge")) / "bases" / name
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "trainkit.bundled", name, str(folder)]
        print(f"converting the base model {name} (once, about 20 s)", file=sys.stderr)
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise BaseModelError(f"{name}: cannot be converted: {last.removeprefix('error: ')}")
    return folder


def _file(base: str, name: str) -> bytes | None:
    """A file of a base model, or None where the model has no such file."""
    if Path(base).is_dir():
        path = Path(base) / name
        return path.read_bytes() if path.is_file() else None
    # Takes a tenth of a second, which a folder need not cost.
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(base, name)).read_bytes()
    except LocalEntryNotFoundError:
        raise BaseModelError(f"{base}: the hub cannot be reached and {name} is not in its cache") from None
    except EntryNotFoundError:
        return None
    except HfHubHTTPError as error:
        raise BaseModelError(f"{base}: {str(error).splitlines()[0]}") from None


def _template(base: str, settings: dict[str, object]) -> str | None:
    content = _file(base, "chat_template.jinja")
    if content is not None:
        return content.decode()
    found = settings.get("chat_template")
    if isinstance(found, list):
        found = next((item["template"] for item in found if item.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def _token_text(value: object) -> str:
    return str(value["content"]) if isinstance(value, dict) else str(value)
