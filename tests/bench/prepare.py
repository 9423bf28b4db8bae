"""How long 40,000 conversations take to become packed training data: forge beside TRL and LLaMA-Factory.

    python -m tests.bench.prepare CONVERSATIONS.jsonl.gz --envs DIR [--rounds 3] [--out tests/bench]
        [--forge-args="--workers 1"]

CONVERSATIONS is a file of Anthropic's hh-rlhf (`chosen`, `rejected`). The peers' environments are made once, under
DIR. `--forge-args` adds a contender: the same build with further arguments; it may be given several times.
`prepare.md` and `prepare.json` are written into the folder of `--out`. Linux only, since it reads memory as Linux
counts it; about seven minutes a round on two cores, on a machine that does nothing else.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.bench import prepare_corpus, prepare_report
from tests.bench.prepare_arms import arms, measure


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path)
    parser.add_argument("--envs", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    parser.add_argument("--forge-args", action="append", default=[])
    options = parser.parse_args()
    contenders = arms(options.envs.resolve(), options.forge_args)
    runs: prepare_report.Runs = {arm.name: [] for arm in contenders}
    with tempfile.TemporaryDirectory(prefix="forge-prepare-") as work:
        corpus = prepare_corpus.write(options.conversations, Path(work, "corpus"))
        for number in range(options.rounds):
            # Whatever the machine does beside this meets each contender early in one round and late in the next.
            for arm in contenders[:: -1 if number % 2 else 1]:
                found = measure(arm, corpus, Path(work, "run"))
                runs[arm.name].append(found)
                print(f"round {number + 1}: {arm.name}: {found['seconds']:.1f} s", file=sys.stderr, flush=True)
    results = prepare_report.results(contenders, runs, corpus)
    text = prepare_report.table(results)
    print(text)
    (options.out / "prepare.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    title = "# From conversations to packed training data"
    (options.out / "prepare.md").write_text(f"{title}\n\n{text}", encoding="utf-8")


if __name__ == "__main__":
    main()
