"""The tokenizers that the libraries are given: real vocabularies, and two with the cutting of other models.

Most models of today cut words by an expression that no vocabulary at hand comes with: those of Qwen 2 and of Llama 3
are put on GPT-NeoX's vocabulary.
"""

import json
from pathlib import Path
from typing import Any

import mask_tokenizers
from tokenizers import Tokenizer

from dataforge.bases import load_tokenizer

_CONTROL = ("<|im_start|>", "<|im_end|>")
_TAIL = r"?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+"
_CUTS = {"qwen-2 cutting": rf"{_HEAD}|\p{{N}}| {_TAIL}", "llama-3 cutting": rf"{_HEAD}|\p{{N}}{{1,3}}| {_TAIL}"}


def write(data: Path, folder: Path) -> dict[str, Path]:
    """Write every tokenizer's `tokenizer.json`; the first is the one that is timed."""
    made = {"smollm2": load_tokenizer("smollm2-135m").encoder}
    for vocabulary in mask_tokenizers.VOCABULARIES:
        if vocabulary.source:
            made[vocabulary.name] = mask_tokenizers.convert(vocabulary, data)
            made[vocabulary.name].add_special_tokens(mask_tokenizers.added(_CONTROL, vocabulary))
    for name, cut in _CUTS.items():
        made[name] = _cut_by(made["gpt-neox"], cut, llama=name.startswith("llama"))
    paths = {name: folder / f"{name.replace(' ', '-')}.json" for name in made}
    for name, path in paths.items():
        made[name].save(str(path))
    return paths


def _cut_by(tokenizer: Tokenizer, cut: str, *, llama: bool) -> Tokenizer:
    described: dict[str, Any] = json.loads(tokenizer.to_str())
    split = {"type": "Split", "pattern": {"Regex": cut}, "behavior": "Isolated", "invert": False}
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    described["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [split, level]}
    if llama:
        described["normalizer"], described["model"]["ignore_merges"] = None, True
    return Tokenizer.from_str(json.dumps(described))
