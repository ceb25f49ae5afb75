"""Settings that cannot work, refused before anything starts."""

from collections.abc import Mapping, Sequence
from typing import Any

from rl.settings import CollectSettings, ExpertSettings, GameSettings, ImagineSettings, Settings
from worldmodel.errors import UserError
from worldmodel.fitting import check_optimizer
from worldmodel.latent.config import latent_size
from worldmodel.plain import dotted

_POSITIVE = (
    "rounds", "collect.collectors", "collect.envs", "collect.first_steps", "collect.steps", "collect.capacity",
    "model.frame_size", "model.context", "model.adapter.rank", "model.head.members", "fit.batch_size", "fit.accumulate",
    "fit.unroll", "fit.learning_rate", "fit.snr_gamma", "imagine.stack", "imagine.dreams", "imagine.horizon",
    "imagine.steps", "imagine.rollout", "imagine.minibatch", "imagine.epochs", "imagine.learning_rate",
    "evaluate.episodes", "game.atari.frame_skip",
)  # fmt: skip
_EXPERT_POSITIVE = (
    "steps", "frame_size", "stack", "envs", "rollout", "minibatch", "epochs", "learning_rate", "reward_scale",
    "evaluate.episodes", "game.atari.frame_skip",
)  # fmt: skip
_SHARES = (
    "collect.random",
    "collect.expert",
    "imagine.gamma",
    "imagine.gae_lambda",
    "fit.ema_decay",
    "model.context_dropout",
)


def check_settings(settings: Settings) -> None:
    """Refuse settings that cannot work.

    Raises:
        UserError: Naming the setting and what it may be.
    """
    values = dotted(settings)
    _check_positive(values, _POSITIVE)
    for name in _SHARES:
        if not 0 <= values[name] <= 1:
            raise UserError(f"{name} must be from 0 to 1, not {values[name]}.")
    if settings.model.context < 2:
        raise UserError(f"model.context must be at least 2, not {settings.model.context}: one frame shows no motion.")
    if not 1 <= settings.model.sampler.steps <= 8:
        raise UserError(f"model.sampler.steps must be from 1 to 8, not {settings.model.sampler.steps}.")
    if settings.model.base.name is not None:
        from worldmodel.latent.bases import check_base  # imports torch

        check_base(settings.model.base)
    else:
        latent_size(settings.model.frame_size, settings.model.autoencoder.scale)
    if settings.fit.accumulate > settings.fit.batch_size:
        raise UserError(f"fit.accumulate must be at most fit.batch_size, {settings.fit.batch_size}.")
    check_optimizer(settings.fit.optimizer)
    _check_game(settings.game)
    _check_collect(settings.collect)
    _check_imagine(settings.imagine)


def check_expert_settings(settings: ExpertSettings) -> None:
    """Refuse settings that no expert can be trained with.

    Raises:
        UserError: Naming the setting and what it may be.
    """
    _check_positive(dotted(settings), _EXPERT_POSITIVE)
    _check_game(settings.game)
    if settings.steps < settings.longest_rollout:
        raise UserError(
            f"steps is {settings.steps}, but a rollout alone may take {settings.longest_rollout}"
            " (envs times rollout, and up to envs more); raise it, or lower envs or rollout."
        )
    if settings.minibatch > settings.envs * settings.rollout:
        raise UserError(
            f"minibatch is {settings.minibatch}, but a rollout has only {settings.envs * settings.rollout} samples"
            " (envs times rollout); lower it."
        )


def _check_positive(values: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in names:
        if (min(values[name]) if isinstance(values[name], tuple) else values[name]) <= 0:
            raise UserError(f"{name} must be more than 0, not {values[name]}.")


def _check_game(game: GameSettings) -> None:
    if not 0 <= game.atari.sticky <= 1:
        raise UserError(f"game.atari.sticky must be from 0 to 1, not {game.atari.sticky}.")
    if game.atari.noop_max < 0:
        raise UserError(f"game.atari.noop_max must not be negative, not {game.atari.noop_max}.")


def _check_collect(collect: CollectSettings) -> None:
    if collect.random + collect.expert > 1:
        raise UserError("collect.random and collect.expert together must be at most 1; the agent plays what is left.")
    if collect.expert > 0 and collect.expert_policy is None:
        raise UserError("collect.expert is not 0, so collect.expert_policy must name an expert's folder.")
    if collect.expert_policy and not collect.expert_policy.is_dir():
        raise UserError(f"collect.expert_policy: there is no folder {collect.expert_policy}.")


def _check_imagine(imagine: ImagineSettings) -> None:
    batch = imagine.dreams * imagine.rollout
    if imagine.minibatch > batch:
        raise UserError(
            f"imagine.minibatch is {imagine.minibatch}, but a rollout has only {batch} samples"
            " (imagine.dreams times imagine.rollout); lower it."
        )
    if imagine.steps < batch:
        raise UserError(f"imagine.steps is {imagine.steps}, less than one rollout ({batch} steps); raise it.")
