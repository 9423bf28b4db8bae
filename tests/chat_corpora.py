"""The samples of conversations and preferences, with what the rows of each become, counted by hand."""

from pathlib import Path
from typing import Any

import orjson

CORPORA: dict[str, tuple[str, dict[str, int]]] = {
    "alpaca.jsonl": ("alpaca", {"Chat": 4, "Ranking": 2, "Preference": 1, "ambiguous_output": 1}),
    "sharegpt.jsonl": (
        "sharegpt",
        {
            **{"Chat": 3, "Preference": 1, "Ranking": 1},
            **{"leading_answer": 1, "same_speaker_twice": 1, "bad_function_call": 1},
        },
    ),
    "openai_preferences.jsonl": ("openai", {"Preference": 4, "Chat": 1, "Ranking": 1, "equal_replies": 1}),
    "prompt_completion.jsonl": ("prompt_completion", {"Chat": 2, "Preference": 1, "Ranking": 1, "no_prompt": 1}),
    "belle.jsonl": ("belle", {"Chat": 4, "ambiguous_turns": 1}),
    "coig.jsonl": ("coig", {"Chat": 5, "bad_round": 1}),
    "guanaco.jsonl": ("guanaco", {"Chat": 3, "no_question": 1, "ambiguous_turns": 1}),
    "moss.jsonl": ("moss", {"Chat": 2, "unknown_command": 1, "bad_command": 1}),
    "lima.jsonl": ("lima", {"Chat": 2, "no_answer": 1}),
    "firefly.jsonl": ("firefly", {"Chat": 3}),
    "llamafactory_v1.jsonl": ("llamafactory_v1", {"Chat": 3, "Preference": 1, "bad_loss_weight": 1}),
    "hh_rlhf.jsonl": (
        "hh_rlhf",
        {
            **{"Preference": 2, "equal_replies": 1, "empty_reply": 1},
            **{"turns_in_reply": 1, "speaker_in_reply": 1, "same_speaker_twice": 1},
        },
    ),
    "shp.jsonl": ("shp", {"Preference": 2, "label_against_scores": 1, "preferred_is_earlier": 1}),
    "oasst.jsonl": ("oasst", {"Ranking": 3, "spam": 1, "below_left_out": 1, "synthetic": 1, "tree_state": 1}),
    "oasst_messages.jsonl": ("oasst", {"Ranking": 14, "spam": 1}),
    "ultrafeedback.jsonl": ("ultrafeedback", {"Ranking": 3, "Preference": 1, "tie": 1}),
    "ranked_list.jsonl": ("ranked_list", {"Ranking": 4, "ambiguous_prompt": 1, "bad_scores": 1}),
    "kto.jsonl": ("openai", {"Ranking": 5}),
    "pairwise.jsonl": (
        "pairwise",
        {
            **{"Preference": 8, "inconsistent": 2, "tie": 3, "no_verdict": 2},
            **{"orders_differ": 1, "bad_winner": 1},
        },
    ),
    "mt_bench.jsonl": ("mt_bench", {"Prompt": 3, "empty_question": 1}),
    "self_instruct.jsonl": ("self_instruct", {"Chat": 4, "missing_output": 1, "bad_instances": 1}),
}


def rows(path: Path) -> list[dict[str, Any]]:
    """The objects in a JSON Lines file."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines() if line.strip()]


def said(messages: Any) -> list[tuple[str, str]]:
    """Roles and texts."""
    return [(message.role, message.text) for message in messages]
