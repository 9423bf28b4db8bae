"""The `train:` half of a recipe."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from dataforge.config import Document, KeyPath, Settings, did_you_mean
from trainkit import objectives

Count = Annotated[int, Field(strict=True, gt=0)]
Rate = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")
LENGTHS = ("epochs", "steps", "tokens")


class LoraAdapter(Settings):
    """A low-rank adapter beside frozen linear layers."""

    use: Literal["lora"] = "lora"
    """The kind of adapter."""
    rank: Count = 16
    """The inner width of each pair of adapter matrices."""
    alpha: Rate = 32.0
    """The adapter's output is scaled by alpha / rank, each layer's own rank."""
    rslora: bool = Field(default=False, strict=True)
    """Scale by alpha / sqrt(rank) instead (rsLoRA)."""
    dora: bool = Field(default=False, strict=True)
    """Train the length of each output's weights beside their direction (DoRA)."""
    ranks: dict[str, Count] = Field(default_factory=dict)
    """Ranks of some layers, by name or regular expression (`{q_proj: 8}`); the first that fits counts."""
    b_learning_rate_ratio: Rate = 1.0
    """The learning rate of the B matrices as a multiple of `learning_rate` (LoRA+)."""
    dropout: Annotated[float, Field(strict=True, ge=0, lt=1)] = 0.0
    """Share of the adapter's inputs that are zeroed while training."""
    targets: Literal["all-linear"] | Annotated[list[str], Field(min_length=1)] = "all-linear"
    """`all-linear`, or the names of the layers to adapt (`q_proj`)."""
    untrained: Literal["refuse", "allow"] = "refuse"
    """Whether `all-linear` may leave weights of the layers untrained, such as convolutions and some experts."""


class Train(Settings):
    """One stage of training."""

    base: str = Field(min_length=1)
    """The base model: a hub id, a folder, or a bundled name."""
    objective: str = "sft"
    """What is minimised: the name of a file in trainkit/objectives."""
    adapter: LoraAdapter = LoraAdapter()
    """What is trained; the base model is frozen."""
    init_from: Path | None = None
    """The adapter folder to go on from."""
    data: Path | None = None
    """The build folder to train on, where the file has no sources."""
    epochs: Count | None = None
    """Passes over the data; 3 where neither this nor `steps` nor `tokens` is set."""
    steps: Count | None = None
    """Optimizer steps, instead of epochs."""
    tokens: Count | None = None
    """Tokens to go through, instead of epochs."""
    tokens_per_step: Count = 4096
    """The most tokens of one optimizer step, over all processes, unless a single window is longer."""
    tokens_per_micro_batch: Literal["auto"] | Count = "auto"
    """The most tokens that a process computes at one time, unless one document is longer; `auto` is a window, or 1024
    tokens of it, on a CPU, else 8192 tokens. It changes no result beyond rounding."""
    learning_rate: Rate = 2.0e-4
    """The highest learning rate."""
    schedule: Literal["cosine", "linear", "constant", "wsd"] = "cosine"
    """How the learning rate goes on after the warm-up: down to zero, not at all, or down at the end (`wsd`)."""
    warmup: Share = 0.03
    """Share of the steps in which the learning rate rises."""
    decay: Share = 0.2
    """Share of the steps in which `wsd` (warm up, stay, decay) goes down to zero."""
    weight_decay: Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)] = 0.0
    """Decoupled decay of the adapter's weights."""
    clip: Rate | None = 1.0
    """The largest global norm of the gradient; null does not clip."""
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    """What the model computes in; `auto` is bf16 where the device is fast at it, else fp16 on a GPU, else fp32. The
    adapter's weights are kept in fp32 in any case; fp16 scales its gradients."""
    fused: Annotated[bool, Field(strict=True)] = True
    """Whether layers are computed with the hand-written backward pass where it fits: Llama, Mistral, Qwen2 and Qwen3
    with plain LoRA. It changes no result beyond rounding."""
    parallel: Literal["auto", "ddp", "fsdp"] = "auto"
    """How several processes share a base: each has its own (`ddp`), or each has a part (`fsdp`); `auto` is `fsdp` where
    the base would fill a GPU."""
    memory: Literal["auto"] | Rate = "auto"
    """GB that fused layers are planned for; `auto` is what is free. Where it is short, micro-batches are made smaller,
    then parts of layers computed twice."""
    eval_every: Count = 50
    """Optimizer steps between evaluations on the eval split; there is one at the end in any case."""
    save_every: Count = 50
    """Optimizer steps between checkpoints."""
    keep: Count = 2
    """The newest checkpoints that are kept; the one with the lowest eval loss is kept besides."""
    adapter_from: Literal["auto", "last", "best"] = "auto"
    """Whether the adapter is that of the last step or that with the lowest eval loss; `auto` is `best` where
    `early_stop` is set, else `last`."""
    log_every: Count = 1
    """Optimizer steps to a line of metrics.jsonl."""
    early_stop: Count | None = None
    """Evaluations in a row without a lower eval loss after which training ends."""
    max_loss_jump: Annotated[float, Field(strict=True, gt=1, allow_inf_nan=False)] | None = 3.0
    """Training stops where the loss of a step is this many times the highest of the first 10 steps; null does not."""
    report_to: list[str] = Field(default_factory=list)
    """Trackers that get every number of metrics.jsonl: `tensorboard`, `wandb`, `mlflow`, `trackio`."""

    @model_validator(mode="before")
    @classmethod
    def _one_length(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        given = [key for key in LENGTHS if values.get(key) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both set; exactly one of {', '.join(LENGTHS)} says how long")
        return values if given else {**values, "epochs": 3}

    @field_validator("objective")
    @classmethod
    def _known_objective(cls, name: str) -> str:
        if name not in objectives.names():
            raise ValueError(f"unknown objective {name!r}; {did_you_mean(name, objectives.names())}")
        return name

    @field_validator("report_to")
    @classmethod
    def _known_trackers(cls, value: list[str]) -> list[str]:
        for name in value:
            if name not in TRACKERS:
                raise ValueError(f"unknown tracker {name!r}; {did_you_mean(name, TRACKERS)}")
        return list(dict.fromkeys(value))


def stages(document: Document) -> list[Train]:
    """The stages of training that a recipe asks for, in order; paths in them start at the recipe's folder.

    Raises `ConfigError` where `train` is missing, empty or not what it must be.
    """
    found = document.data.get("train")
    if found is None:
        raise document.error((), "has no `train:` section, so there is nothing to train")
    if not isinstance(found, list):
        return [_stage(document, ("train",))]
    if not found:
        raise document.error(("train",), "is an empty list; name at least one stage")
    return [_stage(document, ("train", index)) for index in range(len(found))]


def _stage(document: Document, at: KeyPath) -> Train:
    read = document.read(Train, at=at)
    paths = {key: getattr(read, key) for key in ("init_from", "data")}
    return read.model_copy(update={key: document.folder / path for key, path in paths.items() if path is not None})
