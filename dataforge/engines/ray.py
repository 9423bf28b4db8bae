"""Tasks on a Ray cluster: the one that RAY_ADDRESS names, that this machine belongs to, or that is started for a build.

Ray schedules a task on one CPU and tries it again elsewhere where a process or a machine is lost. Tasks that wait are
what an autoscaler goes by; no more than two a CPU are handed over, so that little memory is taken by what waits. Every
process checks before its first task that it would make the same bytes as the one that asks, and that both see the same
stage cache.
"""

import itertools
import logging
import os
import platform
import socket
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import dataclass
from hashlib import sha256
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from dataforge import components, data_files
from dataforge.errors import BuildError, ForgeError, InputError, first_line
from dataforge.folders import at
from dataforge.shards import sha256_of
from dataforge.stages import Facts, program
from dataforge.tasks import Site, Task

try:
    import ray
    from ray.exceptions import RayError, RaySystemError, RayTaskError
except ModuleNotFoundError as error:
    raise BuildError(f"the engine ray cannot be loaded ({error}): pip install 'dataforge[ray]'") from None

RETRIES = 3
TASKS_PER_CPU = 2
_LOOK_AGAIN_S = 5.0
"""A cluster may have grown while no task ended."""
_TOKEN = "ray-job"
_MAKE_BYTES = ("duckdb", "fastokens", "jinja2", "numpy", "orjson", "pyarrow", "rensa", "tokenizers")
"""The packages whose versions may show in what is built."""


@dataclass(frozen=True)
class _Job:
    """What every process of a build is told once."""

    id: str
    """Stands in a file of the stage cache, too."""
    site: Site
    folder: str | None
    """Where relative paths of the recipe start, if there are any."""
    agreed: Mapping[str, str]
    """What must be the same on every node."""


def start(site: Site, workers: int) -> "Ray":
    """Connect to a cluster, or start one of so many CPUs on this machine where there is none.

    Raises `BuildError` where RAY_ADDRESS names a cluster that does not answer.
    """
    place = site.url if "://" in site.url else str(Path(site.url).absolute())
    folder = None if site.recipe.document.path.is_absolute() else str(Path.cwd())
    # Another site than the caller's, which may have loaded what no process needs to be sent.
    job = _Job(uuid.uuid4().hex, Site(site.recipe, place), folder, _agreed(site))
    at(place).write(_TOKEN, job.id.encode())
    with ExitStack() as stack:
        if not ray.is_initialized():
            # Ray tells of lost nodes on standard output, which is for the command's own report.
            stack.enter_context(redirect_stdout(sys.stderr))
            _connect(workers)
            stack.callback(ray.shutdown)
        return Ray(job, stack.pop_all())


class Ray:
    """A cluster at work for one build."""

    def __init__(self, job: _Job, connection: ExitStack) -> None:
        self._job, self._connection = ray.put(job), connection
        self._run = ray.remote(num_cpus=1, max_retries=RETRIES)(_run)
        self._busy: dict[Any, int] = {}

    def run(self, tasks: Sequence[Task]) -> Iterator[tuple[int, list[Facts]]]:
        """What each task reports, with its number, as they end.

        Raises what a task raises, and `BuildError` where Ray has lost the process of a task once too often.
        """
        waiting, busy = iter(enumerate(tasks)), self._busy
        while True:
            for number, task in itertools.islice(waiting, max(0, _room() - len(busy))):
                busy[self._run.options(name=type(task).__name__).remote(self._job, task)] = number
            if not busy:
                return
            ray.wait(list(busy), num_returns=1, timeout=_LOOK_AGAIN_S)
            ended, _ = ray.wait(list(busy), num_returns=len(busy), timeout=0)
            for reference in ended:
                number = busy.pop(reference)
                yield number, _result(reference, tasks[number])

    def close(self) -> None:
        """Stop the tasks at once; what they had begun is made again when it is asked for."""
        for reference in self._busy:
            ray.cancel(reference, force=True)
        self._busy.clear()
        self._connection.close()


def _connect(workers: int) -> None:
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    address = os.environ.get("RAY_ADDRESS") or "auto"
    try:
        if address not in ("auto", "local"):
            _knock(address)
        if address != "local":
            ray.init(address=address, **quiet)
            return
    except (ConnectionError, OSError, ValueError) as error:
        if address != "auto" or "Could not find any running Ray" not in str(error):
            raise BuildError(
                f"no Ray cluster answers at {address} ({first_line(error)}); set RAY_ADDRESS to its head, HOST:6379 "
                "(and RAY_AUTH_MODE to 'token' where it asks for one), or to 'local' for one on this machine alone"
            ) from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    ray.init(address="local", num_cpus=workers, include_dashboard=False, **quiet)


def _knock(address: str) -> None:
    """Raise `OSError` or `ValueError` where nobody listens; Ray itself would ask for a quarter of an hour."""
    place = urlsplit(f"//{address.removeprefix('ray://')}")
    with socket.create_connection((place.hostname, place.port), timeout=10):
        pass


def _room() -> int:
    """How many tasks may be handed over; a cluster that has no CPU yet is asked for one."""
    return max(1, TASKS_PER_CPU * int(ray.cluster_resources().get("CPU", 0)))


def _result(reference: Any, task: Task) -> list[Facts]:
    try:
        found: list[Facts] | ForgeError | OSError = ray.get(reference)
    except RaySystemError as error:
        raise BuildError(
            f"a node cannot load the task that it was given ({_last_line(error)}); install there what is installed "
            "here: pip install 'dataforge[ray]' on every node"
        ) from None
    except RayTaskError:
        raise
    except RayError as error:
        raise BuildError(
            f"Ray could not have {type(task).__name__} done in {RETRIES + 1} tries ({first_line(error)}); if memory "
            "ran out, give the nodes fewer CPUs (`ray start --num-cpus`) than they have"
        ) from None
    if isinstance(found, BaseException):
        raise found
    return found


def _last_line(error: Exception) -> str:
    return str(error).strip().splitlines()[-1].strip()


_sites: dict[str, Site] = {}
"""In a process of the cluster: the site of the job that it last worked for."""


def _run(job: _Job, task: Task) -> list[Facts] | ForgeError | OSError:
    """In a process of the cluster: do a task. What the caller has a sentence for is returned, other errors raised."""
    try:
        if job.id not in _sites:
            _sites.clear()
            _sites[job.id] = _arrive(job)
        return task.run(_sites[job.id])
    except (ForgeError, OSError) as error:
        missing = error.__context__ if isinstance(error, InputError) else error
        if not isinstance(missing, FileNotFoundError) or missing.filename is None:
            return error
        return InputError(
            f"{Path(job.folder or '') / str(missing.filename)}: is not there on the node {platform.node()}; sources "
            "are read by their paths, so every node must see them where the recipe names them (a shared file system)"
        )


def _arrive(job: _Job) -> Site:
    """Make a process ready for a job: raises `BuildError` where it would not make the same as the one that asks."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAYON_NUM_THREADS"] = "1"
    here = f"the node {platform.node()}"
    if job.folder is not None:
        try:
            os.chdir(job.folder)
        except OSError:
            raise BuildError(
                f"{job.folder}: is not there on {here}, and the recipe was given relative to it; name the recipe by a "
                "path that every node sees, as its sources must be"
            ) from None
    try:
        found = job.site.work.folder.read(_TOKEN)
    except FileNotFoundError:
        found = b""
    if found != job.id.encode():
        raise BuildError(
            f"{job.site.url}: {here} does not see the stage cache of this build; give --out a folder of a file system "
            "that all nodes share, or a URL such as s3://BUCKET/NAME"
        )
    try:
        agreed = _agreed(job.site)
    except ForgeError as error:
        raise BuildError(f"{here}: {error}") from None
    other = [name for name, value in job.agreed.items() if agreed.get(name) != value]
    if other:
        raise BuildError(
            f"{here} would build something else: it differs in {', '.join(other)}; install there what is installed "
            "here, and let both read the same files"
        )
    return job.site


def _agreed(site: Site) -> dict[str, str]:
    """Hashes and versions of all that a task's bytes depend on, beside the sources, whose parts have their own."""
    format_ = site.line.format
    return {
        "the version of dataforge": program(),
        **{f"the version of {name}": metadata.version(name) for name in _MAKE_BYTES},
        f"the tokenizer {format_.tokenizer.name}": format_.tokenizer.sha256,
        "the chat template": sha256(format_.template.text.encode()).hexdigest(),
        **dict(_step_files(site)),
    }


def _step_files(site: Site) -> Iterator[tuple[str, str]]:
    """What steps read; the project's own templates lie where this node has installed them."""
    ours = data_files.folder("templates")
    for spec in site.recipe.every_step:
        for path in components.reads(spec.use, spec.settings, site.recipe.document.folder):
            name = f"the template {path.relative_to(ours)}" if path.is_relative_to(ours) else str(path)
            yield name, sha256_of(path)
