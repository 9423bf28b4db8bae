"""Tokenizer libraries behind one call: texts become one array of ids and one of their lengths.

Every adapter reads a `tokenizer.json`, or refuses it by raising, and takes the library's shortest way to numpy. It
returns the library's own answer and how that answer becomes arrays, so that both are timed.
"""

import itertools
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Flat = tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]
"""The ids of all texts one after another, and how many there are of each."""
Library = tuple[Callable[[list[str]], Any], Callable[[Any], Flat]]
"""What encodes texts, and what makes arrays of its answer."""


def of_lists(lists: Sequence[Sequence[int]]) -> Flat:
    """Arrays from a list of ids for each text."""
    lengths = np.fromiter(map(len, lists), dtype=np.int64, count=len(lists))
    return np.fromiter(itertools.chain.from_iterable(lists), dtype=np.int32, count=int(lengths.sum())), lengths


def of_encodings(encodings: Sequence[Any]) -> Flat:
    """Arrays from objects with `ids`."""
    return of_lists([encoding.ids for encoding in encodings])


def of_buffers(buffers: tuple[bytes, bytes]) -> Flat:
    """Arrays from uint32 ids and uint64 offsets, of which the first is 0."""
    ids, offsets = buffers
    return np.frombuffer(ids, dtype=np.int32), np.diff(np.frombuffer(offsets, dtype=np.int64))


def hf(path: Path) -> Library:
    """The library that the others are held against."""
    from tokenizers import Tokenizer

    encoder = Tokenizer.from_file(str(path))
    encoder.no_truncation()
    encoder.no_padding()
    return lambda texts: encoder.encode_batch_fast(texts, add_special_tokens=False), of_encodings


def fastokens(path: Path) -> Library:
    """Ids in one buffer."""
    from fastokens import Tokenizer

    encoder = Tokenizer.from_file(str(path))
    return encoder.encode_batch_flat, of_buffers


def snaptokens(path: Path) -> Library:
    """A fork of fastokens."""
    from snaptokens import Tokenizer

    encoder = Tokenizer.from_file(str(path))
    return encoder.encode_batch_flat, of_buffers


def basetenkenizer(path: Path) -> Library:
    """Another fork of fastokens; an object for each text."""
    from basetenkenizer import Tokenizer

    encoder = Tokenizer.from_file(str(path))
    return encoder.encode_batch, of_encodings


def gigatoken(path: Path) -> Library:
    """Ids in an awkward array, whose buffers are numpy's."""
    from gigatoken import Tokenizer

    encoder = Tokenizer(str(path))

    def arrays(found: Any) -> Flat:
        layout = found.layout
        offsets = np.asarray(layout.offsets.data)
        ids = np.asarray(layout.content.data)[offsets[0] : offsets[-1]]
        return ids.astype(np.int32, copy=False), np.diff(offsets)

    return encoder.encode_batch, arrays


def kitoken(path: Path) -> Library:
    """A list for each text."""
    from kitoken import Kitoken

    encoder = Kitoken.from_tokenizers_file(str(path))
    return lambda texts: encoder.encode_all(texts, True), of_lists


def tokie(path: Path) -> Library:
    """Ids and lengths as numpy arrays."""
    from tokie import Tokenizer

    encoder = Tokenizer.from_json(str(path))
    return (
        lambda texts: encoder.encode_batch_flat(texts, add_special_tokens=False),
        lambda found: (found[0].view(np.int32), found[1].astype(np.int64)),
    )


def iree(path: Path) -> Library:
    """Ids and lengths as numpy arrays, on one thread."""
    from iree.tokenizer import Tokenizer

    encoder = Tokenizer.from_file(str(path))
    return encoder.encode_batch_to_array, lambda found: (found[0].astype(np.int32, copy=False), found[1])


def morpheme(path: Path) -> Library:
    """An object for each text, on one thread."""
    from morpheme import Tokenizer

    encoder = Tokenizer.from_file(str(path))
    return lambda texts: encoder.encode_batch(texts, add_special_tokens=False), of_encodings


def splintr(path: Path) -> Library:
    """Ids in one buffer; its added tokens are found in the text."""
    import splintr as library

    encoder = library.from_json(str(path))
    return encoder.encode_batch_flat, of_buffers


def tuetoken(path: Path) -> Library:
    """Ids and offsets as numpy arrays; added tokens in the text are ordinary text to it."""
    from tuetoken import Tokenizer

    encoder = Tokenizer(str(path))
    return encoder.encode_ordinary_to_buffer, lambda found: (found["data"].view(np.int32), np.diff(found["offsets"]))


_GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What a `ByteLevel` pre-tokenizer of HF cuts at."""


def tiktoken(path: Path) -> Library:
    """A list for each text; only for byte-level BPE without normalizer, cut by one expression.

    It merges the pair whose whole has the lowest id, HF the pair whose merge stands first: the vocabulary must have the
    order of the merges.
    """
    from tiktoken import Encoding

    described = json.loads(path.read_text(encoding="utf-8"))
    model, cutter = described["model"], described["pre_tokenizer"]
    if described["normalizer"] or not cutter or cutter["type"] != "ByteLevel" or not cutter["use_regex"]:
        raise ValueError("not byte-level BPE that is cut by one expression")
    merged = [model["vocab"]["".join(pair if isinstance(pair, list) else pair.split(" "))] for pair in model["merges"]]
    if merged != sorted(merged):
        raise ValueError("the vocabulary has not the order of the merges")
    added = {token["content"]: token["id"] for token in described["added_tokens"]}
    byte_of = _bytes_of_characters()
    ranks = {
        bytes(byte_of[character] for character in text): number
        for text, number in model["vocab"].items()
        if text not in added and all(character in byte_of for character in text)
    }
    encoder = Encoding(path.stem, pat_str=_GPT2, mergeable_ranks=ranks, special_tokens=added)
    return lambda texts: encoder.encode_batch(texts, num_threads=_threads(), allowed_special="all"), of_lists


def _threads() -> int:
    return int(os.environ["RAYON_NUM_THREADS"])


def _bytes_of_characters() -> dict[str, int]:
    """GPT-2's characters for bytes: those that can be seen stand for themselves, others follow 255."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in seen]
    return {chr(byte): byte for byte in seen} | {chr(256 + number): byte for number, byte in enumerate(others)}


LIBRARIES: dict[str, Callable[[Path], Library]] = {
    "tokenizers": hf,
    "fastokens": fastokens,
    "snaptokens": snaptokens,
    "basetenkenizer": basetenkenizer,
    "gigatoken": gigatoken,
    "kitoken": kitoken,
    "tokie": tokie,
    "iree-tokenizer": iree,
    "morpheme": morpheme,
    "splintr-rs": splintr,
    "tuetoken": tuetoken,
    "tiktoken": tiktoken,
}
"""By the name of its package."""
