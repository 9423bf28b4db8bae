"""Record the base model's own answers to general prompts: the replay half of the demo corpus.

    python tests/bench/record_replay.py --base FOLDER

asks every prompt of `samples/corpora/general_prompts.yaml` through the tokenizer's own chat
template, decodes greedily, and writes `samples/corpora/general_replay.jsonl` as alpaca records.
It needs transformers and torch, and nothing of this project.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer

CORPORA = Path(__file__).resolve().parents[2] / "samples" / "corpora"
SENTENCE_END = re.compile(r'(?<!\d)[.!?。！？]["”)]?(?=\s|$|[^\x00-\x7f])')
SELF_NAMES = re.compile(r"smollm|hugging\s*face", re.IGNORECASE)


@dataclass(frozen=True)
class Prompt:
    """A question and the system message it is asked under (None: the template's own)."""

    text: str
    system: str | None


@dataclass(frozen=True)
class Answer:
    """What the model said, and whether it stopped by itself within the limit."""

    text: str
    finished: bool


def read_prompts(path: Path) -> list[Prompt]:
    """The prompts of a YAML list of groups `{system, prompts}`, in the file's order."""
    groups = yaml.safe_load(path.read_text(encoding="utf-8"))
    return [Prompt(text, group["system"]) for group in groups for text in group["prompts"]]


def ask(prompts: list[Prompt], base: Path, limit: int) -> Iterator[Answer]:
    """The base model's greedy answers, one prompt at a time, in float32 so that they repeat."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    for prompt in prompts:
        messages = [{"role": "user", "content": prompt.text}]
        if prompt.system is not None:
            messages.insert(0, {"role": "system", "content": prompt.system})
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        inputs = tokenizer(text, add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            output = model.generate(
                **inputs,
                max_new_tokens=limit,
                do_sample=False,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        ids: list[int] = output[0, inputs["input_ids"].shape[1] :].tolist()
        yield Answer(
            text=tokenizer.decode(ids, skip_special_tokens=True).strip(),
            finished=tokenizer.eos_token_id in ids,
        )


def whole_sentences(answer: Answer) -> str:
    """The answer, cut after its last whole sentence if the limit interrupted it; "" if none."""
    if answer.finished:
        return answer.text
    ends = [match.end() for match in SENTENCE_END.finditer(answer.text)]
    return answer.text[: ends[-1]] if ends else ""


def why_not(text: str) -> str | None:
    """The reason to leave an answer out, or None to keep it."""
    if not text:
        return "no whole sentence"
    if "\ufffd" in text:
        return "broken characters"
    if SELF_NAMES.search(text):
        return "names the base model"
    return None


def as_record(prompt: Prompt, output: str) -> dict[str, str]:
    """One alpaca record; `system` only where the prompt had one of its own."""
    record = {"instruction": prompt.text, "input": "", "output": output}
    return record if prompt.system is None else {"system": prompt.system, **record}


@click.command()
@click.option(
    "--base",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the base model: safetensors and tokenizer.",
)
@click.option(
    "--prompts",
    "prompts_path",
    default=CORPORA / "general_prompts.yaml",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML file with the prompts.",
)
@click.option(
    "--out",
    default=CORPORA / "general_replay.jsonl",
    type=click.Path(dir_okay=False, path_type=Path),
    help="JSONL file to write.",
)
@click.option("--limit", default=64, show_default=True, help="New tokens per answer, at most.")
def main(base: Path, prompts_path: Path, out: Path, limit: int) -> None:
    """Write the base model's greedy answers to general prompts as alpaca records."""
    prompts = read_prompts(prompts_path)
    records: list[dict[str, str]] = []
    dropped: Counter[str] = Counter()
    with click.progressbar(ask(prompts, base, limit), length=len(prompts)) as answers:
        for prompt, answer in zip(prompts, answers, strict=True):
            output = whole_sentences(answer)
            reason = why_not(output)
            if reason is None:
                records.append(as_record(prompt, output))
            else:
                dropped[reason] += 1
    temporary = out.with_suffix(".tmp")
    lines = (json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    temporary.write_text("".join(lines), encoding="utf-8")
    temporary.replace(out)
    click.echo(f"{len(records)} of {len(prompts)} answers written to {out}")
    for reason, count in sorted(dropped.items()):
        click.echo(f"  {count} left out: {reason}")


if __name__ == "__main__":
    main()
