"""Settings that cannot work, refused before anything starts."""

from rl.pretrain_settings import PretrainSettings
from rl.settings import CollectSettings, ExpertSettings, ImagineSettings, RealPlaySettings, Settings
from worldmodel.bounds import check_bounds
from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig, check_optimizer
from worldmodel.latent.config import latent_size
from worldmodel.plain import dotted


def check_settings(settings: Settings) -> None:
    """Refuse settings that cannot work.

    Raises:
        UserError: Naming the setting and what it may be.
    """
    check_bounds(settings)
    if settings.family != "latent" and settings.model.base.name:
        raise UserError(f"model.base.name is for the family latent, not {settings.family}: leave out one of the two.")
    if settings.family == "pixel" and settings.fit.weighting != "none":
        raise UserError("fit.weighting is for the family latent: the family pixel weighs errors by its own noise.")
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
    if settings.fit.rare_share + settings.fit.hard_share + settings.fit.recent_share > 1 + 1e-6:
        raise UserError(
            "fit.rare_share, fit.hard_share and fit.recent_share are shares of the same windows: together at most 1."
        )
    check_optimizer(settings.fit.optimizer)
    _check_collect(settings.collect)
    _check_imagine(settings.imagine)


def check_beginning(settings: Settings) -> None:
    """Refuse settings that a run cannot begin with, though one that has begun goes on without what they name.

    Raises:
        UserError: Naming the setting and what it may be.
    """
    policy = settings.imagine.policy
    if policy and not policy.is_dir():
        raise UserError(f"imagine.policy: there is no folder {policy}.")


def check_expert_settings(settings: ExpertSettings) -> None:
    """Refuse settings that no expert can be trained with.

    Raises:
        UserError: Naming the setting and what it may be.
    """
    check_bounds(settings)
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
    check_bounds(settings)
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
    check_bounds(play, f"{name}.")
    if play.minibatch > play.envs * play.rollout:
        raise UserError(
            f"{name}.minibatch is {play.minibatch}, but a rollout has only {play.envs * play.rollout} samples"
            f" ({name}.envs times {name}.rollout); lower it."
        )


def _check_parts(fit: FitConfig, batch: int, name: str) -> None:
    if fit.accumulate > batch:
        raise UserError(f"fit.accumulate must be at most {name}, {batch}: lower the one or raise the other.")


def _check_collect(collect: CollectSettings) -> None:
    if collect.random + collect.expert + collect.exploring > 1 + 1e-6:
        raise UserError(
            "collect.random, collect.expert and collect.exploring together must be at most 1;"
            " the agent plays what is left."
        )
    if collect.rare_rewards and collect.most_first_steps < collect.first_steps:
        raise UserError(
            "collect.most_first_steps is less than collect.first_steps: raise it, or leave both as they are."
        )
    if collect.capacity < (most := max(collect.longest_first, collect.steps)):
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
