"""The oracle of the mask matrix, a process of its own: reads one JSON request a line, and answers each with one line.

It imports nothing of the package under test, only `transformers`, and TRL for its choice of a template.
"""

import datetime
import json
import os
import sys
from typing import Any, TextIO

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import mask_spoil
from mask_judge import Case, Judge
from mask_peers import TRL, masked
from mask_template import Served, freeze
from transformers.utils import logging


class Oracle:
    """The tokenizer and template that are asked about."""

    def __init__(self, folder: str, trl: str) -> None:
        self.served = Served(folder)
        self.judge = Judge(self.served)
        self.trl = TRL(trl, self.served.tokenizer)

    def answer(self, case: Case, *, peers: bool, spoil: bool) -> dict[str, Any]:
        """What there is to say about a conversation."""
        reply: dict[str, Any] = {}
        if case.rows:
            reply["wrong"], reply["forms"] = self.judge.check(case)
            if spoil and not reply["wrong"]:
                reply["spoilt"], reply["unseen"] = mask_spoil.unseen(self.judge, case)
        else:
            reply["against"] = self.judge.against(case)
        if peers:
            stock = self.served.tokenizer.chat_template
            reply["transformers"] = self._peer(case.without_weights(), stock)
            reply["TRL"] = self._peer(case.without_weights(), self.trl.template)
        return reply

    def _peer(self, case: Case, template: str | None) -> tuple[str, list[tuple[str, str]]]:
        if template is None:
            return "no template", [("", self.trl.refusal)]
        messages = self.served.given(case.messages)
        refusal = self.judge.refusal(case)
        if refusal:
            return "template refuses", [("", refusal)]
        try:
            row = masked(self.served.tokenizer, template, messages, case.tools, case.kwargs)
        except Exception as error:
            return "error", [("", f"{type(error).__name__}: {error}")]
        if not any(row[1]):
            return "nothing trained", []
        rows = Case(case.messages, case.tools, case.kwargs, case.sanitize, case.write_empty, [row])
        wrong, _ = self.judge.check(rows, any_row=True)
        return ("wrong" if wrong else "right"), wrong


def main(requests: TextIO, replies: TextIO) -> None:
    """Serve until the requests end."""
    logging.set_verbosity_error()
    oracle: Oracle | None = None
    for line in requests:
        request = json.loads(line)
        reply: dict[str, Any] = {}
        if "date" in request:
            freeze(datetime.date.fromisoformat(request["date"]))
        elif "folder" in request:
            oracle = Oracle(request["folder"], request["trl"])
        elif oracle is not None:
            reply = oracle.answer(Case(**request["case"]), peers=request["peers"], spoil=request["spoil"])
        replies.write(json.dumps(reply) + "\n")
        replies.flush()


if __name__ == "__main__":
    out, sys.stdout = sys.stdout, sys.stderr
    main(sys.stdin, out)
