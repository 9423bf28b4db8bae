"""A cluster of two raylets on this machine, and a build through it; in the environment that `ray_build` made.

    python -m tests.bench.ray_build_cluster RECIPE OUT [--kill-after DONE]

The driver of the build is `forge build`, attached to the head. With `--kill-after` the other raylet is killed with its
workers (SIGKILL) once so many stages stand in the build's stage cache. It prints one JSON line.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import fsspec
from ray.cluster_utils import Cluster

RETRIED = re.compile(r"Task (\w+) failed\. There are \d+ retries remaining")


def main() -> None:
    """Build, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("out")
    parser.add_argument("--kill-after", type=int)
    options = parser.parse_args()
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    other = cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    try:
        print(json.dumps(_build(cluster.address, other, options)), flush=True)
    finally:
        cluster.shutdown()


def _build(address: str, other: Any, options: argparse.Namespace) -> dict[str, Any]:
    start = time.perf_counter()
    command = [sys.executable, "-m", "dataforge", "build", options.recipe, "--out", options.out]
    forge = subprocess.Popen(
        [*command, "--engine", "ray", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "RAY_ADDRESS": address, "RAY_DEDUP_LOGS": "0"},
    )
    killed: dict[str, Any] = {}
    if options.kill_after is not None:
        while (done := _stages(options.out)) < options.kill_after and forge.poll() is None:
            time.sleep(0.1)
        killed = {"killed_after_s": time.perf_counter() - start, "stages_done": done, "killed": _kill(other)}
    said, complained = forge.communicate()
    seconds = time.perf_counter() - start
    if forge.returncode:
        sys.exit(f"forge build ended with {forge.returncode}: {complained[-2000:]}")
    facts = json.loads(said)
    retried = RETRIED.findall(complained)
    return {"seconds": seconds, "digest": facts["digest"], "retried": len(retried), "names": retried, **killed}


def _stages(out: str) -> int:
    filesystem, path = fsspec.core.url_to_fs(out, use_listings_cache=False)
    return sum(name.endswith(".done") for name in filesystem.find(f"{path}/.work"))


def _kill(node: Any) -> list[str]:
    """Kill a raylet and every process below it; the commands of what was killed."""
    (raylet,) = (info.process.pid for info in node.all_processes["raylet"])
    killed = []
    for pid in (raylet, *_below(raylet)):
        killed.append(Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").split("\0")[0].rpartition("/")[2])
        os.kill(pid, signal.SIGKILL)
    return killed


def _below(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text(encoding="ascii").split()):
            found += [child, *_below(child)]
    return found


if __name__ == "__main__":
    main()
