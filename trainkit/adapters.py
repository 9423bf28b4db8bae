"""LoRA adapters: attached to a base model, written in PEFT's layout, and read back."""

import copy
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from peft import LoraConfig, PeftModel, TaskType, get_peft_model
from peft.utils import get_peft_model_state_dict, set_peft_model_state_dict
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from dataforge.errors import AdapterError, first_line
from dataforge.shards import Manifest
from trainkit import coverage, targets
from trainkit.config import LoraAdapter
from trainkit.files import replaced_folder
from trainkit.quiet import no_peft_warnings
from trainkit.trained_rows import ADAPTER

CARD = "forge.json"
WEIGHTS = "adapter_model.safetensors"
LOAD_ERRORS = (OSError, ValueError, KeyError, RuntimeError, SafetensorError)


class Card(BaseModel):
    """What an adapter folder says of itself, in `forge.json`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    base: str
    """The base model as the recipe named it."""
    base_fingerprint: str
    build_digest: str
    template_sha256: str
    template_kwargs: dict[str, Any] = {}
    """What the chat template was given beside the messages."""
    stop_tokens: dict[str, int]
    """The texts on which an answer ends, with the id of their last token."""
    new_tokens: dict[str, int] = {}
    """Control tokens that the base's tokenizer does not have, with their ids; the adapter holds a row for each."""
    train: dict[str, Any]
    """The recipe's settings of the training run."""


def attach(model: Any, settings: LoraAdapter, new_ids: Sequence[int] = ()) -> Any:
    """Put a fresh adapter into a frozen base model; draws from torch's random state.

    The adapter computes in the base's precision. It trains the rows of `new_ids` too, in the input embedding and in
    the output head. Raises `AdapterError` where a target or a key of `ranks` is no linear layer of the model, or
    `all-linear` would miss something.
    """
    names = targets.targeted(model, settings.targets)
    config = LoraConfig(
        task_type=TaskType.CAUSAL_LM,
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]
        lora_dropout=settings.dropout,
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        rank_pattern=targets.rank_pattern(settings.ranks, names),
        fan_in_fan_out=targets.is_transposed(model, names),
        target_modules=settings.targets,
        trainable_token_indices=_trainable_token_indices(model, new_ids) if new_ids else None,
    )
    with no_peft_warnings():
        try:
            adapted = get_peft_model(model, config, autocast_adapter_dtype=False)
        except ValueError as error:
            experts = "set `adapter.dropout: 0` and `adapter.dora: false` to train its fused experts, or "
            raise AdapterError(
                f"this base cannot be adapted so ({first_line(error)}); "
                f"{experts if settings.dropout or settings.dora else ''}list other `adapter.targets`"
            ) from None
    coverage.check(adapted, settings)
    return adapted


def _trainable_token_indices(model: Any, ids: Sequence[int]) -> dict[str, list[int]]:
    """The ids by the name of each layer that has rows for them."""
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    # A head that is tied to the embedding is not named: PEFT gives it the embedding's rows.
    layers = [embedding] if head.weight is embedding.weight else [embedding, head]
    return {name: sorted(ids) for name, module in model.named_modules() if module in layers}


def save(
    folder: Path, model: Any, weights: Mapping[str, torch.Tensor], tokenizer: Any, manifest: Manifest, card: Card
) -> None:
    """Write an adapter folder, whole or not at all.

    `weights` are the adapter's parameters by their names in the PEFT model. The tokenizer is written with the chat
    template that the build was rendered with.
    """
    config = copy.copy(model.peft_config[ADAPTER])
    config.base_model_name_or_path = card.base
    config.inference_mode = True
    # PEFT keeps sets, whose order changes from process to process.
    config.target_modules = sorted(config.target_modules)
    config.target_parameters = config.target_parameters and sorted(config.target_parameters)
    named = get_peft_model_state_dict(model, state_dict=dict(weights), save_embedding_layers=False)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
    tokenizer.chat_template = manifest.template.text
    with replaced_folder(folder) as temporary:
        save_file(tensors, temporary / WEIGHTS, metadata={"format": "pt"})
        config.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        (temporary / CARD).write_text(card.model_dump_json(indent=2) + "\n", encoding="utf-8")


def read_card(folder: Path) -> Card:
    """What an adapter folder says of itself.

    Raises `AdapterError` where the folder is missing or not written by `forge train`.
    """
    path = folder / CARD
    try:
        return Card.model_validate_json(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        raise AdapterError(f"{folder}: no adapter here ({CARD} is missing); `forge train RECIPE` writes one") from None
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(str(part) for part in fault["loc"]) or "its text"
        raise AdapterError(f"{path}: cannot be read ({where}: {fault['msg']}); train again") from None


def check_base(folder: Path, card: Card, base_name: str, fingerprint: str) -> None:
    """Raise `AdapterError` where the adapter was trained on another base model than the one given."""
    if card.base_fingerprint != fingerprint:
        raise AdapterError(
            f"{folder}: was trained on {card.base} (fingerprint {card.base_fingerprint[:12]}), not on what {base_name} "
            f"is here (fingerprint {fingerprint[:12]}); use the base it was trained on, or train again"
        )


def check_new_tokens(folder: Path, card: Card, build: Path, new_tokens: Mapping[str, int]) -> None:
    """Raise `AdapterError` where the adapter has rows for other new tokens than the build to go on with."""
    if card.new_tokens != dict(new_tokens):
        raise AdapterError(
            f"{folder}: was trained with {_listed(card.new_tokens)} as new tokens, but {build} has "
            f"{_listed(new_tokens)}; build with the same `chat` and `missing_tokens`, or train without `init_from`"
        )


def _listed(new_tokens: Mapping[str, int]) -> str:
    return ", ".join(f"{token} ({number})" for token, number in new_tokens.items()) or "none"


def load(model: Any, folder: Path) -> Any:
    """Put a saved adapter into its base model, in the base's precision, to be asked and not trained.

    Raises `AdapterError` where a file is missing or does not fit the base; see also `check_base`.
    """
    try:
        with no_peft_warnings():
            adapted: Any = PeftModel.from_pretrained(model, folder, autocast_adapter_dtype=False)
    except LOAD_ERRORS as error:
        raise _unloadable(folder, error) from None
    return adapted.eval()


def merge_rows(model: Any) -> None:
    """Write the trained rows of new tokens into the base's matrices, until the adapter is switched off.

    Left where they are, they make PEFT copy both matrices whole for each token of an answer.
    """
    base = model.get_base_model()
    for layer in (base.get_input_embeddings(), base.get_output_embeddings()):
        adapter = getattr(layer, "token_adapter", None)
        if adapter is not None and not adapter.merged:
            adapter.merge()


def fill(model: Any, settings: LoraAdapter, folder: Path) -> None:
    """Set a freshly attached adapter to the weights of a saved one.

    Raises `AdapterError` where the saved one is missing, damaged or of another shape than the settings say.
    """
    try:
        saved = load_file(folder / WEIGHTS)
        config = json.loads((folder / "adapter_config.json").read_bytes())
        scaled = (config["lora_alpha"], config["use_rslora"])
    except LOAD_ERRORS as error:
        raise _unloadable(folder, error) from None
    fresh = get_peft_model_state_dict(model, save_embedding_layers=False)
    same_shapes = {name: w.shape for name, w in saved.items()} == {name: w.shape for name, w in fresh.items()}
    if not same_shapes or scaled != (settings.alpha, settings.rslora):
        raise AdapterError(
            f"{folder}: is not an adapter of {_described(settings)}; give `train.adapter` the settings it was trained "
            "with"
        )
    set_peft_model_state_dict(model, saved)


def _described(settings: LoraAdapter) -> str:
    ranks = f" (ranks {settings.ranks})" if settings.ranks else ""
    kinds = "".join(f", with {kind}" for kind in ("rslora", "dora") if getattr(settings, kind))
    return f"rank {settings.rank}{ranks} and alpha {settings.alpha:g} on {settings.targets}{kinds}"


def _unloadable(folder: Path, error: Exception) -> AdapterError:
    return AdapterError(f"{folder}: the adapter cannot be loaded ({first_line(error)}); train again")
