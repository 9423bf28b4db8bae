"""What the stages in a `.work` folder belong to and were last made from: to explain a build, and to prune the cache."""

import hashlib
from collections import Counter
from collections.abc import Mapping

from dataforge.records import canonical_json
from dataforge.stages import Ingredients, Work, program, read_note, write_note

_FILE = "index.json"
_PROGRAM = "this program"


class Index:
    """Of the last build that finished: each stage's ingredients; of each key: the last build that used it."""

    def __init__(self, work: Work) -> None:
        self._work = work
        found = read_note(work.folder, _FILE) or {}
        self._builds = int(found.get("builds", 0))
        self._last: dict[str, dict[str, str]] = found.get("last", {})
        self._used: dict[str, int] = found.get("used", {})

    def reason(self, name: str, ingredients: Ingredients) -> str:
        """Why a stage that is not there has to be made."""
        last = self._last.get(name)
        if last is None:
            return "new"
        now = _hashes(ingredients)
        changed = sorted(label for label in {*last, *now} if last.get(label) != now.get(label))
        return f"{' and '.join(changed)} changed" if changed else "its files are gone or damaged"

    def finish(self, why: Mapping[str, tuple[str, Ingredients]], limit: int) -> None:
        """Note what a build has used, and forget what was used least lately until `limit` bytes are left."""
        self._builds += 1
        self._last = {name: _hashes(ingredients) for name, ingredients in why.values()}
        self._used.update(dict.fromkeys(why, self._builds))
        sizes = self._work.keys()
        total = sum(sizes.values())
        gone = set[str]()
        for key in sorted(sizes, key=lambda key: (self._used.get(key, 0), key)):
            if total <= limit:
                break
            total -= sizes[key]
            gone.add(key)
        self._work.forget(gone)
        self._used = {key: build for key, build in self._used.items() if key in sizes and key not in gone}
        write_note(self._work.folder, _FILE, {"builds": self._builds, "last": self._last, "used": self._used})


def counted(reasons: list[str]) -> str:
    """Reasons with how often each was given, the commonest first."""
    listed = Counter(reasons).most_common()
    return "; ".join(reason if len(listed) == 1 else f"{count} as {reason}" for reason, count in listed)


def _hashes(ingredients: Ingredients) -> dict[str, str]:
    found = {
        label: hashlib.blake2b(canonical_json(value), digest_size=8).hexdigest() for label, value in ingredients.items()
    }
    return {**found, _PROGRAM: program()[:16]}
