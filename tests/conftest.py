"""What tests of both packages need: a tiny base model with its tokenizer, made on the spot."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from dataforge.bases import BaseTokenizer

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"

CHATML = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}"
    "<|im_start|>system\nYou are a tiny assistant named Pebble.<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CORPUS = [
    "user assistant system hello hello who are you? I am Pebble, a tiny model.",
    "What is the capital of France? The capital of France is Paris.",
    "你好 你是谁? 我是一个小模型。法国的首都是巴黎。",
]
LONGEST = ("test_processes.py", "test_faults.py", "test_train_command.py", "test_build_faults.py", "test_gpu_bench.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files begin, so that none is left to one process at the end."""
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--regold` writes the golden files anew."""
    parser.addoption("--regold", action="store_true", help="write the golden files anew")


@pytest.fixture(scope="session")
def tiny_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a random 2-layer Llama with a byte-level BPE tokenizer and a ChatML template."""
    folder = tmp_path_factory.mktemp("bases") / "tiny"
    write_tiny_base(folder, seed=0)
    return folder


@pytest.fixture(scope="session")
def tokenizer(tiny_base: Path) -> "BaseTokenizer":
    """The tiny base's tokenizer as the package reads it."""
    from dataforge.bases import load_tokenizer

    return load_tokenizer(str(tiny_base))


@pytest.fixture(scope="session")
def oracle(tiny_base: Path) -> Any:
    """The same as transformers reads it."""
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_base)


def write_tiny_base(folder: Path, seed: int) -> None:
    """Write a base model whose weights depend on the seed."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    control = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(vocab_size=300, special_tokens=control, initial_alphabet=alphabet, show_progress=False),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token="<|im_start|>", eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = CHATML
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=512,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
        initializer_range=0.2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
