"""The dataset card of a build and of what is exported from it: where it is from, what it holds, how it is loaded."""

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import orjson

from dataforge import report
from dataforge.components import Layout
from dataforge.shapes import Feature
from dataforge.shards import Manifest, Split

_FREE = ("apache-2.0", "mit", "bsd-2-clause", "bsd-3-clause", "mpl-2.0", "unlicense", "openrail", "gfdl")
_GNU = ("gpl-2.0", "gpl-3.0", "lgpl-2.1", "lgpl-3.0", "agpl-3.0")
_DATA = ("odbl", "odc-by", "cdla-sharing-1.0", "cdla-permissive-1.0", "cdla-permissive-2.0", "cc0-1.0")
_COMMONS = tuple(f"cc-{kind}-4.0" for kind in ("by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd"))
_OLDER_COMMONS = ("cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-sa-3.0", "cc-by-nc-3.0", "cc-by-nc-sa-3.0")
_HUB_LICENCES = frozenset((*_FREE, *_GNU, *_DATA, *_COMMONS, *_OLDER_COMMONS))
"""Some of the names under which the Hugging Face hub knows licences."""
_SIZES = (10**3, 10**4, 10**5, 10**6, 10**7, 10**8, 10**9)


_ABOUT = {
    "chat": """Conversations, tokenized and packed for training, with a mask that is proven for every trained turn.
`records/*.parquet` holds the same conversations for people and for other trainers, `shards/*.arrow` their
windows.""",
    "pairs": """Preferences: prompts with two answers each, tokenized for training, every answer proven to go on
from the
ids that a server feeds the model. `records/*.parquet` holds the same pairs for people, `shards/*.arrow` their ids.""",
    "prompts": """Prompts, tokenized as a server feeds them to a model that is to answer.
`records/*.parquet` holds the same prompts for people, `shards/*.arrow` their ids.""",
}
_ROW = {"chat": ("conversation", "window"), "pairs": ("pair", "pair"), "prompts": ("prompt", "prompt")}
"""What a row of the records is, and one of the shards."""
_COLUMNS = {
    "chat": """`trained` says of each message whether it is trained. A window holds whole documents, `seq_lengths` their
lengths and `assistant_masks` which tokens are trained. TRL's `SFTTrainer` trains the windows with
`padding_free=True`, `packing=False` and `max_length=None`, without `assistant_only_loss`. `forge export` writes
the conversations in
other shapes.""",
    "pairs": """A row of the shards has `prompt_ids`, `chosen_completion_ids` and `rejected_completion_ids` (both
through
the stop), and `margin`, null where nobody knows it. `forge export --to trl` writes what TRL's `DPOTrainer` and
`RewardTrainer` take, `--to kto` what its `KTOTrainer` takes.""",
    "prompts": """A row of the shards has `prompt_ids`, through the generation prompt. `forge export --to trl` writes
what TRL's `GRPOTrainer` takes.""",
}


@dataclass(frozen=True)
class Exported:
    """What there is to say of an export beside what its build says."""

    shape: Layout
    lines: Mapping[Split, int]
    lost: Sequence[str]
    """What the shape does not say, in words."""


def of_build(manifest: Manifest) -> str:
    """The README.md of a build folder."""
    sizes = "\n".join(
        f"| {split} | {size.rows:,} | {size.windows:,} | {size.tokens:,} | {size.trained_tokens:,} | "
        f"{size.median_row:,} | {size.longest_row:,} |"
        for split, size in manifest.statistics.items()
    )
    splits: list[Split] = [split for split, size in manifest.statistics.items() if size.rows]
    files = {split: f"records/{split}-*.parquet" for split in splits}
    row, shard_row = _ROW[manifest.kind]
    return f"""{_front(manifest, files)}
# {manifest.name}

{_ABOUT[manifest.kind]}

| split | rows | windows | tokens | trained tokens | median row | longest row |
|---|---|---|---|---|---|---|
{sizes}

{_sources(manifest)}
## How it is loaded

```python
import pandas, datasets

pandas.read_parquet("records/train-00000.parquet")                                   # a {row} a row
datasets.load_dataset("parquet", data_files="records/train-*.parquet", split="train")
datasets.load_dataset("arrow", data_files="shards/train-*.arrow", split="train")     # a {shard_row} a row
```

{_COLUMNS[manifest.kind]}

## How it was made

{_made(manifest)}
Every rejected record stands in `rejects.jsonl` with its place and reason.
"""


def of_export(manifest: Manifest, exported: Exported) -> str:
    """The README.md of a folder that was exported from a build."""
    suffix = exported.shape.suffix
    files = {split: f"data/{split}{suffix}" for split in exported.lines}
    sizes = "\n".join(f"| {split} | {count:,} |" for split, count in exported.lines.items())
    first = next(iter(files.values()))
    where = "in `facts`" if "attribution" in exported.shape.holds else "which this shape leaves out"
    read = f'read_csv("{first}", keep_default_na=False)' if suffix == ".csv" else f'read_json("{first}", lines=True)'
    lost = f"\nNot in this shape: {'; '.join(exported.lost)}.\n" if exported.lost else ""
    return f"""{_front(manifest, files, exported)}
# {manifest.name}

{exported.shape.about}
{lost}
| split | lines |
|---|---|
{sizes}

{_sources(manifest, where)}
## How it is loaded

```python
import pandas, datasets

datasets.load_dataset(".")     # this folder, or OWNER/NAME on the hub; the types of all columns stand above
pandas.{read}
```

## How it was made

{_made(manifest)}"""


def _front(manifest: Manifest, files: Mapping[Split, str], exported: Exported | None = None) -> str:
    """What the hub and the `datasets` library read of a card, as YAML."""
    count = sum(exported.lines.values()) if exported else sum(source.records for source in manifest.sources)
    lines = ["---"]
    languages = sorted({language for source in manifest.sources for language in source.languages})
    if languages:
        lines += ["language:", *(f"- {_text(language)}" for language in languages)]
    lines += _licence(manifest)
    lines += ["size_categories:", f"- {_size(count)}", "configs:", "- config_name: default", "  data_files:"]
    for split, file in files.items():
        lines += [f"  - split: {split}", f"    path: {file}"]
    if exported:
        if exported.shape.suffix == ".csv":
            lines.append("  keep_default_na: false")
        lines += ["dataset_info:", "- config_name: default", "  features:"]
        lines += [f"  {line}" for line in _named(exported.shape.features)]
    return "\n".join([*lines, "---", ""])


def _named(features: Mapping[str, Feature]) -> Iterator[str]:
    for name, feature in features.items():
        first, *rest = _typed(feature)
        yield f"- name: {name}"
        yield from (f"  {line}" for line in (first, *rest))


def _typed(feature: Feature) -> Iterator[str]:
    """The lines that say a column's type, as the `datasets` library writes it."""
    if isinstance(feature, str):
        yield f"dtype: {feature}"
    elif isinstance(feature, Mapping):
        yield "struct:"
        yield from _named(feature)
    elif isinstance(feature[0], str):
        yield f"list: {feature[0]}"
    elif isinstance(feature[0], Mapping):
        yield "list:"
        yield from _named(feature[0])
    else:
        yield "list:"
        yield from (f"  {line}" for line in _typed(feature[0]))


def _licence(manifest: Manifest) -> list[str]:
    stated = [source.licence for source in manifest.sources]
    if not any(stated):
        return ["license: unknown"]
    known = sorted({re.sub(r"[\s_]+", "-", text.strip().lower()) for text in stated if text})
    if not all(stated) or not _HUB_LICENCES.issuperset(known):
        return ["license: other", "license_name: see-the-sources"]
    return [f"license: {known[0]}"] if len(known) == 1 else ["license:", *(f"- {name}" for name in known)]


def _size(count: int) -> str:
    edges = [(_short(low), _short(high), high) for low, high in itertools.pairwise(_SIZES)]
    if count < _SIZES[0]:
        return "n<1K"
    return next((f"{low}<n<{high}" for low, high, most in edges if count < most), "n>1B")


def _short(number: int) -> str:
    """1000 as 1K."""
    return next(f"{number // of}{unit}" for of, unit in ((10**9, "B"), (10**6, "M"), (10**3, "K")) if number >= of)


def _text(text: str) -> str:
    """A text as YAML takes it, whatever it holds."""
    return orjson.dumps(text).decode()


def _sources(manifest: Manifest, where: str = "in `facts`") -> str:
    rows = "\n".join(
        f"| {source.name} | `{source.use}` | {source.records:,} | {_cell(source.licence) or 'not stated'} | "
        f"{'; '.join(part for part in (_cell(source.attribution), _attributed(source.attributed, where)) if part)} | "
        f"{_cell(source.origin_url)} |"
        for source in manifest.sources
    )
    return f"""## Where it is from

| source | shape | records | licence | attribution | from |
|---|---|---|---|---|---|
{rows}
"""


def _attributed(count: int, where: str) -> str:
    return f"{count:,} records name theirs, {where}" if count else ""


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")


def _made(manifest: Manifest) -> str:
    stops = ", ".join(f"`{token}`" for token in manifest.tokenizer.stop_tokens)
    return f"""{report.for_card(manifest)}

Chat template `{manifest.template.source}` (sha256 `{manifest.template.sha256[:16]}`), tokenizer
`{manifest.tokenizer.name}`, windows of {manifest.window} tokens, stop token {stops}; turns certified
{manifest.turns.certified:,}, forked {manifest.turns.forked:,}, refused {manifest.turns.refused:,}.

Digest `{manifest.digest}`: the same recipe over the same files gives it again on any machine.
"""
