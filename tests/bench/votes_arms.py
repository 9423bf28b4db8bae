"""Two ways from a month's dump to written pairs, each a process of its own: this project's, and pandas.

    python -m tests.bench.votes_arms forge|pandas FOLDER TARGET

Both take what `sources/reddit` takes by default, make pairs by SHP's rule, keep five of a post, and write Parquet.
pandas shares no code with what it is compared to. A line of JSON tells what came out and when.
"""

import gc
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

WORKERS = 2


def forge(folder: Path, target: Path) -> dict[str, Any]:
    """Join the threads in this process, then mine their parts in two that stand ready, as a build does."""
    from dataforge import assembly, unpack
    from dataforge.sources import reddit

    begun, tally = time.monotonic(), assembly.Assembly()
    files = sorted((path.name, path) for path in folder.iterdir())
    facts: list[dict[str, Any]] = []
    pool = multiprocessing.get_context("spawn").Pool(WORKERS)
    with tempfile.TemporaryDirectory(dir=target.parent) as place, pool:
        scratch = Path(place)
        rows = (("", *row) for row in reddit.assemble(files, reddit.Settings(), scratch, tally))
        parts = []
        for name, content in unpack.parts(rows, facts):
            parts.append(scratch / name)
            parts[-1].write_bytes(content)
        joined = time.monotonic()
        target.mkdir()
        counts = pool.starmap(_mined, [(part, target / f"{part.stem}.parquet") for part in parts])
    return {
        "threads": tally.passed,
        "replies": tally.joined,
        "all_pairs": sum(all_ for all_, _ in counts),
        "pairs": sum(pairs for _, pairs in counts),
        "seconds_joined": joined - begun,
        "seconds": time.monotonic() - begun,
    }


def _mined(part: Path, target: Path) -> tuple[int, int]:
    gc.disable()  # as a build does within a task
    from dataforge import readers
    from dataforge.context import Context
    from dataforge.readers import Part, Span
    from dataforge.records import Preference, Ranking, Row
    from dataforge.sources import reddit
    from dataforge.steps import mine_votes

    context = Context(folder=part.parent, seed=7, is_eval=lambda record: False, token_counts=lambda texts: [])
    step: Any = mine_votes.start("mine_votes", mine_votes.Settings(), context)
    settings, found = reddit.Settings(), list[Preference]()
    for row in readers.unpacked(Part("reddit", part, Span(0, 0, 0, 1, 0, False, "")), part.read_bytes()):
        thread = reddit.convert(row, settings) if isinstance(row, Row) else row
        made = step.take(thread) if isinstance(thread, Ranking) else ()
        found += [each for each in (made if isinstance(made, list | tuple) else [made]) if isinstance(each, Preference)]
    columns = {
        "prompt": [pair.prompt[0].text for pair in found],
        "chosen": [pair.chosen[0].text for pair in found],
        "rejected": [pair.rejected[0].text for pair in found],
        **{key: [pair.facts[key] for pair in found] for key in ("score_ratio", "seconds_later", "id_chosen", "post")},
    }
    pq.write_table(pa.table(columns), target)
    counts = step.noted()
    return counts.get("pairs", 0) + counts.get("pairs_per_post", 0), len(found)


BOTS = (
    "autotldr autourbanbot helperbot_ imguralbumbot remindmebot sneakpeekbot totesmessenger video_link_bot wikitextbot"
)
BOTS += " wikipediasummary gifreversingbot haikusbot"


def in_pandas(folder: Path, target: Path) -> dict[str, Any]:
    """All of it in memory."""
    begun = time.monotonic()
    frames = {kind: pd.read_json(next(folder.glob(f"{kind}_*")), lines=True, dtype=False) for kind in ("RS", "RC")}
    posts, comments = frames["RS"], frames["RC"]
    posts = posts[
        posts.is_self
        & ~posts.author.isin(["[deleted]"])
        & ~posts.selftext.isin(["[deleted]", "[removed]"])
        & posts.distinguished.isna()
        & _people(posts)
        & (posts.edited == 0)
        & ~posts.over_18
        & ~posts.stickied
        & ~posts.hide_score
        & (posts.score >= 10)
        & (posts.created_utc < 1672531200)
    ]
    comments = comments[
        (comments.parent_id == comments.link_id)
        & (comments.score >= 2)
        & ~comments.author.isin(["[deleted]"])
        & ~comments.body.isin(["[deleted]", "[removed]"])
        & comments.distinguished.isna()
        & _people(comments)
        & ~comments.stickied
        & ~comments.score_hidden
    ]
    comments = comments.assign(post=comments.link_id.str.slice(3))
    found = comments.merge(
        posts[["id", "title", "selftext", "author"]], left_on="post", right_on="id", suffixes=("", "_p")
    )
    found = found[(found.author != found.author_p) & ~found.is_submitter]
    found = found.sort_values(["score", "created_utc", "id"], ascending=[False, True, True]).groupby("post").head(50)
    found = found[found.groupby("post")["id"].transform("size") >= 2]
    kept = found[["post", "id", "title", "selftext", "body", "score", "created_utc"]]
    pairs = kept.merge(kept[["post", "id", "body", "score", "created_utc"]], on="post", suffixes=("", "_r"))
    pairs = pairs[(pairs.score > pairs.score_r) & (pairs.created_utc >= pairs.created_utc_r)]
    some = pairs.groupby("post").sample(frac=1, random_state=7).groupby("post").head(5)
    target.mkdir()
    prompt = some.title + "\n\n" + some.selftext
    pd.DataFrame({"prompt": prompt, "chosen": some.body, "rejected": some.body_r}).to_parquet(target / "pairs.parquet")
    return {
        "threads": int(kept.post.nunique()),
        "replies": len(kept),
        "all_pairs": len(pairs),
        "pairs": len(some),
        "seconds": time.monotonic() - begun,
    }


def _people(frame: pd.DataFrame) -> "pd.Series[bool]":
    """Whether an author is neither a moderator's robot nor another."""
    named = frame.author.str.lower().isin(["automoderator", *BOTS.split()])
    return ~(named | frame.author.str.contains(r"(?:[-_]bot|[a-z0-9]Bot|BOT)[-_]?[0-9]*$|^bot[-_]", regex=True))


if __name__ == "__main__":
    way = {"forge": forge, "pandas": in_pandas}[sys.argv[1]]
    print(json.dumps(way(Path(sys.argv[2]), Path(sys.argv[3]))))
