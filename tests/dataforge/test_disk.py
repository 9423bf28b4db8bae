"""What a build is said to need, beside what it then takes."""

import json
from pathlib import Path

import pytest

from dataforge import config, disk, recipe
from dataforge.build import build, site_in
from dataforge.folders import LocalFolder
from dataforge.plan import planned
from tests.bench import corpus


@pytest.mark.parametrize("steps", [[], [{"use": "dedupe"}]], ids=["plain", "dedupe"])
def test_a_build_takes_about_as_much_disk_as_was_said(steps: list[dict[str, str]], tmp_path: Path) -> None:
    corpus.write(3000, tmp_path / "corpus.jsonl")
    sources = [{"use": "openai", "path": "corpus.jsonl"}]
    (tmp_path / "r.yaml").write_text(
        json.dumps({"name": "r", "tokenizer": "smollm2-135m", "sources": sources, "steps": steps})
    )
    document, out = config.load(tmp_path / "r.yaml", ()), tmp_path / "b"
    plan = planned(site_in(LocalFolder(str(out)), recipe.read(document)), LocalFolder(str(out)), {})
    said = disk.estimate(plan.site.line, disk.input_sizes(plan.intakes), {})
    build(document, out, lambda text: None)
    whole = _once(out)
    taken = sum(_once(out / name) for name in ("records", "shards"))
    assert said.build == pytest.approx(taken, rel=0.15)
    assert said.build + said.work == pytest.approx(whole, rel=0.15)


def _once(folder: Path) -> int:
    """Bytes of all files, one with two names counted once."""
    return sum({(each := path.stat()).st_ino: each.st_size for path in folder.rglob("*") if path.is_file()}.values())
