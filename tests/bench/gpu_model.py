"""Models of a shape with random weights, rows of random ids, and attention as every contender is given it."""

from typing import Any

import torch
import transformers
from gpu_documents import Document, Window, Work, joined
from gpu_shapes import ALPHA, RANK, TARGETS, Shape
from peft import LoraConfig, get_peft_model
from transformers import AttentionInterface, AutoConfig, AutoModelForCausalLM

from trainkit import varlen
from trainkit.attention import document_attention

Row = dict[str, list[int]]
PEERS = "bench_documents"
"""The name under which peers find the attention that trainkit uses."""


def device() -> torch.device:
    """The first CUDA device, else the CPU."""
    return torch.device("cuda:0") if torch.cuda.is_available() else torch.device("cpu")


def base(shape: Shape, attention: str, *, layers: int | None = None) -> Any:
    """A causal model in bf16 on `device()`, its weights N(0, 0.02), the same whoever makes it."""
    transformers.logging.set_verbosity_error()
    torch.manual_seed(0)
    config = AutoConfig.for_model(shape.kind, **shape.config(layers))
    with device():
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation=attention)
    # What samples text would warn of is not used here.
    model.generation_config = transformers.GenerationConfig(pad_token_id=0, bos_token_id=1, eos_token_id=2)
    return model.train()


def lora_config() -> LoraConfig:
    """Rank 16 on all seven matrices of a layer, without dropout."""
    return LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=TARGETS, task_type="CAUSAL_LM")


def adapted(model: Any, *, exact: bool) -> Any:
    """A base model with its adapter; in fp32, as PEFT has it by itself, where this is `exact`, else in bf16."""
    model = get_peft_model(model, lora_config(), autocast_adapter_dtype=exact)
    randomize(model)
    return model


@torch.no_grad()
def randomize(model: Any) -> None:
    """Set the adapter's weights: B to N(0, 0.02), for products with zeros are cheaper than any that occur."""
    generator = torch.Generator(device=device()).manual_seed(1)
    for name, weight in sorted(model.named_parameters()):
        if "lora_" in name:
            deviation = 0.02 if "lora_B" in name else weight.shape[1] ** -0.5
            drawn = torch.empty(weight.shape, dtype=torch.float32, device=device())
            weight.copy_(drawn.normal_(0, deviation, generator=generator))


def rows(work: Work, vocabulary: int, together: int) -> list[list[list[Row]]]:
    """For each step its micro-batches of `together` windows, as documents with ids and labels.

    Ids depend on the place of a document alone, not on how windows are put together.
    """
    generator = torch.Generator().manual_seed(2)

    def filled(document: Document) -> Row:
        ids = torch.randint(3, vocabulary, (document.tokens,), generator=generator).tolist()
        untrained = document.tokens - document.trained
        return {"input_ids": ids, "labels": [-100] * untrained + ids[untrained:]}

    def micro_batch(window: Window) -> list[Row]:
        return [filled(document) for document in window]

    return [[micro_batch(window) for window in joined(step, together)] for step in work.steps]


def size(documents: list[Row]) -> tuple[int, int]:
    """Tokens and trained tokens."""
    trained = sum(label != -100 for row in documents for label in row["labels"])
    return sum(len(row["input_ids"]) for row in documents), trained


def flattened(documents: list[Row]) -> dict[str, Any]:
    """Documents in one row, with what transformers' own kernels want to know of where they begin."""
    lengths = torch.tensor([0, *(len(row["input_ids"]) for row in documents)])
    ends = lengths.cumsum(0).to(torch.int32)
    labels = torch.tensor([label for row in documents for label in row["labels"]])
    # Whoever shifts the labels must not let a document's last token predict the next one's first.
    labels[ends[:-1].long()] = -100
    longest = int(lengths.max())
    return {
        "input_ids": torch.tensor([[token for row in documents for token in row["input_ids"]]]),
        "labels": labels[None],
        "position_ids": torch.cat([torch.arange(int(length)) for length in lengths[1:]])[None],
        "cu_seq_lens_q": ends,
        "cu_seq_lens_k": ends,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def padded(documents: list[Row]) -> dict[str, torch.Tensor]:
    """A row a document, padded on the right to the longest."""
    width = max(len(row["input_ids"]) for row in documents)

    def filled(key: str, value: int) -> torch.Tensor:
        return torch.tensor([row[key] + [value] * (width - len(row[key])) for row in documents])

    seen = [[1] * len(row["input_ids"]) + [0] * (width - len(row["input_ids"])) for row in documents]
    return {"input_ids": filled("input_ids", 0), "labels": filled("labels", -100), "attention_mask": torch.tensor(seen)}


def _for_peers(
    module: torch.nn.Module,
    query_BHTK: torch.Tensor,
    key_BGTK: torch.Tensor,
    value_BGTK: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    cu_seq_lens_q: torch.Tensor,
    max_length_q: int,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    **others: Any,
) -> tuple[torch.Tensor, None]:
    """trainkit's attention, told where documents begin by what transformers passes to its own kernels."""
    if not varlen.fits(query_BHTK, dropout):
        said: dict[str, Any] = {"scaling": scaling, "dropout": dropout, "sliding_window": sliding_window}
        rows = (query_BHTK, key_BGTK, value_BGTK)
        return document_attention(module, *rows, attention_mask, cu_seqlens=cu_seq_lens_q.cpu(), **said)
    query_THK, key_TGK, value_TGK = (row.squeeze(0).transpose(0, 1) for row in (query_BHTK, key_BGTK, value_BGTK))
    # Nothing is read from the device, for which a layer would wait.
    documents = varlen.Documents(cu_seq_lens_q, int(max_length_q), scaling, sliding_window)
    return varlen.attention(query_THK, key_TGK, value_TGK, documents).unsqueeze(0), None


def register_for_peers() -> str:
    """Make attention known to transformers; returns the name to make a model with."""
    AttentionInterface.register(PEERS, _for_peers)
    return PEERS
