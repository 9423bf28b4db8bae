"""A month of a forum like Reddit: posts and comments as zipped NDJSON, sorted by time, the same for the same seed.

    python -m tests.bench.votes_month --comments 1000000 --work DIR

The columns and their average lengths are those of the dumps of June 2018 (35 of a comment, 40 of a post, about 1.0 kB a
line); 39 % of the comments answer the post itself, scores have a long tail, and few posts hold most of the comments.
"""

import argparse
import io
import string
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import zstandard

START, SECONDS = 1_527_811_200, 30 * 86_400
CHUNK = 100_000
FIRST_COMMENT, FIRST_POST = 36**6 // 4 * 3, 36**5 * 13
DIGITS = np.frombuffer((string.digits + string.ascii_lowercase).encode(), dtype=np.uint8)
WORDS = 2**22
"""Characters of made-up text that bodies are cut from."""


@dataclass(frozen=True)
class Month:
    """Where it lies and what is in it."""

    posts: Path
    comments: Path
    number_of_posts: int
    number_of_comments: int
    raw_bytes: int
    packed_bytes: int


@dataclass(frozen=True)
class _Posts:
    times: np.ndarray
    scores: np.ndarray
    own_text: np.ndarray
    authors: np.ndarray
    communities: np.ndarray
    ids: list[str]


def write(folder: Path, comments: int, seed: int = 7) -> Month:
    """Write both files."""
    draw = np.random.default_rng(seed)
    text = _text(draw)
    names = [_word(draw) + _word(draw) for _ in range(3000)]
    people = [f"{_word(draw)}_{_word(draw)}{number % 97}" for number in range(200_000)]
    posts = _posts(draw, max(20, comments // 8), len(names))
    found = Month(folder / "RS_2018-06.zst", folder / "RC_2018-06.zst", len(posts.times), comments, 0, 0)
    size = _pack(found.posts, _post_lines(draw, posts, names, people, text))
    size += _pack(found.comments, _comment_lines(draw, posts, comments, names, people, text))
    packed = found.posts.stat().st_size + found.comments.stat().st_size
    return Month(found.posts, found.comments, len(posts.times), comments, size, packed)


def _pack(path: Path, chunks: Iterator[bytes]) -> int:
    size = 0
    with path.open("wb") as raw, zstandard.ZstdCompressor(level=3, threads=2).stream_writer(raw) as packed:
        for chunk in chunks:
            packed.write(chunk)
            size += len(chunk)
    return size


def _posts(draw: np.random.Generator, count: int, communities: int) -> _Posts:
    return _Posts(
        times=np.sort(draw.integers(START, START + SECONDS, count)),
        scores=np.minimum(draw.pareto(0.75, count) * 2, 90_000).astype(np.int64),
        own_text=draw.random(count) < 0.42,
        authors=(draw.random(count) ** 2 * 200_000).astype(np.int64),
        communities=np.minimum(draw.pareto(0.8, count) * 12, communities - 1).astype(np.int64),
        ids=_base36(np.arange(count) + FIRST_POST, 6),
    )


def _post_lines(
    draw: np.random.Generator, posts: _Posts, names: list[str], people: list[str], text: str
) -> Iterator[bytes]:
    count = len(posts.times)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        chance, place = draw.random((size, 4)), draw.integers(0, WORDS - 60_000, size)
        length = np.minimum(draw.lognormal(5.8, 1.0, size), 20_000).astype(np.int64)
        lines = []
        for at in range(size):
            n = start + at
            name, author, time = names[posts.communities[n]], people[posts.authors[n]], int(posts.times[n])
            mine, where = bool(posts.own_text[n]), int(place[at])
            body = text[where : where + int(length[at])] if mine else ""
            if chance[at, 0] < 0.03:
                author, body = "[deleted]", "[deleted]" if mine else ""
            elif chance[at, 0] < 0.07 and mine:
                body = "[removed]"
            edited = "false" if chance[at, 1] > 0.04 else f"{time + 5000}.0"
            title = text[where + 20_000 : where + 20_052].replace("\\n", " ").rstrip("\\")
            lines.append(
                f'{{"archived":false,"author":"{author}","author_flair_background_color":null,'
                f'"author_flair_css_class":null,"author_flair_richtext":[],"author_flair_text":null,'
                f'"author_flair_text_color":null,"author_flair_type":"text","can_gild":true,"can_mod_post":false,'
                f'"category":null,"contest_mode":false,"created_utc":{time},"distinguished":null,'
                f'"domain":"{"self." + name if mine else "i.redd.it"}","edited":{edited},"gilded":0,"hidden":false,'
                f'"hide_score":false,"id":"{posts.ids[n]}","is_crosspostable":true,"is_meta":false,'
                f'"is_original_content":false,"is_self":{"true" if mine else "false"},"is_video":false,"locked":false,'
                f'"media":null,"no_follow":false,"num_comments":12,"num_crossposts":0,'
                f'"over_18":{"true" if chance[at, 2] < 0.17 else "false"},'
                f'"permalink":"/r/{name}/comments/{posts.ids[n]}/post/","retrieved_on":{time + 3_000_000},'
                f'"score":{int(posts.scores[n])},"selftext":"{body}","send_replies":true,"spoiler":false,'
                f'"stickied":{"true" if chance[at, 3] < 0.002 else "false"},"subreddit":"{name}",'
                f'"subreddit_id":"t5_2qh{posts.communities[n]:04d}","subreddit_type":"public","title":"{title}",'
                f'"url":"https://www.reddit.com/r/{name}/comments/{posts.ids[n]}/post/"}}\n'
            )
        yield "".join(lines).encode()


def _comment_lines(
    draw: np.random.Generator, posts: _Posts, count: int, names: list[str], people: list[str], text: str
) -> Iterator[bytes]:
    weight = np.cumsum((posts.scores + 1.0) ** 0.8)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        first, last = (START + SECONDS * (start + at) // count for at in (0, size))
        times = np.sort(draw.integers(first, max(last, first + 1), size))
        # A post's comments come within hours, and the more the higher its score.
        newest = weight[np.maximum(np.searchsorted(posts.times, times, side="right") - 1, 0)]
        chosen = np.searchsorted(weight, np.maximum(newest - draw.exponential(weight[-1] / 150, size), 0))
        chosen = np.minimum(chosen, np.maximum(np.searchsorted(posts.times, times, side="right") - 1, 0))
        chance, place = draw.random((size, 6)), draw.integers(0, WORDS - 20_000, size)
        length = np.minimum(draw.lognormal(4.55, 1.05, size) + 3, 10_000).astype(np.int64)
        tail = (draw.pareto(0.9, size) * 2 + 2).astype(np.int64)
        scores = np.where(chance[:, 0] < 0.46, 1, np.where(chance[:, 0] < 0.57, 1 - tail, np.minimum(tail, 30_000)))
        authors = (draw.random(size) ** 2 * 200_000).astype(np.int64)
        ids = _base36(np.arange(start, start + size) + FIRST_COMMENT, 7)
        parents = _base36(np.arange(start, start + size) + FIRST_COMMENT - 40_000, 7)
        yield _comment_chunk(
            posts, names, people, text, times, chosen, chance, place, length, scores, authors, ids, parents
        )


def _comment_chunk(
    posts: _Posts,
    names: list[str],
    people: list[str],
    text: str,
    *columns: np.ndarray | list[str],
) -> bytes:
    lines = []
    rows = zip(*(column.tolist() if isinstance(column, np.ndarray) else column for column in columns), strict=True)
    communities, post_authors = posts.communities.tolist(), posts.authors.tolist()
    for time, post, chance, where, length, score, writer, id_, parent_ in rows:
        name, body, author = names[communities[post]], text[where : where + length], people[writer]
        if chance[1] < 0.06:
            author, body = "[deleted]", "[deleted]" if chance[1] < 0.05 else "[removed]"
        elif chance[1] < 0.075:
            author, writer = "AutoModerator", -1
        link = posts.ids[post]
        parent = f"t3_{link}" if chance[2] < 0.39 else f"t1_{parent_}"
        flair = f'"{body[:12]}"' if chance[3] < 0.25 and "\\" not in body[:13] else "null"
        lines.append(
            f'{{"archived":false,"author":"{author}","author_cakeday":false,"author_flair_background_color":"",'
            f'"author_flair_css_class":{flair},"author_flair_richtext":[],"author_flair_template_id":null,'
            f'"author_flair_text":{flair},"author_flair_text_color":"dark","author_flair_type":"text",'
            f'"author_fullname":"t2_{where:06x}","body":"{body}","can_gild":true,"can_mod_post":false,'
            f'"collapsed":false,"collapsed_reason":null,"controversiality":0,"created_utc":{time},'
            f'"distinguished":{"null" if chance[5] > 0.01 else _MODERATOR},'
            f'"edited":{"false" if chance[4] > 0.03 else time + 900},"gilded":0,"id":"{id_}",'
            f'"is_submitter":{"true" if writer == post_authors[post] else "false"},"link_id":"t3_{link}",'
            f'"no_follow":true,"parent_id":"{parent}","permalink":"/r/{name}/comments/{link}/post/{id_}/",'
            f'"removal_reason":null,"retrieved_on":{time + 3_000_000},"rte_mode":"markdown","score":{score},'
            f'"score_hidden":false,"send_replies":true,"stickied":false,"subreddit":"{name}",'
            f'"subreddit_id":"t5_2qh{communities[post]:04d}","subreddit_name_prefixed":"r/{name}",'
            f'"subreddit_type":"public"}}\n'
        )
    return "".join(lines).encode()


_MODERATOR = '"moderator"'


def _base36(numbers: np.ndarray, width: int) -> list[str]:
    digits = np.empty((len(numbers), width), dtype=np.uint8)
    rest = numbers.astype(np.int64)
    for place in range(width - 1, -1, -1):
        digits[:, place] = DIGITS[rest % 36]
        rest = rest // 36
    return digits.view(f"S{width}").ravel().astype(str).tolist()


def _word(draw: np.random.Generator) -> str:
    return "".join(draw.choice(list("bcdfghklmnprst")) + draw.choice(list("aeiou")) for _ in range(draw.integers(1, 4)))


def _text(draw: np.random.Generator) -> str:
    """Made-up words by Zipf's law with what comments hold beside them, as it stands inside a JSON string."""
    words = [_word(draw) for _ in range(20_000)]
    extra = ["[this page](https://example.org/a?b=1)", "&gt; so", "&amp;", "\\n\\n", "\\n", "ELI5:", "it's", "I", "the"]
    written = io.StringIO()
    while written.tell() < WORDS:
        ranks = np.minimum(draw.zipf(1.3, 10_000) - 1, len(words) - 1)
        marks = draw.random(len(ranks))
        for rank, mark in zip(ranks.tolist(), marks.tolist(), strict=True):
            written.write(extra[rank % len(extra)] if mark < 0.02 else words[rank])
            written.write(". " if mark > 0.92 else " ")
    # A cut in the middle of an escape would break the line.
    return written.getvalue()[:WORDS].replace("\\n\\n", "\u00b6").replace("\\n", "\u2028").replace("\u2028", " ")


def main() -> None:
    """Write a month where the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--comments", type=int, default=1_000_000)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=7)
    asked = parser.parse_args()
    asked.work.mkdir(parents=True, exist_ok=True)
    print(write(asked.work, asked.comments, asked.seed))


if __name__ == "__main__":
    main()
