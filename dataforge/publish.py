"""What was made becomes a build: shards, records and rejects under their names, and the manifest last."""

import hashlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from typing import Any

import orjson

from dataforge import assembly, card, diversity, pair_shards, shards
from dataforge.engines import cores
from dataforge.errors import BuildError
from dataforge.folders import Folder
from dataforge.recipe import Recipe, SourceSpec
from dataforge.records import canonical_json
from dataforge.schedule import Made
from dataforge.shards import Manifest, ShardEntry, SourceNote, Split, Stage, Statistics, Turns
from dataforge.stages import Facts, Work
from dataforge.tasks import Site


def publish(folder: Folder, site: Site, made: Made, key: str, inputs: Mapping[str, str]) -> Manifest:
    """Give everything its name in the build folder.

    An older build is taken away first, its manifest before all else, so that no moment shows a mixture. Raises
    `BuildError` where nothing is left to train on.
    """
    work = site.work
    manifest = _manifest(site, made, key, inputs)
    if not manifest.statistics["train"].rows:
        raise BuildError(f"{site.recipe.document.path}: nothing is left to train on: {_reasons(made, work)}")
    for name in ("manifest.json", "shards", "records", pair_shards.REFERENCE):
        folder.delete(name)
    for entry, (stage, _) in zip(manifest.shards, made.shards, strict=True):
        folder.publish(f".work/{work.name(stage, 'shard.arrow')}", entry.file)
    counted = Counter[Split]()
    for stage, facts in made.records:
        for split in shards.SPLITS:
            if facts["records"][split]:
                target = f"records/{split}-{counted[split]:05d}.parquet"
                folder.publish(f".work/{work.name(stage, f'{split}.parquet')}", target)
                counted[split] += 1
    folder.write("rejects.jsonl", _rejects(made, work))
    folder.write("README.md", card.of_build(manifest).encode())
    with ThreadPoolExecutor(cores()) as threads:
        found = list(threads.map(lambda entry: hashlib.sha256(folder.read(entry.file)).hexdigest(), manifest.shards))
    for entry, sha256 in zip(manifest.shards, found, strict=True):
        if sha256 != entry.sha256:
            raise BuildError(f"{folder.url}/{entry.file}: was not written as it was made; run the same command again")
    folder.write("manifest.json", manifest.model_dump_json(indent=2).encode() + b"\n")
    return manifest


def digest(manifest: Manifest) -> str:
    """The one number that two builds share exactly if they hold the same: see the design of the manifest.

    Versions, paths, floats and Parquet bytes do not enter.
    """
    decides = {
        "recipe_sha256": manifest.recipe_sha256,
        "inputs": manifest.inputs,
        "template": manifest.template.sha256,
        "tokenizer": manifest.tokenizer.sha256,
        "funnel": [_counts(stage) for stage in manifest.funnel],
        "shards": [(entry.split, entry.columns_sha256) for entry in manifest.shards],
    }
    return hashlib.sha256(canonical_json(decides)).hexdigest()


def _counts(stage: Stage) -> dict[str, Any]:
    return stage.model_dump(exclude={name for name in ("unfolded", "joined") if not getattr(stage, name)})


def recipe_sha256(recipe: Recipe) -> str:
    """A hash of all that a recipe says about what is built."""
    return hashlib.sha256(canonical_json(recipe.normalised())).hexdigest()


def noted(made: Made) -> dict[str, Counter[str]]:
    """What sources and steps counted, over all parts."""
    found: dict[str, Counter[str]] = {}
    for facts in made.reports:
        for name, counts in facts.get("noted", {}).items():
            found.setdefault(name, Counter()).update(counts)
    return found


def funnel(reports: list[Facts], assembled: Iterable[Facts] = ()) -> list[Stage]:
    """The stations down the line, each summed over the parts; before them what became of the records of joined files.

    The records of files that are not joined pass that station by, as others do the steps of one source.
    """
    stations = _stations(reports)
    joined = list(assembled)
    if not joined:
        return stations
    rejected = Counter[str]()
    for counts in joined:
        rejected.update(counts["rejected"])
    passed = stations[0].read
    more = sum(counts["read"] - counts["passed"] for counts in joined)
    first = Stage(
        stage=assembly.STATION,
        read=passed + more,
        passed=passed,
        rejected=dict(sorted(rejected.items())),
        joined=sum(counts["joined"] for counts in joined),
    )
    return [first, *stations]


def _stations(reports: list[Facts]) -> list[Stage]:
    found: dict[str, tuple[Counter[str], Counter[str]]] = {}
    for facts in reports:
        for name, counts in facts.get("stations", {}).items():
            sums, rejected = found.setdefault(name, (Counter(), Counter()))
            sums.update({key: counts.get(key, 0) for key in ("read", "passed", "added", "unfolded", "joined")})
            rejected.update(counts["rejected"])
    return [
        Stage(
            stage=name,
            read=sums["read"],
            passed=sums["passed"],
            rejected=dict(sorted(rejected.items())),
            added=sums["added"],
            unfolded=sums["unfolded"],
            joined=sums["joined"],
        )
        for name, (sums, rejected) in found.items()
    ]


def turns(reports: list[Facts]) -> Turns:
    """What became of the turns to train."""
    found = Counter[str]()
    for facts in reports:
        found.update(facts.get("turns", {}))
    return Turns(**{name: found[name] for name in Turns.model_fields})


def _rejects(made: Made, work: Work) -> Iterator[bytes]:
    """The lines of `rejects.jsonl` in the order of the records, a part at a time."""
    reports = iter(made.reports)
    for stages in made.stages:
        lines = [
            line
            for stage, facts in zip(stages, itertools.islice(reports, len(stages)), strict=True)
            if "rejects" in facts["files"]
            for line in work.read(stage, "rejects").splitlines(keepends=True)
        ]
        yield from sorted(lines, key=lambda line: int(orjson.loads(line)["ordinal"]))


def _reasons(made: Made, work: Work) -> str:
    stages = funnel(made.reports, made.assembled)
    counts = Counter({f"{stage.stage}/{reason}": count for stage in stages for reason, count in stage.rejected.items()})
    listed = ", ".join(f"{reason} {count:,}" for reason, count in counts.most_common(3))
    read, rejected = stages[0].read, counts.total()
    more, fewer = (sum(getattr(stage, name) for stage in stages) for name in ("unfolded", "joined"))
    said = f"{rejected:,} of {read + more - fewer:,} records were rejected{f' ({listed})' if listed else ''}"
    if more or fewer:
        became = [f"{more:,} more were made of them"] if more else []
        became += [f"{fewer:,} went into others"] if fewer else []
        said += f"; {read:,} were read, {' and '.join(became)}"
    if stages[-1].passed:
        said += f"; {stages[-1].passed:,} are left, all of them held for evaluation by `split`"
    first = next((orjson.loads(line) for line in _rejects(made, work)), None)
    return said + (f"; the first: {first['file']}:{first['line']}: {first['detail']}" if first else "")


def _manifest(site: Site, made: Made, key: str, inputs: Mapping[str, str]) -> Manifest:
    recipe, format_, counted = site.recipe, site.line.format, noted(made)
    entries = [ShardEntry.model_validate(facts["entry"]) for _, facts in made.shards]
    manifest = Manifest(
        format=shards.FORMAT,
        name=recipe.data.name,
        kind=recipe.data.kind,
        key=key,
        recipe=recipe.normalised(),
        recipe_sha256=recipe_sha256(recipe),
        inputs=dict(inputs),
        template=shards.TemplateEntry(
            source=recipe.data.chat,
            text=format_.template.text,
            sha256=hashlib.sha256(format_.template.text.encode()).hexdigest(),
            kwargs=format_.kwargs,
        ),
        tokenizer=shards.TokenizerEntry(
            name=format_.tokenizer.name,
            sha256=format_.tokenizer.sha256,
            vocabulary=format_.tokenizer.encoder.get_vocab_size(with_added_tokens=True),
            stop_tokens=format_.stop_tokens,
            new_tokens=format_.new_tokens,
        ),
        seed=recipe.data.seed,
        window=recipe.window,
        funnel=funnel(made.reports, made.assembled),
        turns=turns(made.reports),
        sources=[_source(spec, made) for spec in recipe.sources],
        statistics={split: _statistics(split, entries, made) for split in shards.SPLITS},
        shards=entries,
        measured=_measured(made),
        diversity=diversity.together(facts.get("diversity", {}) for facts in made.reports),
        noted={
            spec.name: dict(sorted(counts.items())) for spec in recipe.every_step if (counts := counted.get(spec.name))
        },
        versions={name: metadata.version(name) for name in ("dataforge", "tokenizers", "jinja2", "pyarrow")},
        digest="",
    )
    return manifest.model_copy(update={"digest": digest(manifest)})


def _measured(made: Made) -> dict[Split, dict[str, dict[str, int]]]:
    found: dict[Split, dict[str, Counter[str]]] = {}
    for facts in made.reports:
        for split, measures in facts.get("measured", {}).items():
            for what, ranges in measures.items():
                found.setdefault(split, {}).setdefault(what, Counter()).update(ranges)
    return {split: {what: dict(ranges) for what, ranges in of_split.items()} for split, of_split in found.items()}


def _source(spec: SourceSpec, made: Made) -> SourceNote:
    found = [facts["sources"].get(spec.name, {}) for _, facts in made.records]
    languages = Counter[str]()
    for each in found:
        languages.update(each.get("languages", {}))
    return SourceNote(
        name=spec.name,
        use=spec.entry.use,
        records=sum(each.get("records", 0) for each in found),
        attributed=sum(each.get("attributed", 0) for each in found),
        languages=dict(sorted(languages.items())),
        **spec.entry.said(),
    )


def _statistics(split: Split, entries: list[ShardEntry], made: Made) -> Statistics:
    mine = [entry for entry in entries if entry.split == split]
    lengths = Counter[int]()
    for entry, (_, facts) in zip(entries, made.shards, strict=True):
        if entry.split == split:
            lengths.update({int(length): count for length, count in facts["lengths"].items()})
    return Statistics(
        rows=lengths.total(),
        windows=sum(entry.windows for entry in mine),
        tokens=sum(length * count for length, count in lengths.items()),
        trained_tokens=sum(entry.trained_tokens for entry in mine),
        longest_row=max(lengths, default=0),
        median_row=_upper_median(lengths),
    )


def _upper_median(lengths: Mapping[int, int]) -> int:
    passed, half = 0, sum(lengths.values()) // 2
    for length, count in sorted(lengths.items()):
        passed += count
        if passed > half:
            return length
    return 0
