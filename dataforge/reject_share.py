"""A source of which too much is rejected is not what its recipe takes it for: the build stops before all is done."""

from collections import Counter
from collections.abc import Sequence

import orjson

from dataforge import components
from dataforge.errors import InputError
from dataforge.recipe import SourceSpec
from dataforge.stages import Facts, Work

FEW = 20
"""Records of which no share is taken."""
_STATIONS = ("read", "convert")
_EXAMPLES = 3


def check(
    spec: SourceSpec, keys: Sequence[str], reports: Sequence[Facts], work: Work, joined: Facts | None = None
) -> None:
    """Look at what the parts of a source, which lie under these keys, report of reading it.

    Where its files were `joined`, as the counts of that say, all their records were read.

    Raises `InputError` where more is rejected than the recipe allows, with the commonest reasons and an example of
    each.
    """
    counts = [facts["stations"][name] for facts in reports for name in _STATIONS]
    reasons = Counter[str]()
    for count in counts:
        reasons.update(count["rejected"])
    for reason in components.filters(spec.entry.use):
        del reasons[reason]
    read = sum(facts["stations"]["read"]["read"] + facts["stations"]["convert"].get("unfolded", 0) for facts in reports)
    if joined is not None:
        read += joined["read"] - joined["passed"]
    if read < FEW or reasons.total() <= spec.entry.max_reject_share * read:
        return
    commonest = reasons.most_common(_EXAMPLES)
    examples = _examples([reason for reason, _ in commonest], keys, reports, work)
    listed = "; ".join(f"{reason} {count:,}, as {examples[reason]}" for reason, count in commonest)
    raise InputError(
        f"source {spec.name}: {reasons.total():,} of {read:,} records cannot be read as `{spec.entry.use}`, and "
        f"`max_reject_share` is {spec.entry.max_reject_share:g}: {listed}; see to `use:` or mend the file, or raise "
        "max_reject_share to go on without them"
    )


def _examples(reasons: Sequence[str], keys: Sequence[str], reports: Sequence[Facts], work: Work) -> dict[str, str]:
    """The first reject of each reason, as its place and what is wrong."""
    found: dict[str, str] = {}
    for key, facts in zip(keys, reports, strict=True):
        if "rejects" not in facts["files"]:
            continue
        for line in work.read(key, "rejects").splitlines():
            reject = orjson.loads(line)
            if reject["stage"] in _STATIONS and reject["reason"] in reasons:
                found.setdefault(reject["reason"], f"{reject['file']}:{reject['line']}: {reject['detail']}")
        if len(found) == len(reasons):
            break
    return found
