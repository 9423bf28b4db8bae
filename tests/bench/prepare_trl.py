"""TRL's preparation of a data set, in an environment of its own. It prints one JSON line.

    python prepare_trl.py REQUEST

REQUEST is JSON: `base` (a folder), `conversations` (JSONL), `scratch` (a new folder), `hashes` (a file to write),
`window`, and `workers`: `dataset_num_proc`, or null for no processes beside its own.
"""

import json
import sys
import time
from importlib import metadata
from typing import Any

import datasets
import transformers
from prepare_packed import NOT_TRAINED, Packed, flat, report
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerBase
from trl import SFTConfig, SFTTrainer

_MESSAGE = "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
"""How SmolLM2's own template writes a message. It does not say what is trained, and TRL knows no template for it."""
_MARKED = (
    "{{'<|im_start|>' + message['role'] + '\n'}}{% if message['role'] == 'assistant' %}{% generation %}"
    "{{message['content'] + '<|im_end|>'}}{% endgeneration %}{% else %}{{message['content'] + '<|im_end|>'}}"
    "{% endif %}{{'\n'}}"
)


class Timed(SFTTrainer):  # type: ignore[misc]
    """The trainer, with the time that its constructor spends on the data."""

    def _prepare_dataset(self, *arguments: Any, **named: Any) -> datasets.Dataset:
        start = time.monotonic()
        prepared = super()._prepare_dataset(*arguments, **named)
        self.ended = time.monotonic()
        self.seconds = self.ended - start
        return prepared


def marked(tokenizer: PreTrainedTokenizerBase) -> str:
    """The tokenizer's template with marks around what is trained.

    Raises `ValueError` where it is not SmolLM2's.
    """
    template = str(tokenizer.chat_template)
    if template.count(_MESSAGE) != 1:
        raise ValueError("the chat template is not the one that the marks were written for")
    return template.replace(_MESSAGE, _MARKED)


def main(request: dict[str, Any]) -> None:
    """Prepare, and print what it took."""
    transformers.logging.set_verbosity_error()
    tokenizer = AutoTokenizer.from_pretrained(request["base"])
    tokenizer.chat_template = marked(tokenizer)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1
    )
    arguments = SFTConfig(
        output_dir=request["scratch"],
        max_length=request["window"],
        packing=True,
        packing_strategy="bfd",
        assistant_only_loss=True,
        dataset_num_proc=request["workers"],
        bf16=False,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
    )
    model = LlamaForCausalLM(config)
    start = time.monotonic()
    rows = datasets.load_dataset("json", data_files=request["conversations"], split="train")
    reading = time.monotonic() - start
    trainer = Timed(model, args=arguments, train_dataset=rows, processing_class=tokenizer)
    table = trainer.train_dataset.with_format("arrow")[:]
    packed = Packed(
        windows=len(table),
        ids=flat(table, "input_ids"),
        trained=flat(table, "labels") != NOT_TRAINED,
        lengths=flat(table, "seq_lengths"),
    )
    versions = {name: metadata.version(name) for name in ("trl", "transformers", "datasets", "tokenizers")}
    report(
        packed,
        request,
        seconds=reading + trainer.seconds,
        reading=reading,
        ended=trainer.ended,
        versions=versions,
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
