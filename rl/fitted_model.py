"""The world model as the run sees it: a learner, which may die, and the folder that holds what it has learned."""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch
from numpy.typing import NDArray

from rl.learner import Judgement
from rl.phases import Phases
from rl.supervised import DEATHS, Supervised
from worldmodel.base import WorldModel
from worldmodel.errors import UserError, in_short
from worldmodel.families import ModelConfig, new_world_model
from worldmodel.fitting import FitConfig, Stage
from worldmodel.spaces import ActionSpec

_UPDATES = 25
"""updates that one call to the learner asks for"""


class FittedModel:
    """A world model that is fitted round by round.

    A learner that dies is started again with the newest whole model, and the fit of its round begins anew: every stage
    is complete in itself and draws from a seed of its own, so nothing is lost but time.

    Attributes:
        folder: Where the newest whole model is: a new folder each time, which all nodes must see.
        learner: Who fits it.
    """

    def __init__(
        self, untrained: WorldModel, start: Callable[[], Any], home: Path, phases: Phases, config: FitConfig
    ) -> None:
        """Begin with `untrained`; `start` makes the learner, `home` is the folder for the models' folders."""
        self._config = config
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir(parents=True)
        self._home, self._phases = home, phases
        self.folder = home / "000"
        untrained.save_pretrained(self.folder)
        self.learner = Supervised("the learner", start, phases.say, self._teach)

    def fit(self, number: int, latents_only: bool = False) -> tuple[int, dict[str, float]]:
        """Fit it for round `number`: all its stages, or those alone that decide what a frame's latents are.

        Returns:
            How many of its parameters were trained, and the last mean of every loss.
        """
        return self._until_whole(number, lambda learner: self._fit(learner, number, latents_only))

    def load(self, folder: Path, number: int) -> None:
        """Go on with the model in `folder`, which round `number` left."""
        self._until_whole(number, lambda learner: ray.get(learner.load.remote(folder)))

    def weights(self) -> Mapping[str, NDArray[Any]]:
        """See `WorldModelLearner.weights`."""
        weights: Mapping[str, NDArray[Any]] = self.learner.ask(lambda learner: learner.weights.remote())
        return weights

    def encoded(self, frame_ids: NDArray[np.int64]) -> NDArray[np.float32] | None:
        """See `WorldModelLearner.encoded`."""
        latents = self.learner.ask(lambda learner: learner.encoded.remote(frame_ids))
        # What Ray ships can only be read; torch wants arrays that could be written to.
        return None if latents is None else latents.copy()

    def parameters(self) -> int:
        """All of the model's parameters."""
        return int(self.learner.ask(lambda learner: learner.parameters.remote()))

    def judge(self, films: int, incumbent: Path | None = None) -> Judgement:
        """See `WorldModelLearner.judge`."""
        judgement: Judgement = self.learner.ask(lambda learner: learner.judge.remote(films, incumbent))
        return judgement

    def take_gpu_peak(self) -> float | None:
        """See `take_peak_mb`; of a learner that was started again, since then."""
        peak: float | None = self.learner.ask(lambda learner: learner.take_gpu_peak.remote())
        return peak

    def copy(self, folder: Path) -> None:
        """Copy the newest whole model to `folder`, in place of what was there."""
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(self.folder, folder)

    def remove(self) -> None:
        """Remove all that lies in `home`."""
        shutil.rmtree(self._home, ignore_errors=True)

    def _teach(self, learner: Any) -> None:
        ray.get(learner.load.remote(self.folder))

    def _until_whole(self, number: int, work: Callable[[Any], Any]) -> Any:
        """Let the learner do `work` and save what came of it, again and again until it survives."""
        while True:
            try:
                result = work(self.learner.actor)
                with self._phases.phase("hand over"):
                    self._keep(number)
                return result
            except DEATHS as error:
                self.learner.revive(error)

    def _fit(self, learner: Any, number: int, latents_only: bool) -> tuple[int, dict[str, float]]:
        stages: list[Stage] = ray.get(learner.stages.remote(number == 1))
        if latents_only:
            return self._fit_stages(learner, [stage for stage in stages if stage.makes_latents], number)
        trained, losses = self._fit_stages(learner, stages, number)
        for again in range(1, self._config.more_fits + 1):
            recalled = ray.get(learner.ends_recalled.remote())
            if recalled is None or recalled >= self._config.end_recall:
                break
            self._phases.say(f"dreams come to {recalled:.0%} of the ends: fitting on")
            dynamics = [stage for stage in stages if stage.makes_dreams]
            trained, losses = self._fit_stages(learner, dynamics, number, again)
        return trained, losses

    def _fit_stages(
        self, learner: Any, stages: Sequence[Stage], number: int, again: int = 0
    ) -> tuple[int, dict[str, float]]:
        trained = 0
        losses: dict[str, float] = {}
        for stage in stages:
            with self._phases.phase(f"fit {stage.name}", stage.steps) as advance:
                trained = ray.get(learner.begin.remote(stage, number, again))
                for done in range(0, stage.steps, _UPDATES):
                    updates = min(_UPDATES, stage.steps - done)
                    latest = ray.get(learner.fit.remote(updates))
                    losses |= latest
                    advance(updates, **latest)
                ray.get(learner.finish.remote())
        return trained, losses

    def _keep(self, number: int) -> None:
        """Save the model under a name that nobody reads yet, so that there is always a whole one."""
        whole, unfinished = self._home / f"{number:03d}", self._home / "unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        ray.get(self.learner.actor.save.remote(unfinished))
        shutil.rmtree(whole, ignore_errors=True)
        unfinished.rename(whole)
        before, self.folder = self.folder, whole
        if before != whole:
            shutil.rmtree(before, ignore_errors=True)


def untrained_model(config: ModelConfig, spec: ActionSpec, seed: int) -> WorldModel:
    """The model that a run begins with.

    Raises:
        UserError: If there is no such network.
    """
    torch.manual_seed(seed)
    try:
        return new_world_model(config, spec)
    except (ValueError, RuntimeError) as error:
        raise UserError(f"no network can be made of the model's settings ({in_short(error)}): mend them.") from error
