"""What a build leaves behind, trained on by TRL: the export, the records, the shards, and the records of pairs.

    python -m tests.bench.trl_export --python PYTHON [--pairs LLAMAFACTORY] [--out tests/bench]

PYTHON is that of an environment with TRL, PEFT and `datasets`. LLAMAFACTORY is the folder `data` of LLaMA-Factory, the
home of the dpo_zh_demo that the pairs come from; without it they are of a sample. Each way gets the same conversations,
all of them in each step, and an adapter with the same seed. Writes a table, and ends with 1 where the ways disagree:
before the first update by more than fp32 rounds, or in the number of trained tokens.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from math import log
from pathlib import Path
from typing import Any

from dataforge import bases
from dataforge.export import export
from dataforge.shards import open_build
from tests.bench.mask_speed import processor

ROOT = Path(__file__).parents[2]
CORPORA = ROOT / "samples" / "corpora"
STEPS, RATE = 2, 1e-3
ROUNDING = 1e-4
"""Nats by which losses of the same documents may differ in fp32, of which TRL logs at least four digits."""
PAIRS = 2
WAYS = {
    "export": '`forge export --to trl`, `load_dataset("json")`, `assistant_only_loss=True`',
    "records": '`records/*.parquet`, its column `messages`, `load_dataset("parquet")`, `assistant_only_loss=True`',
    "shards": "`shards/*.arrow`, `Dataset.from_file`, `padding_free=True, packing=False, max_length=None`",
}


def conversations() -> dict[str, Any]:
    """A recipe of chats of several rounds and of one, some of them Chinese."""
    return {
        "name": "trl",
        "tokenizer": "smollm2-135m",
        "chat": "chatml",
        "max_tokens": 512,
        "sources": [
            {"use": "sharegpt", "path": str(CORPORA / "sharegpt.jsonl")},
            {"use": "alpaca", "path": str(CORPORA / "alpaca.jsonl")},
        ],
        "train": {
            "base": "smollm2-135m",
            "steps": STEPS,
            "tokens_per_step": 100_000,
            "learning_rate": RATE,
            "schedule": "constant",
            "warmup": 0.0,
            "precision": "fp32",
        },
    }


def pairs(folder: Path | None) -> dict[str, Any]:
    """A recipe of a few pairs."""
    source: dict[str, Any] = {"use": "openai", "path": str(CORPORA / "openai_preferences.jsonl")}
    if folder is not None:
        source = {"use": "llamafactory", "path": str(folder), "name": "dpo_zh_demo"}
    return {
        "name": "trl-pairs",
        "kind": "pairs",
        "tokenizer": "smollm2-135m",
        "chat": "chatml",
        "max_tokens": 512,
        "sources": [source],
        "steps": [
            {"use": "filter", "lengths": [{"max": 300}]},
            {"use": "sample", "records": PAIRS},
        ],
    }


def forge(command: str, said: dict[str, Any], scratch: Path) -> None:
    """Run a command on a recipe, in `scratch`. Raises `CalledProcessError` where it fails; its words are on stderr."""
    path = scratch / f"{said['name']}.yaml"
    path.write_text(json.dumps(said), encoding="utf-8")
    arguments = [sys.executable, "-m", "dataforge", command, path.name]
    subprocess.run(arguments, check=True, stdout=sys.stderr, cwd=scratch, env={**os.environ, "PYTHONPATH": str(ROOT)})


def asked(python: Path, way: str, files: list[Path], build: Path, scratch: Path) -> dict[str, Any]:
    """What TRL's trainer makes of files. Raises `CalledProcessError` where it fails; its words are on stderr."""
    template = scratch / "template.jinja"
    template.write_text(open_build(build).manifest.template.text, encoding="utf-8")
    request = {
        "base": bases.resolve("smollm2-135m"),
        "template": str(template),
        "way": way,
        "files": [str(file) for file in files],
        "steps": STEPS,
        "rate": RATE,
        "scratch": str(scratch / way),
    }
    worker = Path(__file__).with_name("trl_export_worker.py")
    command = [str(python), str(worker), json.dumps(request)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    print(way, done.stdout.splitlines()[-1], file=sys.stderr, flush=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def losses(run: Path) -> list[float]:
    """Of each step of a run of `forge train`."""
    (metrics,) = run.rglob("metrics.jsonl")
    lines = [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def report(found: dict[str, dict[str, Any]], faults: list[str]) -> str:
    """The table, as Markdown."""
    lines = [
        "# TRL on what a build leaves behind",
        "",
        "Written by `python -m tests.bench.trl_export`. SmolLM2-135M-Instruct in fp32 on a CPU, LoRA of rank 16 on all",
        f"linear layers, {STEPS} steps at {RATE} without a schedule; the same conversations, all of them in each step.",
        "TRL's tokenizer has the build's template, from its manifest. The first loss is of the untouched model; the",
        "second is after one update, which depends on how the adapter began: TRL's arms share a seed, trainkit has its",
        f"own. TRL 1.16.0, {processor()}.",
        "",
        "| read by | from | rows | tokens | trained | loss of step 1 | of step 2 |",
        "|---|---|---|---|---|---|---|",
    ]
    for who, each in found.items():
        cells = [who, each["from"], *(each.get(key, "") for key in ("rows", "tokens", "trained"))]
        lines.append("| " + " | ".join(map(str, [*cells, *(f"{loss:.4f}" for loss in each["losses"])])) + " |")
    lines += [
        "",
        "TRL unpacks a column `chat_template_kwargs`, which is null or JSON text in `records/*.parquet`: select the",
        'columns that it trains on, as in `load_dataset("parquet", ...).select_columns(["messages"])`. DPO starts at',
        "ln 2, 0.6931, where the policy is its reference, whatever the pairs.",
        "",
        *(f"- **{fault}**" for fault in faults),
    ]
    return "\n".join(lines).rstrip() + "\n"


def disagreements(found: dict[str, dict[str, Any]]) -> list[str]:
    """What the arms do not agree on."""
    said = []
    dpo = next(each for who, each in found.items() if who == "DPOTrainer")
    chats = [each for each in found.values() if each is not dpo]
    if max(each["losses"][0] for each in chats) - min(each["losses"][0] for each in chats) > ROUNDING:
        said.append("the first losses differ")
    if len({each["trained"] for each in chats}) > 1 or len({each["tokens"] for each in chats}) > 1:
        said.append("tokens differ")
    seconds = [each["losses"][1] for who, each in found.items() if who.startswith("SFTTrainer")]
    if max(seconds) - min(seconds) > 10 * ROUNDING:
        said.append("the ways through SFTTrainer differ after an update")
    if abs(dpo["losses"][0] - log(2)) > ROUNDING or not dpo["losses"][1] < dpo["losses"][0]:
        said.append("DPO does not start at ln 2 and fall")
    return said


def main() -> int:
    """The command line of this module; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--python", type=Path, required=True)
    parser.add_argument("--pairs", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        chats, opinions = conversations(), pairs(given.pairs and given.pairs.resolve())
        forge("train", chats, scratch)
        forge("build", opinions, scratch)
        build, preferred = scratch / "builds" / chats["name"], scratch / "builds" / opinions["name"]
        exported = export(str(build), "trl", scratch / "exported", ["train"], lossy=False, force=False).place
        files = {
            "export": sorted(exported.rglob("train*.jsonl*")),
            "records": sorted(build.glob("records/train-*.parquet")),
            "shards": sorted(build.glob("shards/train-*.arrow")),
        }
        found = {
            f"SFTTrainer, {way}": {"from": WAYS[way], **asked(given.python, way, files[way], build, scratch)}
            for way in WAYS
        }
        windows = list(open_build(build).windows("train"))
        found["trainkit"] = {
            "from": "`forge train`",
            "rows": len(windows),
            "tokens": sum(len(window.input_ids) for window in windows),
            "trained": sum(int(window.assistant_masks.sum()) for window in windows),
            "losses": losses(scratch / "runs" / chats["name"]),
        }
        records = sorted(preferred.glob("records/train-*.parquet"))
        how = "`records/*.parquet` of `kind: pairs`, its columns `prompt`, `chosen` and `rejected`"
        found["DPOTrainer"] = {"from": how, **asked(given.python, "pairs", records, preferred, scratch)}
    faults = disagreements(found)
    (given.out / "trl_export.md").write_text(report(found, faults), encoding="utf-8")
    print(report(found, faults))
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
