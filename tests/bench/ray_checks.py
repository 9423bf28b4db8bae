"""Builds through Ray on a cluster that the build itself starts, checked where the extra `ray` is installed.

pytest tests/bench/ray_checks.py
"""

import contextlib
import json
import os
import platform
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from dataforge import config, data_files, engines, readers, recipe
from dataforge.errors import BuildError, InputError, TemplateError
from dataforge.stages import Facts
from dataforge.tasks import PartTask, Site
from tests.dataforge.conftest import RECORDS, Forge

pytest_plugins = ["tests.dataforge.conftest"]
Write = Callable[..., Path]
MANY = [{**record, "instruction": f"{number} {record['instruction']}"} for number in range(150) for record in RECORDS]
LOCAL = {"RAY_ADDRESS": "local"}


def test_a_build_through_ray_is_the_build_on_this_machine(forge: Forge, write_recipe: Write) -> None:
    name = write_recipe(MANY).name
    here = json.loads(forge("build", name, "--out", "here", "--json").stdout)
    there = forge("build", name, "--out", "there", "--engine", "ray", "--workers", "2", "--json", **LOCAL)
    assert there.returncode == 0, there.stderr
    assert json.loads(there.stdout)["digest"] == here["digest"]
    again = forge("build", name, "--out", "there", "--engine", "ray", "--json", **LOCAL)
    assert json.loads(again.stdout)["reused"]


@pytest.mark.parametrize("sample", ["reddit", "stackexchange"])
def test_threads_of_several_files_are_joined_and_mined_through_ray(sample: str, forge: Forge, tmp_path: Path) -> None:
    """Pairs of each post one by one, and of a month of Reddit thinned by their lengths, which is a gather."""
    build = ["build", str(data_files.folder("samples") / "recipes" / f"{sample}.yaml"), "split.eval=0"]
    if sample == "reddit":
        _month(tmp_path / "month", 300)
        build += [f"sources.0.path={tmp_path / 'month'}", "steps.0.balance=length", "steps.0.min_ratio=1"]
    here = forge(*build, "--out", "here")
    assert here.returncode == 0, here.stderr
    there = forge(*build, "--out", "there", "--engine", "ray", "--workers", "2", **LOCAL)
    assert there.returncode == 0, there.stderr
    for file in ("rejects.jsonl", "shards/train-00000.arrow"):
        assert (tmp_path / "here" / file).read_bytes() == (tmp_path / "there" / file).read_bytes()
    one, other = (json.loads((tmp_path / out / "manifest.json").read_bytes()) for out in ("here", "there"))
    assert one["funnel"][0]["stage"] == "threads"
    assert sample != "reddit" or one["noted"]["mine_votes"]["longer_thinned"] > 100
    for key in ("digest", "funnel", "noted", "measured"):
        assert one[key] == other[key]


def _month(folder: Path, posts: int) -> None:
    """Made posts with six comments each, of which the longer have the higher scores more often."""
    folder.mkdir()
    draw = random.Random(5)
    with (folder / "RS").open("w") as submissions, (folder / "RC").open("w") as comments:
        for number in range(posts):
            at = {"created_utc": 1_500_000_000 + 60 * number, "subreddit": "made"}
            post = {"id": f"p{number}", "title": f"Question {number}?", "selftext": "So?", "score": 20, "author": "a"}
            submissions.write(json.dumps({**post, **at, "is_self": True}) + "\n")
            for answer in range(6):
                words = draw.randint(1, 40)
                comment = {"id": f"c{number}x{answer}", "author": f"b{answer}", "body": "word " * words}
                links = {"link_id": f"t3_p{number}", "parent_id": f"t3_p{number}"}
                score = 2 + words + draw.randint(0, 30)
                comments.write(
                    json.dumps({**at, **comment, **links, "score": score, "created_utc": at["created_utc"] + answer})
                    + "\n"
                )


def test_an_address_where_nobody_answers_is_told_in_one_line(forge: Forge, write_recipe: Write) -> None:
    done = forge("build", write_recipe(RECORDS), "--engine", "ray", RAY_ADDRESS="127.0.0.1:1")
    assert done.returncode == 2, done.stderr
    assert "127.0.0.1:1" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_an_interrupted_build_stops_at_once_and_goes_on_where_it_was(write_recipe: Write, tmp_path: Path) -> None:
    name = write_recipe(MANY).name
    command = [sys.executable, "-m", "dataforge", "build", name, "--engine", "ray", "--workers", "1"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env={**os.environ, **LOCAL}, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    work = tmp_path / "builds" / "small" / ".work"
    while not list(work.glob("*/*.done")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "goes on from there" in said.splitlines()[-1]
    done = subprocess.run(command, cwd=tmp_path, env={**os.environ, **LOCAL}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "tasks found done" in done.stdout


@dataclass(frozen=True)
class Raises:
    """A task that cannot be done."""

    error: Exception
    keys: tuple[str, ...] = ()

    def run(self, site: Site) -> list[Facts]:
        """Raise."""
        raise self.error


@dataclass(frozen=True)
class Dies:
    """A task whose process dies until it has been tried so often."""

    marks: Path
    times: int
    keys: tuple[str, ...] = ()

    def run(self, site: Site) -> list[Facts]:
        """Leave a mark, and die or report."""
        tried = len(list(self.marks.iterdir()))
        (self.marks / str(tried)).touch()
        if tried < self.times:
            os.kill(os.getpid(), signal.SIGKILL)
        return [{"tried": tried, "made": True}]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Ray in this process, with one CPU; its workers find the tasks that this file defines."""
    import ray

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
        yield
        ray.shutdown()


@pytest.fixture
def engine(cluster: None, write_recipe: Write, tmp_path: Path) -> Iterator[Any]:
    """An engine for a small recipe."""
    with contextlib.closing(engines.Opened("ray", _site(write_recipe, tmp_path), 1)) as opened:
        yield opened


def _site(write_recipe: Write, tmp_path: Path) -> Site:
    return Site(recipe.read(config.load(write_recipe(RECORDS), ())), str(tmp_path / "work"))


def test_what_the_user_can_mend_comes_out_as_it_was_raised(engine: Any) -> None:
    for error in (TemplateError("line 3: no"), OSError(28, "No space left on device", "/there/a.arrow")):
        with pytest.raises(type(error)) as raised:
            list(engine.run([Raises(error)]))
        assert type(raised.value) is type(error)
        assert (raised.value.args, str(raised.value)) == (error.args, str(error))


def test_another_error_keeps_its_type_and_its_traceback(engine: Any) -> None:
    with pytest.raises(ZeroDivisionError, match=r"ray_checks\.py.*in run(?s:.)*raise self\.error"):
        list(engine.run([Raises(ZeroDivisionError("a bug"))]))


def test_a_source_that_a_node_does_not_see_is_told_with_the_node(engine: Any, tmp_path: Path) -> None:
    span = readers.Span(0, 10, 0, 1, 1, array=False, hash="")
    part = readers.Part("corpus", tmp_path / "elsewhere.jsonl", span)
    with pytest.raises(InputError, match=rf"elsewhere\.jsonl: is not there on the node {platform.node()}; sources are"):
        list(engine.run([PartTask(part, 0, "a" * 32, "b" * 32)]))


def test_a_task_whose_process_dies_is_tried_again(engine: Any, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    found = dict(engine.run([Dies(tmp_path / "marks", 2), Dies(tmp_path / "marks", 2)]))
    assert set(found) == {0, 1}
    assert len(list((tmp_path / "marks").iterdir())) == 4


def test_a_task_whose_process_always_dies_is_told_in_one_line(engine: Any, tmp_path: Path) -> None:
    (tmp_path / "marks").mkdir()
    with pytest.raises(BuildError, match=r"^Ray could not have Dies done in 4 tries[^\n]*$"):
        list(engine.run([Dies(tmp_path / "marks", 100)]))
    assert len(list((tmp_path / "marks").iterdir())) == 4


def test_no_more_tasks_wait_than_there_is_room_for(engine: Any, tmp_path: Path) -> None:
    taken: list[int] = []
    waiting = Taken([Dies(tmp_path, 0) for _ in range(50)], taken)
    most = 0
    for done, _ in enumerate(engine.run(waiting), start=1):
        most = max(most, len(taken) - done + 1)
    assert (len(taken), most) == (50, 2)


class Taken(list[Dies]):
    """Tasks that note when they are taken."""

    def __init__(self, tasks: list[Dies], taken: list[int]) -> None:
        super().__init__(tasks)
        self._taken = taken

    def __iter__(self) -> Iterator[Dies]:
        for number, task in enumerate(list.__iter__(self)):
            self._taken.append(number)
            yield task


def test_a_node_that_would_make_something_else_is_refused(cluster: None, write_recipe: Write, tmp_path: Path) -> None:
    from dataforge.engines import ray as engine

    site = _site(write_recipe, tmp_path)
    place = Path(site.url)
    place.mkdir()
    (place / "ray-job").write_text("mine")
    agreed = {**engine._agreed(site), "the version of tokenizers": "0.0.1"}

    def refused(**changes: Any) -> str:
        job = replace(engine._Job("mine", Site(site.recipe, site.url), None, agreed), **changes)
        found = engine._run(job, Raises(ValueError("is not reached")))
        assert isinstance(found, BuildError)
        return str(found)

    assert "it differs in the version of tokenizers;" in refused()
    assert "does not see the stage cache of this build" in refused(id="another build's")
    assert "does not see the stage cache" in refused(site=Site(site.recipe, str(tmp_path / "not-shared")))
    assert "not-here: is not there on the node" in refused(folder=str(tmp_path / "not-here"))
