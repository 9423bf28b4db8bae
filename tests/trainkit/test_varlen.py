"""The kernel for CUDA, as far as a machine without one can tell."""

import torch

from trainkit import varlen


def test_a_cpu_never_uses_it() -> None:
    assert varlen.disagreement(torch.device("cpu"), torch.bfloat16) is None
    assert not varlen.fits(torch.zeros(1, 2, 3, 8, dtype=torch.bfloat16), 0.0)


def test_torch_still_has_the_operators_with_these_arguments() -> None:
    forward = torch.ops.aten._flash_attention_forward.default._schema
    backward = torch.ops.aten._flash_attention_backward.default._schema
    names = [argument.name for argument in forward.arguments]
    assert names[:10] == [
        *("query", "key", "value", "cum_seq_q", "cum_seq_k", "max_q", "max_k"),
        *("dropout_p", "is_causal", "return_debug_mask"),
    ]
    assert {"scale", "window_size_left", "window_size_right"} <= set(names[10:])
    assert [argument.name for argument in backward.arguments][:14] == [
        *("grad_out", "query", "key", "value", "out", "logsumexp", "cum_seq_q", "cum_seq_k", "max_q", "max_k"),
        *("dropout_p", "is_causal", "rng_state", "unused"),
    ]
    assert len(forward.returns) == 5
