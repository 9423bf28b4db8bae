"""The training loop: it owns steps, evaluation, logging and checkpoints, and knows no objective by name."""

import math
import time
from dataclasses import dataclass
from typing import NoReturn

import torch

from dataforge.errors import TrainingError
from trainkit.checkpoint import Checkpoints, Position, random_states
from trainkit.config import Train
from trainkit.data import MicroBatch, Windows, micro_batch
from trainkit.interrupt import Interrupt, Interrupted
from trainkit.log import Metrics, Progress
from trainkit.objectives import Objective
from trainkit.optimizer import Optimizer
from trainkit.plan import Step
from trainkit.policy import Policy
from trainkit.record_losses import RecordLosses

NAMED_RECORDS = 8


@dataclass
class Loop:
    """A run and where it is."""

    settings: Train
    policy: Policy
    objective: Objective
    optimizer: Optimizer
    plan: list[Step]
    train_windows: Windows
    eval_windows: Windows
    device: torch.device
    position: Position
    checkpoints: Checkpoints
    metrics: Metrics
    records: RecordLosses
    progress: Progress
    saved_at: int

    def run(self, interrupt: Interrupt) -> None:
        """Train to the end, from wherever `position` is.

        Raises `Interrupted` when asked to stop, after saving, and `TrainingError` where a loss is not finite.
        """
        while True:
            if self._due(self.settings.eval_every) and self.position.evaluated_at != self.position.step:
                self._evaluate(interrupt)
            if self._due(self.settings.save_every) and self.saved_at != self.position.step:
                self._save(random_states(self.device))
            if self._finished():
                return
            self._step(interrupt)

    def _finished(self) -> bool:
        patience = self.settings.early_stop
        stopped = patience is not None and self.position.evaluations_without_gain >= patience
        return stopped or self.position.step >= len(self.plan)

    def _due(self, every: int) -> bool:
        step = self.position.step
        return self._finished() or (step > 0 and step % every == 0)

    def _step(self, interrupt: Interrupt) -> None:
        before = random_states(self.device)
        started = time.perf_counter()
        step = self.plan[self.position.step]
        losses: list[torch.Tensor] = []
        self.policy.model.train()
        for window in step.windows:
            if interrupt.requested:
                self._leave(before)
            batch = self._batch(self.train_windows, window)
            found = self.objective.loss(self.policy, batch)
            # The whole step's count: the mean is over its trained tokens, however they are split.
            (found.summed / step.trained_tokens).backward()  # type: ignore[no-untyped-call]
            self.optimizer.collect()
            losses.append(found.summed.detach())
            self.records.add(batch.record_ids, found.documents_S, found.trained_S)
        loss = self._finite_sum(step, losses)
        norm = self.optimizer.clip()
        if not math.isfinite(norm):
            self._refuse(f"the gradient's norm is {norm}", step.windows)
        rate = self.optimizer.step(self.position.step)
        self.records.write(self.position.step + 1)
        self._account(step, loss, time.perf_counter() - started)
        self._report(step, rate, norm)

    def _batch(self, windows: Windows, index: int) -> MicroBatch:
        return self.objective.prepare(self.policy, micro_batch([windows[index]], self.device))

    def _finite_sum(self, step: Step, losses: list[torch.Tensor]) -> float:
        values = torch.stack(losses).tolist()
        wrong = [window for window, value in zip(step.windows, values, strict=True) if not math.isfinite(value)]
        if wrong:
            self._refuse("the loss is not a finite number", wrong)
        return math.fsum(values)

    def _refuse(self, what: str, windows: tuple[int, ...] | list[int]) -> NoReturn:
        records = [record for window in windows for record in self.train_windows[window].record_ids]
        more = f" and {len(records) - NAMED_RECORDS} more" if len(records) > NAMED_RECORDS else ""
        raise TrainingError(
            f"step {self.position.step + 1}: {what}, with records {', '.join(records[:NAMED_RECORDS])}{more}; look at "
            "these with `forge preview`, or lower train.learning_rate"
        )

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
        self.metrics.write(
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
        summed, trained = 0.0, 0
        for index in range(len(self.eval_windows)):
            if interrupt.requested:
                self._leave(random_states(self.device))
            found = self.objective.loss(self.policy, self._batch(self.eval_windows, index))
            summed += float(found.summed)
            trained += found.trained
        position.eval_loss = summed / trained
        position.evaluated_at = position.step
        better = position.best_eval_loss is None or position.eval_loss < position.best_eval_loss
        position.best_eval_loss = position.eval_loss if better else position.best_eval_loss
        position.evaluations_without_gain = 0 if better else position.evaluations_without_gain + 1
        epoch = self.plan[position.step - 1].epoch + 1
        self.metrics.write(
            step=position.step, epoch=epoch, eval_loss=position.eval_loss, seconds=round(position.seconds, 3)
        )
        self.progress.say(f"step {position.step}/{len(self.plan)}  eval loss {position.eval_loss:.4f}")

    def _save(self, states: dict[str, torch.Tensor]) -> None:
        self.checkpoints.save(self.position, {**self.optimizer.tensors(), **states})
        self.saved_at = self.position.step

    def _leave(self, states: dict[str, torch.Tensor]) -> NoReturn:
        self.optimizer.discard()
        self._save(states)
        raise Interrupted(f"stopped after step {self.position.step} of {len(self.plan)}, which is saved")
