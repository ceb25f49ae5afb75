"""Pre-training under Ray Train: the same loop on one CPU and on many GPUs."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import ray
import torch
from ray.train import Checkpoint, CheckpointConfig, FailureConfig, RunConfig, ScalingConfig, get_checkpoint, get_context
from ray.train.torch import TorchTrainer, get_device

from rl.pretrain_play import readers_of
from rl.pretrain_settings import PretrainSettings
from rl.resources import usable_cores
from worldmodel.errors import UserError
from worldmodel.files import write_json
from worldmodel.fitting import PretrainStage
from worldmodel.latent.pace import Pace
from worldmodel.latent.pretrain_scores import score_dreams, score_pictures
from worldmodel.latent.pretraining import STAGES, Pretraining

BASE = "base"
"""the folder in the last checkpoint that holds the base"""
SCORES = "scores.json"
_STATE = "state.pt"
_UPDATES = 10
"""updates between two words about them"""
_RETRIES = 2


def pretrain(settings: PretrainSettings, play: Path, home: Path, board: Any) -> Path:
    """Fit a base to the play in `play`; an unfinished fit in `home` goes on.

    Args:
        settings: All of it.
        play: The games' buffers; all workers must see it.
        home: Where Ray Train keeps its checkpoints; all workers must see it.
        board: A `Board` actor that is told how it goes.

    Returns:
        The folder with the base, and in it `scores.json`, its scores by game.

    Raises:
        UserError: If a loss is no number any more, or a buffer is damaged.
    """
    gpus = ray.cluster_resources().get("GPU", 0.0)
    trainer = TorchTrainer(
        _work,
        train_loop_config={"settings": settings, "play": play, "board": board},
        scaling_config=ScalingConfig(num_workers=settings.workers, use_gpu=gpus >= settings.workers),
        run_config=RunConfig(
            name=home.name,
            storage_path=str(home.parent),
            checkpoint_config=CheckpointConfig(num_to_keep=1),
            failure_config=FailureConfig(max_failures=_RETRIES),
        ),
    )
    try:
        result = trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _ours(error) from error
    assert result.checkpoint is not None
    return Path(result.checkpoint.path) / BASE


def _ours(error: Exception) -> Exception:
    """What a worker told a user, if it was that which ended the training."""
    failures = getattr(error, "worker_failures", {}).values()
    return next((cause for failure in failures if (cause := _user_error(failure))), error)


def _user_error(failure: BaseException | None) -> UserError | None:
    while failure is not None and not isinstance(failure, UserError):
        failure = getattr(failure, "cause", None) or failure.__cause__
    return failure


def _work(told: dict[Any, Any]) -> None:
    """What every worker does."""
    settings: PretrainSettings = told["settings"]
    torch.set_num_threads(settings.cluster.threads or max(usable_cores() // settings.workers, 1))
    _Worker(settings, told["play"], told["board"]).run()


class _Worker:
    def __init__(self, settings: PretrainSettings, play: Path, board: Any) -> None:
        self._settings, self._play, self._board = settings, play, board
        self._first = get_context().get_world_rank() == 0
        self._fit = Pretraining(
            settings.model, settings.fit, readers_of(play, settings.play.games), settings.games_per_update,
            settings.seed, get_device(), play.parent / "failures",
        )  # fmt: skip
        self._left = _read(get_checkpoint())

    def run(self) -> None:
        """All stages that are left to do."""
        left = self._left
        if left:
            self._fit.load(left)
        for stage in STAGES[STAGES.index(left["stage"]) if left else 0 :]:
            pace = self._begin(stage)
            self._descend(stage, pace)
            self._fit.finish()
        self._keep(stage, pace, whole=True)

    def _begin(self, stage: PretrainStage) -> Pace:
        left = self._left if self._left and self._left["stage"] == stage else None
        budget = self._settings.budget(stage)
        spent = {"updates": left["updates"], "seconds": left["seconds"]} if left else {}
        pace = Pace(budget.steps, budget.minutes, **spent)
        self._tell(stage, pace, {})
        self._fit.begin(stage, pace)
        if left:
            self._fit.go_on(left)
        pace.start()
        return pace

    def _descend(self, stage: PretrainStage, pace: Pace) -> None:
        minutes = self._settings.budget(stage).minutes
        share = self._settings.checkpoint_minutes / minutes if minutes else 0.25
        due = pace.progress + share
        while pace.progress < 1:
            losses = self._fit.update()
            if pace.updates % _UPDATES == 0 or pace.progress >= 1:
                self._tell(stage, pace, losses)
            if pace.progress >= due:
                due = pace.progress + share
                self._keep(stage, pace)

    def _keep(self, stage: PretrainStage, pace: Pace, whole: bool = False) -> None:
        """Report a checkpoint; every worker has to."""
        with _folder(self._first) as folder:
            if folder:
                state = {"stage": stage, "updates": pace.updates, "seconds": pace.seconds}
                torch.save(state | self._fit.state(), folder / _STATE)
            if folder and whole:
                self._fit.save(folder / BASE)
                write_json(folder / BASE / SCORES, self._scores())
            ray.train.report({}, checkpoint=folder and Checkpoint.from_directory(folder))

    def _tell(self, stage: PretrainStage, pace: Pace, losses: dict[str, float]) -> None:
        if self._first:
            self._board.put.remote(stage, pace.progress, pace.updates, losses)

    def _scores(self) -> dict[str, Any]:
        play, seed, models = self._settings.play, self._settings.seed, self._fit.models
        scores: dict[str, Any] = {}
        for game, reader in readers_of(self._play, play.games).items():
            pictures = score_pictures(models[game], reader, "held_out", seed)
            scores[game] = {"pictures": asdict(pictures), "dreams": asdict(score_dreams(models[game], reader, seed))}
        for game, reader in readers_of(self._play, play.strange).items():
            pictures = score_pictures(next(iter(models.values())), reader, "all", seed)
            scores[game] = {"pictures": asdict(pictures)}
        return scores


def _read(checkpoint: Checkpoint | None) -> dict[str, Any] | None:
    if checkpoint is None:
        return None
    with checkpoint.as_directory() as folder:
        state: dict[str, Any] = torch.load(Path(folder) / _STATE, weights_only=True, map_location="cpu")
        return state


@contextmanager
def _folder(wanted: bool) -> Iterator[Path | None]:
    """A folder for a checkpoint, on the worker that writes it."""
    if not wanted:
        yield None
        return
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)
