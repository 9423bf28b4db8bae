"""The training loop: it owns steps, evaluation, logging and checkpoints, and knows no objective by name."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import torch

from dataforge.seeds import draw
from trainkit import faults
from trainkit.checkpoint import Checkpoints, Position
from trainkit.config import Train
from trainkit.data import Windows, micro_batch
from trainkit.interrupt import Interrupt, Interrupted
from trainkit.log import Metrics, Progress
from trainkit.micro_batch import MicroBatch
from trainkit.micro_batches import Size, Work, micro_batches
from trainkit.objectives import Objective
from trainkit.optimizer import Optimizer
from trainkit.plan import Step
from trainkit.policy import Policy
from trainkit.processes import Processes
from trainkit.record_losses import RecordLosses

FIRST_STEPS = 10
"""Steps whose highest loss is what a later jump is measured with."""
LOWEST_LOSS_SCALE = 1.0
LOOK_AT_RECORDS = "look at these with `forge preview`, or lower train.learning_rate"


@dataclass
class Loop:
    """A run and where it is."""

    settings: Train
    policy: Policy
    size: Size
    """Of a micro-batch."""
    objective: Objective
    optimizer: Optimizer
    plan: list[Step]
    train_windows: Windows
    eval_windows: Windows
    seed: int
    device: torch.device
    precision: torch.dtype
    processes: Processes
    sharded: bool
    """Whether the base is spread over the processes, so that all must compute as often as the others."""
    position: Position
    checkpoints: Checkpoints
    metrics: Metrics | None
    """None where another process writes them."""
    records: RecordLosses
    progress: Progress
    saved_at: int

    def run(self, interrupt: Interrupt) -> None:
        """Train to the end, from wherever `position` is.

        Raises `Interrupted` when asked to stop, after saving, and `TrainingError` where a loss is not finite or jumps,
        memory is short, or another process has ended.
        """
        while True:
            if self._due(self.settings.eval_every) and self.position.evaluated_at != self.position.step:
                self._evaluate(interrupt)
            best = self.position.step > 0 and self.position.best_step == self.position.step
            if (best or self._due(self.settings.save_every)) and self.saved_at != self.position.step:
                self._save()
            if self._finished():
                return
            self._step(interrupt)

    def close(self, *, whole: bool) -> None:
        """Close the files that show the run; a `whole` one has come to its end or was interrupted, and is drawn."""
        self.progress.close()
        self.records.close(whole=whole)
        if self.metrics is not None:
            self.metrics.close()
            if whole:
                self.metrics.plot()

    def _finished(self) -> bool:
        patience = self.settings.early_stop
        stopped = patience is not None and self.position.evaluations_without_gain >= patience
        return stopped or self.position.step >= len(self.plan)

    def _due(self, every: int) -> bool:
        step = self.position.step
        return self._finished() or (step > 0 and step % every == 0)

    def _micro_batches(self, windows: Windows, chosen: Sequence[int]) -> Iterator[Work]:
        return micro_batches(windows, chosen, self.size, self.processes, sharded=self.sharded)

    def _step(self, interrupt: Interrupt) -> None:
        started = time.perf_counter()
        step = self.plan[self.position.step]
        losses: list[tuple[Work, torch.Tensor]] = []
        self.policy.model.train()
        for work in self._micro_batches(self.train_windows, step.windows):
            if interrupt.requested and self.processes.alone:
                self._leave()
            # Dropout is drawn by the step and the windows, whichever process has them and however often it is done.
            names = (str(self.position.step), *map(str, work.windows), str(work.part))
            torch.manual_seed(draw(self.seed, "dropout", *names) >> 1)
            with self._watched(work):
                batch = self._batch(work)
                found = self.objective.loss(self.policy, batch)
                # The whole step's count: the mean is over its trained tokens, however they are split.
                self.optimizer.backward(found.summed * (work.weight / step.trained_tokens))
            if work.weight:
                losses.append((work, found.summed.detach()))
                self.records.add(batch.record_ids, found.documents_S, found.trained_S)
        loss, asked = self._summed(losses, interrupt)
        self._check_jump(step, loss / step.trained_tokens)
        self.optimizer.add_up(self.processes)
        norm = self.optimizer.clip()
        self._check_norm(step, norm)
        rate = self.optimizer.step(self.position.step)
        self.records.write(self.position.step + 1)
        self._account(step, loss, time.perf_counter() - started)
        self._report(step, rate, norm)
        if asked and not self.processes.alone:
            self._leave()

    @contextmanager
    def _watched(self, work: Work) -> Iterator[None]:
        size = (
            sum(len(window.seq_lengths) for window in work.data),
            sum(len(window.input_ids) for window in work.data),
        )
        with (
            self.processes.watched(),
            faults.memory_advice(self.settings, *size, self.precision, self.processes.count),
        ):
            yield

    def _batch(self, work: Work) -> MicroBatch:
        return self.objective.prepare(self.policy, micro_batch(work.data, self.device))

    def _summed(self, losses: list[tuple[Work, torch.Tensor]], interrupt: Interrupt) -> tuple[float, bool]:
        """The loss summed over all processes, and whether one of them is asked to stop."""
        values = torch.stack([loss for _, loss in losses]).tolist() if losses else []
        loss, asked = self.processes.sum([math.fsum(values), float(interrupt.requested)])
        if not math.isfinite(loss):
            pairs = zip(losses, values, strict=True)
            mine = [window for (work, _), value in pairs if not math.isfinite(value) for window in work.windows]
            wrong = sorted({window for theirs in self.processes.gather(mine) for window in theirs})
            self._refuse("the loss is not a finite number", wrong, LOOK_AT_RECORDS)
        return loss, asked > 0

    def _check_jump(self, step: Step, loss: float) -> None:
        position, limit = self.position, self.settings.max_loss_jump
        highest = position.highest_first_loss
        if highest is None or position.step < FIRST_STEPS:
            position.highest_first_loss = loss if highest is None else max(highest, loss)
        elif limit is not None and loss > limit * highest:
            what = (
                f"the loss jumps to {loss:.3f}, {loss / highest:.1f} times the highest of the first {FIRST_STEPS} steps"
            )
            self._refuse(what, step.windows, f"{LOOK_AT_RECORDS}, or raise train.max_loss_jump to go on")

    def _check_norm(self, step: Step, norm: float) -> None:
        if math.isfinite(norm):
            return
        if not self.optimizer.scales:
            self._refuse(f"the gradient's norm is {norm}", step.windows, LOOK_AT_RECORDS)
        if self.optimizer.loss_scale < LOWEST_LOSS_SCALE:
            self._refuse("the gradient is not finite in fp16", step.windows, "say `train.precision: bf16` or `fp32`")

    def _refuse(self, what: str, windows: Sequence[int], way_out: str) -> NoReturn:
        records = [record for window in windows for record in self.train_windows[window].record_ids]
        raise faults.refused(self.position.step + 1, what, records, way_out)

    def _account(self, step: Step, loss: float, seconds: float) -> None:
        position = self.position
        position.step += 1
        position.seconds += seconds
        position.tokens += step.tokens
        position.unlogged_loss += loss
        position.unlogged_trained += step.trained_tokens
        position.unlogged_tokens += step.tokens
        position.unlogged_seconds += seconds

    def _report(self, step: Step, rate: float, norm: float) -> None:
        position = self.position
        if position.step % self.settings.log_every and position.step < len(self.plan):
            return
        position.train_loss = position.unlogged_loss / position.unlogged_trained
        speed = position.unlogged_tokens / position.unlogged_seconds
        trained_speed = position.unlogged_trained / position.unlogged_seconds
        self._log(
            step=position.step,
            epoch=step.epoch + 1,
            loss=position.train_loss,
            learning_rate=rate,
            grad_norm=norm,
            tokens_per_second=round(speed, 1),
            trained_tokens_per_second=round(trained_speed, 1),
            seconds=round(position.seconds, 3),
        )
        left = sum(later.tokens for later in self.plan[position.step :]) * position.seconds / position.tokens
        self.progress.show(position.step, position.train_loss, (speed, trained_speed), left)
        position.unlogged_loss = position.unlogged_seconds = 0.0
        position.unlogged_trained = position.unlogged_tokens = 0

    @torch.no_grad()
    def _evaluate(self, interrupt: Interrupt) -> None:
        position = self.position
        if not len(self.eval_windows):
            position.evaluated_at = position.step
            return
        self.policy.model.eval()
        position.eval_loss = self._eval_loss(interrupt)
        position.evaluated_at = position.step
        better = position.best_eval_loss is None or position.eval_loss < position.best_eval_loss
        if better:
            position.best_eval_loss, position.best_step = position.eval_loss, position.step
        position.evaluations_without_gain = 0 if better else position.evaluations_without_gain + 1
        epoch = self.plan[position.step - 1].epoch + 1
        self._log(step=position.step, epoch=epoch, eval_loss=position.eval_loss, seconds=round(position.seconds, 3))
        self.progress.say(f"step {position.step}/{len(self.plan)}  eval loss {position.eval_loss:.4f}")

    def _eval_loss(self, interrupt: Interrupt) -> float:
        """Per trained token of the whole eval split."""
        summed, trained = 0.0, 0
        for work in self._micro_batches(self.eval_windows, range(len(self.eval_windows))):
            if interrupt.requested and self.processes.alone:
                self._leave()
            with self._watched(work):
                found = self.objective.loss(self.policy, self._batch(work))
            summed += work.weight * float(found.summed)
            trained += work.weight * found.trained
        summed, trained_tokens = self.processes.sum([summed, trained])
        return summed / trained_tokens

    def _log(self, **values: Any) -> None:
        if self.metrics is not None:
            self.metrics.write(**values)

    def _save(self) -> None:
        if self.processes.first:
            self.checkpoints.save(self.position, self.optimizer.tensors())
        self.saved_at = self.position.step

    def _leave(self) -> NoReturn:
        self.optimizer.discard()
        self.records.discard()
        self._save()
        raise Interrupted(f"stopped after step {self.position.step} of {len(self.plan)}, which is saved")
