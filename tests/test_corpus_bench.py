"""The corpus that large builds are measured on: the same every time, and its duplicates are those it says."""

import hashlib
from pathlib import Path

import orjson
import pytest

from tests.bench import corpus

COUNT = 6000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of more records than are made at a time."""
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    corpus.write(COUNT, path)
    return path


def texts(path: Path) -> list[str]:
    records = [orjson.loads(line) for line in path.read_bytes().splitlines()]
    return [" ".join(f"{message['role']} {message['content']}" for message in record["messages"]) for record in records]


def test_a_seed_gives_the_same_bytes_and_another_gives_others(written: Path, tmp_path: Path) -> None:
    content = written.read_bytes()
    assert hashlib.sha256(content).hexdigest() == "6b08ed50855a32d30ee39c492be3eb2c9822af509fe39017237ddff020b0c464"
    corpus.write(COUNT, tmp_path / "again.jsonl", seed=8)
    assert (tmp_path / "again.jsonl").read_bytes() != content


def test_the_shares_of_duplicates_are_those_it_says(written: Path) -> None:
    truth = orjson.loads(written.with_suffix(".truth.json").read_bytes())
    found = [" ".join(text.split()) for text in texts(written)]
    assert truth == {"records": COUNT, "exact": COUNT - len(set(found)), "near": truth["near"]}
    assert truth["exact"] == pytest.approx(corpus.EXACT * COUNT, rel=0.4)
    assert truth["near"] == pytest.approx(corpus.NEAR * COUNT, rel=0.3)
    assert len(set(texts(written))) > len(set(found))


def test_near_duplicates_are_alike_and_others_are_not(written: Path) -> None:
    truth = orjson.loads(written.with_suffix(".truth.json").read_bytes())
    found = list(dict.fromkeys(" ".join(text.split()) for text in texts(written)))
    sets = [frozenset(text[place : place + 5] for place in range(len(text) - 4)) for text in found]
    holders: dict[str, list[int]] = {}
    near = set()
    for number, runs in enumerate(sets):
        # One exchanged phrase of 25 leaves either the first or the last forty characters as they were.
        for end in (found[number][:40], found[number][-40:]):
            for other in holders.setdefault(end, []):
                alike = len(runs & sets[other]) / len(runs | sets[other])
                if alike > 0.5:
                    assert alike > 0.75
                    near.add(number)
            holders[end].append(number)
    assert len(near) == truth["near"]


def test_records_are_about_a_thousand_characters_of_two_languages(written: Path) -> None:
    found = texts(written)
    assert sum(map(len, found)) / COUNT == pytest.approx(1000, rel=0.1)
    assert sum(text.isascii() for text in found) / COUNT == pytest.approx(0.8, abs=0.03)
