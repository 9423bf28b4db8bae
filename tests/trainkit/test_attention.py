from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from dataforge.errors import BaseModelError
from trainkit.attention import document_attention
from trainkit.data import micro_batch
from trainkit.model import load_base

from .conftest import random_windows

CPU = torch.device("cpu")


def test_a_window_equals_its_documents_alone(tiny_base: Path) -> None:
    packed, _ = load_base(str(tiny_base), torch.float32, CPU, packed=True)
    alone = AutoModelForCausalLM.from_pretrained(tiny_base, dtype=torch.float32)
    windows = random_windows(5, 3, "w")
    batch = micro_batch(windows, CPU)
    with torch.no_grad():
        logits_TV = packed(
            input_ids=batch.input_ids_T[None],
            position_ids=batch.position_ids_T[None],
            cu_seqlens=batch.cu_seqlens,
            use_cache=False,
        ).logits[0]
        documents = torch.split(batch.input_ids_T, [n for window in windows for n in window.seq_lengths.tolist()])
        expected_TV = torch.cat([alone(input_ids=ids[None]).logits[0] for ids in documents])
    assert (logits_TV - expected_TV).abs().max() < 1e-6 * expected_TV.abs().max()


def test_the_gradient_of_a_window_is_that_of_its_documents_alone() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, h, 11, 8, dtype=torch.double, requires_grad=True) for h in (4, 2, 2))
    weight = torch.randn(1, 11, 4, 8, dtype=torch.double)
    output, _ = document_attention(
        torch.nn.Identity(), query, key, value, None, cu_seqlens=torch.tensor([0, 3, 4, 11], dtype=torch.int32)
    )
    gradients = torch.autograd.grad((output * weight).sum(), (query, key, value))

    document = torch.tensor([0] * 3 + [1] + [2] * 7)
    seen = (document[:, None] == document[None]) & torch.ones(11, 11).tril().bool()
    scores = query @ key.repeat_interleave(2, dim=1).transpose(2, 3) / 8**0.5
    weights = scores.masked_fill(~seen, -torch.inf).softmax(dim=-1)
    expected = (weights @ value.repeat_interleave(2, dim=1)).transpose(1, 2)
    expected_gradients = torch.autograd.grad((expected * weight).sum(), (query, key, value))
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(gradients, expected_gradients)


def test_a_document_longer_than_the_sliding_window_sees_only_that_far() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, 2, 9, 4, dtype=torch.double) for _ in range(3))
    output, _ = document_attention(
        torch.nn.Identity(), query, key, value, None, cu_seqlens=torch.tensor([0, 9]), sliding_window=3
    )
    distance = np.arange(9)[:, None] - np.arange(9)[None]
    seen = torch.from_numpy((distance >= 0) & (distance < 3))
    scores = (query @ key.transpose(2, 3) / 2).masked_fill(~seen, -torch.inf)
    torch.testing.assert_close(output, (scores.softmax(dim=-1) @ value).transpose(1, 2))


def test_a_model_that_drops_the_boundaries_or_caps_its_scores_is_refused() -> None:
    row = torch.zeros(1, 1, 2, 4)
    with pytest.raises(BaseModelError, match="document boundaries"):
        document_attention(torch.nn.Identity(), row, row, row, None)
    with pytest.raises(BaseModelError, match="softcap"):
        document_attention(torch.nn.Identity(), row, row, row, None, cu_seqlens=torch.tensor([0, 2]), softcap=30.0)
