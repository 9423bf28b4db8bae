"""The base model: where it runs, what it computes in, which one it is, and whether a build was made for it."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import orjson
import torch
import transformers
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

from dataforge.errors import BaseModelError, first_line
from dataforge.shards import Build, tokenizer_sha256
from trainkit import attention, new_tokens
from trainkit.quiet import quiet

HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.model", "*.txt"]
COSMETIC_KEYS = {
    "_model_name_or_path",
    "_name_or_path",
    "architectures",
    "dtype",
    "torch_dtype",
    "transformers_version",
    "use_cache",
}
PRECISIONS = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
SAMPLED_BYTES = 256
"""Bytes of each tensor that go into a fingerprint."""


def pick_device() -> torch.device:
    """The accelerator that torch finds, else the CPU."""
    return torch.accelerator.current_accelerator() or torch.device("cpu")


def pick_precision(setting: Literal["auto", "bf16", "fp16", "fp32"], device: torch.device) -> torch.dtype:
    """What to compute in; `auto` is bf16 where the device has instructions for it, else fp16 on a GPU, else fp32."""
    if setting != "auto":
        return PRECISIONS[setting]
    if _fast_in_bf16(device):
        return torch.bfloat16
    return torch.float16 if device.type == "cuda" else torch.float32


def _fast_in_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        found = torch.cpu.get_capabilities()
        return bool(found.get("avx512_bf16") or found.get("amx_bf16"))
    return False


def local_folder(base: str) -> Path:
    """The folder that holds a base model, downloaded if `base` is a hub id.

    Raises `BaseModelError` where there is none.
    """
    if Path(base).is_dir():
        return Path(base)
    try:
        return Path(snapshot_download(base, allow_patterns=HUB_FILES))
    except HFValidationError:
        raise BaseModelError(f"{base}: no such folder, and not a hub id (owner/name)") from None
    except (HfHubHTTPError, LocalEntryNotFoundError) as error:
        reason = str(error).splitlines()[0]
        raise BaseModelError(f"{base}: cannot be fetched from the hub ({reason}); name a local folder") from None


def load_tokenizer(base: str) -> Any:
    """The base model's tokenizer.

    Raises `BaseModelError` where it cannot be read.
    """
    quiet()
    try:
        return transformers.AutoTokenizer.from_pretrained(local_folder(base), trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise BaseModelError(f"{base}: its tokenizer cannot be read: {first_line(error)}") from None


def load_base(
    base: str,
    precision: torch.dtype,
    device: torch.device,
    *,
    packed: bool = False,
    added: Mapping[str, int] | None = None,
) -> tuple[Any, Any]:
    """A base model, frozen, and its tokenizer.

    `packed` loads it for training on packed rows, otherwise its attention is the ordinary one. `added` are the new
    tokens of a build, for which both are extended. Raises `BaseModelError` where the folder or hub id has no model
    that can be loaded from safetensors without its own code, or the new tokens do not fit.
    """
    quiet()
    hf: Any = transformers
    try:
        model = hf.AutoModelForCausalLM.from_pretrained(
            local_folder(base),
            dtype=precision,
            attn_implementation=attention.register() if packed else "sdpa",
            use_safetensors=True,
            trust_remote_code=False,
        )
    except (OSError, ValueError, KeyError) as error:
        if error.args == (attention.NAME,):
            raise BaseModelError(
                f"{base}: models of its type let nobody else compute their attention, so the documents of a packed "
                "window would see each other; take another base model"
            ) from None
        raise BaseModelError(f"{base}: cannot be loaded as a causal language model: {first_line(error)}") from None
    # Sampling settings that a model brings along would override or contradict those of whoever asks it.
    model.generation_config = hf.GenerationConfig()
    tokenizer = load_tokenizer(base)
    new_tokens.add(model, tokenizer, added or {}, base)
    return model.to(device).requires_grad_(False).eval(), tokenizer


def weights_size(folder: str) -> int:
    """The bytes of a base model's weights as they are stored."""
    return sum(path.stat().st_size for path in Path(folder).glob("*.safetensors"))


def base_fingerprint(base: str) -> str:
    """A hash that tells base models apart without reading them whole.

    SHA-256 over the configuration, and the name, dtype, shape and first bytes of each tensor; it does not depend
    on how tensors are spread over files. Raises `BaseModelError` where there are no safetensors.
    """
    folder = local_folder(base)
    config = _read_json(folder / "config.json")
    tensors = {name: parts for path in sorted(folder.glob("*.safetensors")) for name, *parts in _tensors(path)}
    if not tensors:
        raise BaseModelError(f"{base}: has no *.safetensors; convert the model to safetensors first")
    kept = {key: value for key, value in config.items() if key not in COSMETIC_KEYS}
    return hashlib.sha256(orjson.dumps([kept, tensors], option=orjson.OPT_SORT_KEYS)).hexdigest()


def _tensors(path: Path) -> Iterator[tuple[str, str, list[int], str]]:
    """Name, dtype, shape and first bytes (hexadecimal) of each tensor of a safetensors file."""
    with path.open("rb") as file:
        try:
            size = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(size))
        except (ValueError, OverflowError, MemoryError):
            raise BaseModelError(f"{path}: is not a safetensors file; fetch the model again") from None
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            begin, end = entry["data_offsets"]
            file.seek(8 + size + begin)
            yield name, entry["dtype"], entry["shape"], file.read(min(end - begin, SAMPLED_BYTES)).hex()


def chat_template(base: str) -> str | None:
    """The text of the chat template that a base model carries, if it has one."""
    folder = local_folder(base)
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    path = folder / "tokenizer_config.json"
    found = _read_json(path).get("chat_template") if path.is_file() else None
    if isinstance(found, list):
        found = next((item["template"] for item in found if item.get("name") == "default"), None)
    return found if isinstance(found, str) else None


def check_build(build: Build, base: str, base_name: str) -> None:
    """Refuse a build that was not made for this base model.

    Raises `BaseModelError` where the tokenizer, the chat template or the longest row does not fit.
    """
    manifest, folder = build.manifest, local_folder(base)
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise BaseModelError(f"{base_name}: has no tokenizer.json to compare the build with; convert its tokenizer")
    if tokenizer_sha256(path.read_bytes()) != manifest.tokenizer.sha256:
        raise BaseModelError(
            f"{build.folder} was encoded with the tokenizer of {manifest.tokenizer.name}, not with that of "
            f"{base_name}; build again with `tokenizer: {base_name}`, or train the base it was built for"
        )
    if manifest.template.source == "tokenizer" and chat_template(base) != manifest.template.text:
        raise BaseModelError(
            f"{build.folder} was rendered with another chat template than {base_name} carries; build again with "
            f"`tokenizer: {base_name}`, or train the base it was built for"
        )
    positions = _read_json(folder / "config.json").get("max_position_embeddings")
    longest = max((part.longest_row for part in manifest.statistics.values()), default=0)
    if positions is not None and longest > positions:
        raise BaseModelError(
            f"{build.folder} has a row of {longest} tokens, but {base_name} was made for {positions}; build again "
            f"with `max_tokens: {positions}` or less"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BaseModelError(f"{path}: there is no such file, so the folder holds no base model") from None
    except (ValueError, UnicodeDecodeError):
        raise BaseModelError(f"{path}: is not valid JSON; fetch the model again") from None
    return dict(found)
