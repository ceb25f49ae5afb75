"""One latent world model for many games: what a base of our own is trained by."""

import math
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, distributed, nn

from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig, PretrainStage, Stage
from worldmodel.latent.config import LatentConfig
from worldmodel.latent.fitter import LatentFitter
from worldmodel.latent.model import LatentWorldModel
from worldmodel.latent.own_base import belongs_to_game, save_base
from worldmodel.latent.pace import Pace
from worldmodel.optimization import Optimization

STAGES: tuple[PretrainStage, ...] = ("autoencoder", "dynamics")


class Pretraining:
    """Fits many games at once, in two stages: the autoencoder, then the dynamics and the head.

    Every game has a world model of its own. They share all weights but those that one game's actions and outcomes
    decide, and take the same steps as a world model of a single game does. The latents are standardised over all games,
    how far they change is measured for each.

    Several workers see other batches each and average their gradients, so their weights stay the same.

    Attributes:
        models: A world model for every game.
    """

    def __init__(
        self,
        config: LatentConfig,
        fit: FitConfig,
        readers: Mapping[str, BufferReader],
        games_per_update: int,
        seed: int,
        device: torch.device,
        failures: Path,
    ) -> None:
        """Untrained models for the games of `readers`.

        Args:
            config: What defines them.
            fit: How they are fitted; its steps are not looked at.
            readers: Every game's play.
            games_per_update: Games that one update learns from; each has an equal part of the batch.
            seed: Of every random choice.
            device: Where to fit.
            failures: Where a batch that spoils a fit is kept.
        """
        torch.manual_seed(seed)
        self.models = {game: LatentWorldModel(config, reader.action_spec) for game, reader in readers.items()}
        share(list(self.models.values()))
        self._fit, self._seed, self._device = fit, seed, device
        self._together = min(games_per_update, len(readers))
        # A base's head learns beside the dynamics: that its ends are dreamed well is for each game to see to.
        part = replace(fit, batch_size=max(fit.batch_size // self._together, 1), head_steps=0)
        self._fitters = [
            LatentFitter(model, part, readers[game], device, failures) for game, model in self.models.items()
        ]

    def begin(self, stage: PretrainStage, pace: Pace) -> None:
        """Prepare a stage, which goes on as long as `pace` says."""
        rank = distributed.get_rank() if distributed.is_initialized() else 0
        drawn = np.random.SeedSequence([self._seed, STAGES.index(stage), rank, pace.updates])
        seeds = drawn.generate_state(len(self._fitters) + 1).tolist()
        self._rng = np.random.default_rng(seeds.pop())
        trained = [fitter.prepare(Stage(stage, 0), s) for fitter, s in zip(self._fitters, seeds, strict=True)]
        self._trained = list({id(parameter): parameter for part in trained for parameter in part}.values())
        rate = self._fit.autoencoder_learning_rate if stage == "autoencoder" else self._fit.learning_rate
        self._stage, self._pace = stage, pace
        self._optimization = Optimization(self._trained, rate, 0, self._fit, self._device, lambda: pace.progress)
        for model in self.models.values():
            model.train()

    def update(self) -> dict[str, float]:
        """One update, on a batch of some games. Returns their mean losses.

        Raises:
            UserError: If a loss or a gradient is not finite.
        """
        self._optimization.zero_grad()
        sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self._device))
        for index in self._rng.choice(len(self._fitters), self._together, replace=False):
            for part in self._fitters[index].losses(self._fitters[index].draw()):
                self._optimization.backward(torch.stack(list(part.values())).sum() / self._together)
                for name, value in part.items():
                    sums[name] += value.detach() / self._together
        self._pace.count()
        self._pace.progress = average(self._trained, self._pace.progress)
        losses = {name: value.item() for name, value in sums.items()}
        self._check(losses | {"gradient": self._optimization.clip_grad_norm().item()})
        self._optimization.step()
        return losses

    def finish(self) -> None:
        """End the stage: adopt the averaged weights; after the autoencoder's, measure the latents."""
        self._optimization.copy_ema()
        for model in self.models.values():
            model.eval()
        if self._stage == "autoencoder":
            self._measure()

    def save(self, folder: Path) -> None:
        """Write the base to `folder`."""
        first, *_ = models = list(self.models.values())
        base = LatentWorldModel(first.config, first.action_spec)
        share([first, base])
        base.autoencoder.mean.copy_(first.autoencoder.mean)
        base.autoencoder.std.copy_(first.autoencoder.std)
        changes = torch.stack([model.autoencoder.change for model in models])
        base.autoencoder.change.copy_(changes.square().mean(0).sqrt())
        save_base(base, folder, tuple(self.models))

    def state(self) -> dict[str, Any]:
        """What the stage under way goes on from, but for what it draws."""
        models = {game: model.state_dict() for game, model in self.models.items()}
        return {"models": models, "optimization": self._optimization.state_dict()}

    def go_on(self, state: dict[str, Any]) -> None:
        """Go on from `state` in the stage that has just begun.

        Raises:
            UserError: If another version of this program wrote it.
        """
        if "optimization" not in state:
            raise UserError("what was kept of this pre-training is of an older version: begin again in another folder.")
        self.load(state)
        self._optimization.load_state_dict(state["optimization"])

    def load(self, state: dict[str, Any]) -> None:
        """Take the weights of `state`; before `begin`, which encodes the frames with them."""
        for game, model in self.models.items():
            model.load_state_dict(state["models"][game])

    def _check(self, losses: Mapping[str, float]) -> None:
        if strange := [name for name, value in losses.items() if not math.isfinite(value)]:
            raise UserError(
                f"pre-training the {self._stage}, {strange[0]} is no number any more after {self._pace.updates}"
                " updates: begin again with a lower learning rate."
            )

    def _measure(self) -> None:
        pairs = [fitter.raw_pairs() for fitter in self._fitters]
        raw = torch.cat([now for now, _ in pairs])
        for model, pair in zip(self.models.values(), pairs, strict=True):
            model.autoencoder.standardise(raw, raw)
            model.autoencoder.measure_change(*pair)
            for statistic in model.autoencoder.buffers(recurse=False):
                if distributed.is_initialized():
                    distributed.broadcast(statistic, 0)


def share(models: list[LatentWorldModel]) -> None:
    """Let all models have the first one's weights, but for those that belong to a game."""
    first, *others = models
    common = {name: weight for name, weight in first.named_parameters() if not belongs_to_game(name)}
    for model in others:
        for name, weight in common.items():
            module, _, leaf = name.rpartition(".")
            setattr(model.get_submodule(module), leaf, weight)


def average(parameters: list[nn.Parameter], progress: float) -> float:
    """Average the gradients over all workers. Returns the average of `progress`, the same for all.

    A parameter that no worker's batch has touched has no gradient before and zero after.
    """
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return progress
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    everything = torch.cat([*(gradient.flatten() for gradient in gradients), gradients[0].new_tensor([progress])])
    distributed.all_reduce(everything)
    everything /= distributed.get_world_size()
    for gradient, mean in zip(gradients, everything[:-1].split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
    return float(everything[-1])
