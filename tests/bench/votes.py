"""How fast pairs are mined of a month like Reddit's, in how much memory, and against pandas.

    python -m tests.bench.votes --comments 20000000 --pandas 1000000 --work DIR [--out tests/bench]
    python -m tests.bench.votes --real FOLDER

A month of votes_month.py is written to DIR (0.12 GB for each million comments) and mined up to written Parquet by
votes_arms.py, and then once more while the memory of all processes together is looked at every 0.2 s (PSS), which
takes time of its own. Of the smaller month of `--pandas` the same is done in pandas, by turns, three times; threads,
replies and pairs must be the same. The table goes to votes.md.

`--real` reads `submissions.derived.ndjson` and `comments.derived.ndjson` in FOLDER by the source and by pandas, and
compares threads, replies and pairs of both.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from tests.bench import votes_month
from tests.bench.memory import ROOT, Watch, machine

TURNS = 3
SAME = ("threads", "replies", "all_pairs", "pairs")


def main() -> None:
    """Measure and write the table, or compare on real files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comments", type=int, default=1_000_000)
    parser.add_argument("--pandas", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--real", type=Path)
    asked = parser.parse_args()
    if asked.real is not None:
        raise SystemExit(real(asked.real))
    if asked.work is None:
        parser.error("give --work, the folder to write the month to")
    small, raw = month(asked.work, asked.pandas)
    turns = [{way: measured(way, small, asked.work) for way in ("forge", "pandas")} for _ in range(TURNS)]
    for turn in turns:
        if any(turn["forge"][key] != turn["pandas"][key] for key in SAME):
            raise SystemExit(f"the two ways differ: {turn}")
    lines = [
        "# Pairs of a month of votes",
        "",
        f"From zipped dumps to written pairs, by SHP's rules. {machine()}; load before: {os.getloadavg()[0]:.1f}.",
        "Memory is the peak PSS of all processes together, in a run of its own, as to look at it slows a process down.",
        "Of several turns the median, with the least and the most.",
        "",
        "| comments | raw, GB | way | seconds | comments/s | threads joined after, s | peak PSS, MB | pairs |",
        "|---:|---:|---|---:|---:|---:|---:|---:|",
    ]
    for way in ("forge", "pandas"):
        lines.append(row(asked.pandas, raw, way, [turn[way] for turn in turns], peak(way, small, asked.work)))
    ratios = sorted(turn["pandas"]["seconds"] / turn["forge"]["seconds"] for turn in turns)
    if asked.comments != asked.pandas:
        large, raw = month(asked.work, asked.comments)
        turns = [measured("forge", large, asked.work) for _ in range(TURNS)]
        lines.append(row(asked.comments, raw, "forge", turns, peak("forge", large, asked.work)))
    lines += [
        "",
        f"pandas takes {statistics.median(ratios):.1f} times as long ({ratios[0]:.1f} to {ratios[-1]:.1f}) on "
        f"{asked.pandas:,} comments, which it holds in memory; threads, replies and pairs are the same.",
    ]
    (asked.out / "votes.md").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


def month(work: Path, comments: int) -> tuple[Path, int]:
    """The folder of a month of that size, written if it is not there, and its bytes once unpacked."""
    folder, note = work / f"month-{comments}", work / f"month-{comments}.json"
    if not note.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        note.write_text(json.dumps({"raw": votes_month.write(folder, comments).raw_bytes}))
    return folder, int(json.loads(note.read_text())["raw"])


def measured(way: str, folder: Path, work: Path) -> dict[str, Any]:
    """What a way tells of itself, with the wall time of its process."""
    with started(way, folder, work) as process:
        begun = time.monotonic()
        output, _ = process.communicate()
        seconds = time.monotonic() - begun
    return {**json.loads(output), "seconds": seconds}


def peak(way: str, folder: Path, work: Path) -> int:
    """The most bytes that all processes of a way took together."""
    with started(way, folder, work) as process:
        watch = Watch(process.pid)
        sampler = threading.Thread(target=watch.run)
        sampler.start()
        process.communicate()
        watch.stop()
        sampler.join()
    return watch.peak.pss


@contextmanager
def started(way: str, folder: Path, work: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """A way as a process; what it writes goes."""
    target = work / "pairs"
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "tests.bench.votes_arms", way, str(folder), str(target)]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path})
    yield process
    shutil.rmtree(target, ignore_errors=True)
    if process.returncode:
        raise SystemExit(f"{way} ended with {process.returncode}")


def row(comments: int, raw: int, way: str, turns: list[dict[str, Any]], pss: int) -> str:
    """A line of the table."""
    seconds = sorted(turn["seconds"] for turn in turns)
    middle = statistics.median(seconds)
    spread = f" ({seconds[0]:.1f} to {seconds[-1]:.1f})" if len(seconds) > 1 else ""
    joined = statistics.median(turn.get("seconds_joined", 0) for turn in turns)
    cells = [
        *(f"{comments:,}", f"{raw / 1e9:.1f}", way, f"{middle:.1f}{spread}", f"{comments / middle:,.0f}"),
        *(f"{joined:.1f}" if joined else "", f"{pss / 1e6:,.0f}", f"{turns[0]['pairs']:,}"),
    ]
    return f"| {' | '.join(cells)} |"


def real(folder: Path) -> str | None:
    """Compare the source with pandas on real files; what differs, or nothing."""
    from dataforge.assembly import Assembly
    from dataforge.sources import reddit

    files = [(name, folder / name) for name in ("comments.derived.ndjson", "submissions.derived.ndjson")]
    with tempfile.TemporaryDirectory() as scratch:
        rows = [row for _, row in reddit.assemble(files, reddit.Settings(), Path(scratch), Assembly())]
    frames = [pd.read_json(path, lines=True, dtype=False) for _, path in files]
    comments, posts = frames
    posts = posts[posts.is_self & (posts.score >= 10) & ~posts.over_18 & posts.edited.isin([False])]
    posts = posts[posts.distinguished.isna() & posts.author.notna()]
    comments = comments[(comments.parent_id == comments.link_id) & (comments.score >= 2) & comments.author.notna()]
    comments = comments[comments.distinguished.isna() & ~comments.body.isin(["[deleted]", "[removed]"])]
    comments = comments.assign(post=comments.link_id.str.slice(3))
    found = comments.merge(posts[["id", "author"]], left_on="post", right_on="id", suffixes=("", "_p"))
    found = found[found.author != found.author_p][["post", "score", "created_utc"]]
    twos = found.merge(found, on="post", suffixes=("", "_r"))
    twos = twos[(twos.score > twos.score_r) & (twos.created_utc >= twos.created_utc_r)]
    expected = [sorted(set(found.post)), len(found), len(twos), int((twos.score >= 2 * twos.score_r).sum())]
    listed = [(row["id"], row["comments"]) for row in rows if isinstance(row, dict)]
    scored = [
        (one["score"], other["score"])
        for _, all_ in listed
        for one in all_
        for other in all_
        if one["score"] > other["score"] and one["created"] >= other["created"]
    ]
    seen = [
        sorted(id_ for id_, _ in listed),
        sum(len(all_) for _, all_ in listed),
        len(scored),
        sum(one >= 2 * other for one, other in scored),
    ]
    print("posts, comments, pairs, pairs of ratio 2 or more:", seen)
    return None if seen == expected else f"pandas finds {expected}"


if __name__ == "__main__":
    main()
