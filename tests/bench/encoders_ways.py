"""Ways to encode with HF's own library that might be faster, each with the same ids."""

import re
from pathlib import Path
from typing import Any

from encoders_libraries import Library, of_encodings, of_lists

_CACHE = 10_000_000
"""Words; the library holds 10,000."""


def _encoder(path: Path) -> Any:
    from tokenizers import Tokenizer

    return Tokenizer.from_file(str(path))


def with_offsets(path: Path) -> Library:
    """`encode_batch`, which also makes offsets."""
    encoder = _encoder(path)
    return lambda texts: encoder.encode_batch(texts, add_special_tokens=False), of_encodings


def larger_cache(path: Path) -> Library:
    """A cache of words in which all of the corpus have room."""
    encoder = _encoder(path)
    encoder.model._resize_cache(_CACHE)
    return lambda texts: encoder.encode_batch_fast(texts, add_special_tokens=False), of_encodings


def no_cache(path: Path) -> Library:
    """No word is remembered."""
    encoder = _encoder(path)
    encoder.model._resize_cache(0)
    return lambda texts: encoder.encode_batch_fast(texts, add_special_tokens=False), of_encodings


def parts(path: Path) -> Library:
    """What stands between special tokens is encoded once a call."""
    encoder = _encoder(path)
    special = [token.content for token in encoder.get_added_tokens_decoder().values() if token.special]
    cut = re.compile(f"(?={'|'.join(map(re.escape, sorted(special, key=len, reverse=True)))})")

    def encode(texts: list[str]) -> list[list[int]]:
        parts_of = [[part for part in cut.split(text) if part] for text in texts]
        distinct = sorted({part for parts in parts_of for part in parts})
        encodings = encoder.encode_batch_fast(distinct, add_special_tokens=False)
        ids_of = dict(zip(distinct, (encoding.ids for encoding in encodings), strict=True))
        return [[number for part in parts for number in ids_of[part]] for parts in parts_of]

    return encode, of_lists


def words(path: Path) -> Library:
    """Words are cut by the `regex` package as GPT-2 does, and each is encoded once; for such tokenizers only."""
    import regex

    encoder = _encoder(path)
    described = str(encoder.pre_tokenizer)
    if encoder.normalizer or not described.startswith("ByteLevel") or "use_regex=True" not in described:
        raise ValueError("not byte-level BPE that is cut by one expression")
    special = sorted((token.content for token in encoder.get_added_tokens_decoder().values()), key=len, reverse=True)
    cut = re.compile(f"({'|'.join(map(re.escape, special))})")
    word = regex.compile(r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+").findall

    class Remembered(dict[str, list[int]]):
        def __missing__(self, text: str) -> list[int]:
            self[text] = ids = encoder.encode(text, add_special_tokens=False).ids
            return ids

    remembered = Remembered()

    def encode(texts: list[str]) -> list[list[int]]:
        found = []
        for text in texts:
            ids: list[int] = []
            for number, part in enumerate(cut.split(text)):
                for piece in (part,) if number % 2 else word(part):
                    ids += remembered[piece]
            found.append(ids)
        return found

    return encode, of_lists


WAYS = {
    "HF: encode_batch": with_offsets,
    "HF: cache of 10 million words": larger_cache,
    "HF: no cache": no_cache,
    "HF: distinct parts once": parts,
    "HF: distinct words once": words,
}
