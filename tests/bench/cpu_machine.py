"""How fast this machine multiplies fp32 matrices of SmolLM2-135M's shapes, and the least time a token can take.

    python cpu_machine.py SHARE

SHARE is the share of tokens with loss: the output head is needed for no other. A frozen layer needs two products a
token, x W in the forward pass and its gradient times W in the backward pass: 4 FLOP a weight. It prints one JSON
object.
"""

import json
import sys
import time

import torch

LAYERS = 30
LINEAR = {(576, 576): 2, (576, 192): 2, (576, 1536): 2, (1536, 576): 1}
"""Inputs and outputs of a decoder layer's linear parts, with how many there are of each."""
HEAD = (576, 49152)
ROWS = 2048
HEAD_ROWS = 512
REPEATS = 5


def seconds(rows: int, inputs: int, outputs: int) -> float:
    """The least time a row takes, of both products."""
    input_TD, weight_FD = torch.randn(rows, inputs), torch.randn(outputs, inputs)
    output_TF, gradient_TD = torch.empty(rows, outputs), torch.empty(rows, inputs)
    forward, backward = [], []
    for _ in range(REPEATS):
        start = time.perf_counter()
        torch.mm(input_TD, weight_FD.t(), out=output_TF)
        middle = time.perf_counter()
        torch.mm(output_TF, weight_FD, out=gradient_TD)
        forward.append(middle - start)
        backward.append(time.perf_counter() - middle)
    return (min(forward) + min(backward)) / rows


def main(share: float) -> None:
    """Measure."""
    layer = sum(count * seconds(ROWS, *shape) for shape, count in LINEAR.items())
    head = seconds(HEAD_ROWS, *HEAD)
    flop = 4 * LAYERS * sum(count * inputs * outputs for (inputs, outputs), count in LINEAR.items())
    flop_head = 4 * HEAD[0] * HEAD[1]
    total = LAYERS * layer + share * head
    found = {
        "gflop_per_token": (flop + share * flop_head) / 1e9,
        "gflop_per_second": (flop + share * flop_head) / total / 1e9,
        "floor_tokens_per_second": 1 / total,
        "threads": torch.get_num_threads(),
    }
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main(float(sys.argv[1]))
