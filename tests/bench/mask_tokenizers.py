# ruff: noqa: RUF001
"""Real vocabularies as tokenizer folders, and the control tokens that a chat template adds to them.

    python tests/bench/mask_tokenizers.py --data FOLDER

converts each vocabulary and says how many of llama.cpp's expected encodings, where a file holds them, come out.

SentencePiece models and GGUF files become the `tokenizer.json` that their models are published with: Llama 2 and
Phi-3 put a blank before every text between special tokens, Mistral before the first alone, and Phi-3's special
tokens take the whitespace after them.
"""

import argparse
import json
import re
import struct
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gguf import GGUFReader
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers.convert_slow_tokenizer import generate_merges

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
"""The kinds of a SentencePiece's pieces; GGUF has the same."""

_HARD_MARKERS = re.compile(
    r"<\|[^<>|\s'{}]+\|>|<｜[^<>｜\s'\"{}]+｜>|<\|[a-z_]+>|<[a-z_]+\|>|<(?:start|end)_of_\w+>|</?s>|<image>|\[gMASK\]|<sop>"
)
_SOFT_MARKERS = re.compile(r"</?(?:think|tool_call|tool_response|arg_key|arg_value)>")
_BRACKETS = re.compile(r"\[/?(?:INST|AVAILABLE_TOOLS|TOOL_CALLS|TOOL_RESULTS|SYSTEM_PROMPT)\]")


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """A tokenizer of the matrix."""

    name: str
    source: str
    """The file it is read from, in the data folder; empty for a folder that is given."""
    bos: str
    eos: str
    soft_markers: bool
    """Whether `<think>`, `[INST]` and their like are tokens of it, as for some models, or ordinary text."""
    rstrip: bool = False
    """Whether its special tokens take the whitespace after them."""


VOCABULARIES = (
    Vocabulary("smollm2", "", "", "", soft_markers=True),
    Vocabulary("gpt-neox", "20B_tokenizer.json", "<|endoftext|>", "<|endoftext|>", soft_markers=False),
    Vocabulary("llama-2", "tokenizer.model", "<s>", "</s>", soft_markers=False),
    Vocabulary("mistral-v3", "mistral_instruct_tokenizer_240323.model.v3", "<s>", "</s>", soft_markers=True),
    Vocabulary(
        "deepseek-llm",
        "ggml-vocab-deepseek-llm.gguf",
        "<｜begin▁of▁sentence｜>",
        "<｜end▁of▁sentence｜>",
        soft_markers=True,
    ),
    Vocabulary("phi-3", "ggml-vocab-phi-3.gguf", "<s>", "<|endoftext|>", soft_markers=False, rstrip=True),
)


@dataclass(frozen=True, slots=True)
class _Piece:
    text: str
    score: float
    kind: int


def convert(vocabulary: Vocabulary, data: Path) -> Tokenizer:
    """The tokenizer of a vocabulary's file."""
    path = data / vocabulary.source
    if path.suffix == ".json":
        return Tokenizer.from_file(str(path))
    if path.suffix != ".gguf":
        return _sentencepiece(_pieces(path.read_bytes()), every_text=vocabulary.name == "llama-2", rstrip=False)
    fields = GGUFReader(str(path)).fields
    read: Callable[[str], Any] = lambda name: fields[f"tokenizer.ggml.{name}"].contents()  # noqa: E731
    tokens, kinds = read("tokens"), read("token_type")
    if read("model") == "llama":
        used = [_Piece(*piece) for piece in zip(tokens, read("scores"), kinds, strict=True) if piece[2] != UNKNOWN]
        used = [_Piece(piece.text, piece.score, CONTROL) if piece.text == "</s>" else piece for piece in used]
        return _sentencepiece(used, every_text=True, rstrip=vocabulary.rstrip)
    return _deepseek(tokens, kinds, read("merges"))


def bundled(vocabulary: Vocabulary, base: Path) -> tuple[Vocabulary, Path]:
    """The vocabulary of a base model's folder, and its file."""
    settings = json.loads((base / "tokenizer_config.json").read_text(encoding="utf-8"))
    return replace(vocabulary, bos=settings["bos_token"], eos=settings["eos_token"]), base / "tokenizer.json"


def write_folder(tokenizer: Tokenizer, vocabulary: Vocabulary, template: str, rendered: str, folder: Path) -> list[str]:
    """A tokenizer with a template and the control tokens that it writes, as a folder; returns its special tokens.

    `rendered` is a conversation as the template writes it: markers that are put together from parts show there.
    """
    grown = Tokenizer.from_str(tokenizer.to_str())
    known = {token.content for token in grown.get_added_tokens_decoder().values()}
    hard = dict.fromkeys(_HARD_MARKERS.findall(template) + _HARD_MARKERS.findall(rendered))
    if vocabulary.soft_markers:
        hard |= dict.fromkeys(_BRACKETS.findall(template))
        grown.add_tokens([_added(text, special=False) for text in dict.fromkeys(_SOFT_MARKERS.findall(template))])
    grown.add_special_tokens([_added(text, rstrip=vocabulary.rstrip) for text in hard if text not in known])
    grown.save(str(folder / "tokenizer.json"))
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": vocabulary.bos,
        "eos_token": vocabulary.eos,
        "clean_up_tokenization_spaces": False,
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, ensure_ascii=False), encoding="utf-8")
    special = {token.content for token in grown.get_added_tokens_decoder().values() if token.special}
    return [text for text in (*hard, vocabulary.eos) if text in special]


def added(texts: Sequence[str], vocabulary: Vocabulary) -> list[AddedToken]:
    """Special tokens as those of a vocabulary are."""
    return [_added(text, rstrip=vocabulary.rstrip) for text in texts]


def _added(text: str, *, special: bool = True, rstrip: bool = False) -> AddedToken:
    return AddedToken(text, special=special, normalized=False, rstrip=rstrip)


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """The fields of a protocol buffer message, by number."""
    at = 0

    def varint() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        number, wire = divmod(varint(), 8)
        if wire == 0:
            yield number, varint()
            continue
        size = {1: 8, 5: 4}.get(wire) or varint()
        yield number, message[at : at + size]
        at += size


def _pieces(model: bytes) -> list[_Piece]:
    """The pieces of a SentencePiece model, whose file is a `ModelProto`."""
    pieces = []
    for number, value in _fields(model):
        if number == 1:
            piece = dict(_fields(value))
            score = struct.unpack("<f", piece[2])[0] if 2 in piece else 0.0
            pieces.append(_Piece(piece[1].decode(), score, piece.get(3, NORMAL)))
    return pieces


def _sentencepiece(pieces: Sequence[_Piece], *, every_text: bool, rstrip: bool) -> Tokenizer:
    """As the published fast tokenizers; `every_text` puts a blank before all that stands between special tokens."""
    vocab = {piece.text: number for number, piece in enumerate(pieces)}
    scores = {piece.text: piece.score for piece in pieces if piece.kind == NORMAL}
    special = [piece.text for piece in pieces if piece.kind in (UNKNOWN, CONTROL)] or ["<unk>"]
    merges = generate_merges({text: vocab[text] for text in scores}, scores)
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    if every_text:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace("▁", prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([_added(text, rstrip=rstrip and text not in ("<unk>", "<s>")) for text in special])
    tokenizer.add_tokens([_added(piece.text, special=False) for piece in pieces if piece.kind == USER_DEFINED])
    return tokenizer


def _deepseek(tokens: Sequence[str], kinds: Sequence[int], merges: Sequence[str]) -> Tokenizer:
    """Byte-level BPE that cuts at newlines, cased letters, punctuation, final blanks, CJK and digits."""
    vocab = {text: number for number, text in enumerate(tokens) if kinds[number] == NORMAL}
    tokenizer = Tokenizer(models.BPE(vocab, [tuple(merge.split(" ", 1)) for merge in merges]))
    cuts = ["[\r\n]", r"\s?[\p{Lu}\p{Ll}\p{Lt}]+", r"\s?[!-/:-~！-／：-～‘-‟　-。]+", r"\s+$", "[一-龥ࠀ-一가-퟿]+"]
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            *(pre_tokenizers.Split(Regex(cut), "isolated") for cut in cuts),
            pre_tokenizers.Digits(individual_digits=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    for number, text in enumerate(tokens):
        if kinds[number] == CONTROL:
            tokenizer.add_special_tokens([_added(text)])
        elif kinds[number] == USER_DEFINED and not text.startswith("[PAD"):
            tokenizer.add_tokens([AddedToken(text, special=False, normalized=True)])
    return tokenizer


def _expected(data: Path, source: str) -> list[tuple[str, list[int]]]:
    """Texts and their ids in llama.cpp, where files beside the vocabulary hold them."""
    texts, ids = data / f"{source}.inp", data / f"{source}.out"
    if not texts.is_file():
        return []
    inputs = texts.read_text(encoding="utf-8").split("\n__ggml_vocab_test__\n")
    outputs = [[int(number) for number in line.split()] for line in ids.read_text(encoding="utf-8").splitlines()]
    return list(zip(inputs, outputs, strict=False))


def main() -> None:
    """Convert every vocabulary and hold it against llama.cpp's encodings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the vocabularies")
    data = parser.parse_args().data
    for vocabulary in VOCABULARIES:
        if not vocabulary.source:
            continue
        tokenizer = convert(vocabulary, data)
        with tempfile.TemporaryDirectory() as folder:
            write_folder(tokenizer, vocabulary, "", "", Path(folder))
        # The pieces of Llama 2 and Phi-3 are the same, so the latter's file serves both.
        source = "ggml-vocab-phi-3.gguf" if vocabulary.name == "llama-2" else vocabulary.source
        pairs = _expected(data, source)
        wrong = [text for text, ids in pairs if tokenizer.encode(text, add_special_tokens=False).ids != ids]
        print(f"{vocabulary.name}: {tokenizer.get_vocab_size()} tokens", end="")
        print(f"; {len(pairs) - len(wrong)} of {len(pairs)} texts as in llama.cpp" if pairs else "")
        for text in wrong:
            print(f"  differs: {text[:60]!r}")


if __name__ == "__main__":
    main()
