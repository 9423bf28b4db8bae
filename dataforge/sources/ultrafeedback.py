"""UltraFeedback: an `instruction` with four `completions` that a model scored; also the binarized form.

    {"instruction": "Why?", "completions": [{"model": "m", "response": "So.", "overall_score": 7.5, ...}], ...}

`score: overall` takes the `overall_score`; `score: aspects` the mean of the ratings of the aspects, which are text, and
where `N/A` is left out. The first release gave an `overall_score` of 10 where 1 was meant: with a mean of the aspects
(`fine-grained_score`) of at most 2 a 10 is read as 1, above 4 it stands, and between the two, or without the mean, the
completion has no score. `without:` leaves out the records from some of its sources, such as `truthful_qa`, which is a
test set.

The binarized form has a `prompt`, and `chosen` and `rejected` as whole conversations with `score_chosen` and
`score_rejected`, whose difference is the margin; one with equal scores prefers nothing and is rejected.
"""

import statistics
from typing import Any, Literal

from dataforge import config
from dataforge.columns import RowError, errors_reject, number, text
from dataforge.message_objects import messages
from dataforge.opinions import parted, preference, ranked
from dataforge.records import Message, Preference, Ranking, Reply, Row

FILTERS = ("left_out",)
_ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")


class Settings(config.Settings):
    """Which scores count, and which records."""

    score: Literal["overall", "aspects"] = "overall"
    """The score of the whole answer, or the mean of its ratings."""
    without: tuple[str, ...] = ()
    """Sources whose records are left out."""


@errors_reject
def convert(row: Row, settings: Settings) -> Ranking | Preference:
    """One record as a ranking, or as a preference where it is binarized."""
    source = row.columns.get("source")
    if source in settings.without:
        raise RowError("left_out", f"comes from {source!r}, which the recipe leaves out")
    facts = {"from": source} if isinstance(source, str) else {}
    if "completions" not in row.columns:
        return _binarized(row, facts)
    completions = row.columns["completions"]
    if not isinstance(completions, list) or not all(isinstance(found, dict) for found in completions):
        raise RowError("bad_completions", "'completions' must be a list of objects")
    replies = [_reply(found, settings, number_) for number_, found in enumerate(completions, start=1)]
    return ranked(row, (Message("user", text(row.columns, "instruction")),), replies, facts)


def _reply(found: dict[str, Any], settings: Settings, number_: int) -> Reply:
    said = Message("assistant", text(found, "response", f"completion {number_}: "))
    facts = {key: found[key] for key in ("model", "principle") if isinstance(found.get(key), str)}
    score = _overall(found) if settings.score == "overall" else _mean(found)
    return Reply(said, score=score, facts=facts)


def _overall(found: dict[str, Any]) -> float | None:
    score = number(found.get("overall_score"), "overall_score")
    if score != 10:
        return score
    fine = number(found.get("fine-grained_score"), "fine-grained_score")
    fine = _mean(found) if fine is None else fine
    if fine is None or 2 < fine <= 4:
        return None
    return 1.0 if fine <= 2 else score


def _mean(found: dict[str, Any]) -> float | None:
    annotations = found.get("annotations") or {}
    if not isinstance(annotations, dict):
        raise RowError("bad_annotations", "'annotations' must be an object")
    ratings = [
        number(aspect.get("Rating"), "Rating")
        for aspect in (annotations.get(name) for name in _ASPECTS)
        if isinstance(aspect, dict)
    ]
    given = [rating for rating in ratings if rating is not None]
    return statistics.fmean(given) if given else None


def _binarized(row: Row, facts: dict[str, Any]) -> Preference:
    columns = row.columns
    sides = [columns.get(name) for name in ("chosen", "rejected")]
    prompt, chosen, rejected = parted(messages(sides[0], "chosen"), messages(sides[1], "rejected"))
    asked = columns.get("prompt")
    if isinstance(asked, str) and prompt and prompt[-1].text.strip() != asked.strip():
        raise RowError("prompt_differs", "'prompt' is not what the two conversations begin with")
    scores = [number(columns.get(f"score_{name}"), f"score_{name}") for name in ("chosen", "rejected")]
    facts |= {
        f"score_{name}": score for name, score in zip(("chosen", "rejected"), scores, strict=True) if score is not None
    }
    margin = None
    if scores[0] is not None and scores[1] is not None:
        margin = scores[0] - scores[1]
        if margin <= 0:
            raise RowError("tie", f"the chosen reply has the score {scores[0]:g}, the rejected {scores[1]:g}")
    family = columns.get("prompt_id")
    return preference(
        row, prompt, chosen, rejected, margin=margin, family=family if isinstance(family, str) else "", facts=facts
    )
