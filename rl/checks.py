"""Settings that cannot work, refused before anything starts."""

import math

from rl.pretrain_settings import PretrainSettings
from rl.settings import CollectSettings, ExpertSettings, ImagineSettings, RealPlaySettings, Settings
from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig, check_optimizer
from worldmodel.latent.config import latent_size
from worldmodel.plain import dotted

_SHARES = (
    "collect.random", "collect.expert", "collect.exploring", "collect.epsilon", "model.shift", "model.context_dropout",
    "model.head.dropout", "fit.ema_decay", "fit.end_recall", "imagine.gamma", "imagine.gae_lambda", "game.atari.sticky",
    "gamma", "play.expert", "fit.sampled_share", "fit.autoencoder_shift", "fit.rare_share", "fit.hard_share",
    "imagine.starts.uniform", "imagine.starts.near_end", "imagine.starts.beginning", "imagine.starts.near_reward",
)  # fmt: skip
_MAY_BE_ZERO = (
    *_SHARES, "seed", "game.atari.noop_max", "model.guidance", "model.max_context_noise", "model.context_noise",
    "model.scatter",
    "fit.autoencoder_steps", "fit.base_autoencoder_steps", "fit.decoder_steps", "fit.first_steps",
    "fit.steps", "fit.head_steps", "fit.more_fits", "fit.weight_decay", "imagine.entropy", "imagine.value_coeff",
    "imagine.doubt_limit", "imagine.learning_rate_end", "imagine.least_spread", "cluster.learner_gpus",
    "cluster.agent_gpus", "pixel.noise.offset",
)  # fmt: skip
"""all other numbers must be more than 0, and none may be less"""
_ANY = ("pixel.noise.mean",)
"""but for these"""


def check_settings(settings: Settings) -> None:
    """Refuse settings that cannot work.

    Raises:
        UserError: Naming the setting and what it may be.
    """
    _check_numbers(settings)
    if (context := settings.world_model.context) < 2:
        part = "model" if settings.family == "latent" else settings.family
        raise UserError(f"{part}.context must be at least 2, not {context}: one frame shows no motion.")
    if settings.family != "latent" and settings.model.base.name:
        raise UserError(f"model.base.name is for the family latent, not {settings.family}: leave out one of the two.")
    if not 1 <= settings.model.sampler.steps <= 8:
        raise UserError(f"model.sampler.steps must be from 1 to 8, not {settings.model.sampler.steps}.")
    if settings.model.base.name is not None:
        from worldmodel.latent.bases import check_base  # imports torch

        check_base(settings.model)
    else:
        latent_size(settings.model.frame_size, settings.model.autoencoder.scale)
    if settings.fit.full and settings.model.base.dtype != "float32":
        raise UserError("fit.full trains all weights, so model.base.dtype must be float32: choose one of the two.")
    _check_parts(settings.fit, settings.fit.batch_size, "fit.batch_size")
    if settings.fit.head_steps:
        _check_parts(settings.fit, settings.fit.head_batch_size // 2 * 2, "fit.head_batch_size")
    elif settings.fit.rare_share:
        raise UserError(
            "fit.rare_share shows what is rare too often for a head that learns beside the dynamics:"
            " set it to 0, or fit.head_steps above 0."
        )
    if settings.fit.rare_share + settings.fit.hard_share > 1:
        raise UserError("fit.rare_share and fit.hard_share are shares of the same windows: together at most 1.")
    check_optimizer(settings.fit.optimizer)
    if settings.collect.hold < 1:
        raise UserError(f"collect.hold must be at least 1 step, not {settings.collect.hold}.")
    _check_collect(settings.collect)
    _check_imagine(settings.imagine)


def check_expert_settings(settings: ExpertSettings) -> None:
    """Refuse settings that no expert can be trained with.

    Raises:
        UserError: Naming the setting and what it may be.
    """
    _check_numbers(settings)
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


def check_pretrain_settings(settings: PretrainSettings) -> None:
    """Refuse settings that no base can be pre-trained with.

    Raises:
        UserError: Naming the setting and what it may be.
    """
    _check_numbers(settings)
    if settings.model.base.name is not None:
        raise UserError("a base is pre-trained from scratch: leave out model.base.name.")
    if not settings.play.games or set(settings.play.games) & set(settings.play.strange):
        raise UserError("play.games must name the games to learn, none of them among play.strange: mend the two lists.")
    latent_size(settings.model.frame_size, settings.model.autoencoder.scale)
    together = min(settings.games_per_update, len(settings.play.games))
    _check_parts(settings.fit, settings.fit.batch_size // together, "a game's part of fit.batch_size")
    check_optimizer(settings.fit.optimizer)


def check_real_play(play: RealPlaySettings, name: str) -> None:
    """Refuse settings that nobody can learn with in the real game; `name` is what they are called.

    Raises:
        UserError: Naming the setting and what it may be.
    """
    for leaf, value in dotted(play).items():
        if not (math.isfinite(value) and value > 0):
            raise UserError(f"{name}.{leaf} must be a finite number of more than 0, not {value}.")
    if play.minibatch > play.envs * play.rollout:
        raise UserError(
            f"{name}.minibatch is {play.minibatch}, but a rollout has only {play.envs * play.rollout} samples"
            f" ({name}.envs times {name}.rollout); lower it."
        )


def _check_parts(fit: FitConfig, batch: int, name: str) -> None:
    if fit.accumulate > batch:
        raise UserError(f"fit.accumulate must be at most {name}, {batch}: lower the one or raise the other.")


def _check_numbers(settings: Settings | ExpertSettings | PretrainSettings) -> None:
    for name, value in dotted(settings).items():
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int | float):
                _check_number(name, number)


def _check_number(name: str, number: float) -> None:
    if not math.isfinite(number):
        raise UserError(f"{name} must be a finite number, not {number}.")
    if name in _ANY:
        return
    if name in _SHARES and not 0 <= number <= 1:
        raise UserError(f"{name} must be from 0 to 1, not {number}.")
    if number < 0 and name in _MAY_BE_ZERO:
        raise UserError(f"{name} must not be less than 0, not {number}.")
    if number <= 0 and not (isinstance(number, bool) or name in _MAY_BE_ZERO):
        raise UserError(f"{name} must be more than 0, not {number}.")


def _check_collect(collect: CollectSettings) -> None:
    if collect.random + collect.expert + collect.exploring > 1 + 1e-6:
        raise UserError(
            "collect.random, collect.expert and collect.exploring together must be at most 1;"
            " the agent plays what is left."
        )
    if collect.capacity < (most := max(collect.first_steps, collect.steps)):
        raise UserError(f"collect.capacity is {collect.capacity}, less than a round's {most} steps; raise it.")
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
    if abs(sum(imagine.starts.shares) - 1) > 1e-6:
        shares = ", ".join(f"{name} {share:g}" for name, share in dotted(imagine.starts).items())
        raise UserError(f"the shares of imagine.starts ({shares}) must add up to 1.")
