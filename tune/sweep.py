"""A sweep over Dyna on Ray Tune: one run for every choice of settings."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ray.tune import CheckpointConfig, ResultGrid, RunConfig, TuneConfig, Tuner
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.sample import Domain
from ray.tune.search.variant_generator import generate_variants

from rl.checks import check_beginning, check_settings
from rl.dyna import Dyna, DynaConfig
from rl.metrics import Mode, better
from rl.resources import Resources, cluster_gpus
from rl.settings import Settings
from tune.early_stopping import EarlyStopping
from worldmodel.errors import UserError
from worldmodel.plain import dotted


def sweep(
    settings: Settings,
    space: Mapping[str, Any],
    *,
    folder: Path,
    samples: int = 1,
    time_limit_s: float | None = None,
    metric: str = "real_return",
    mode: Mode | None = None,
    early_stopping: EarlyStopping | None = None,
) -> ResultGrid:
    """Run Dyna once for every choice from `space`, as many at a time as the running Ray cluster holds.

    A trial ends after `settings.rounds` rounds; its newest round is kept as its checkpoint.

    Args:
        settings: What all trials have in common.
        space: Settings by their dotted names, each a value or a search space of Ray Tune.
        folder: Where Tune keeps the results, in a folder of its own for each sweep.
        samples: How often to draw what `space` leaves to chance; what `grid_search` holds is gone through as a whole
            each time. All trials have the seed of `settings`, unless `space` holds `seed`.
        time_limit_s: Stop all trials after this time.
        metric: What trials are ranked by, one of `rl.metrics.METRICS`.
        mode: Whether it is to be high or low; None: as it is good.
        early_stopping: Which trials end before their last round; None: none.

    Raises:
        UserError: If `metric` is unknown, or a trial would not measure it; if no trial could be stopped early; if
            `samples` would only repeat trials; if `space` names what is no setting, or leads to settings that cannot
            work or that need more than the cluster has.
    """
    good = better(metric)
    if early_stopping:
        early_stopping.check(settings.rounds)
    settings = _among_others(settings)
    _check(settings, space, metric)
    if samples > 1 and not any(isinstance(choice, Domain) for choice in space.values()):
        raise UserError("samples would repeat the same trials, since nothing is drawn: put seeds into space instead.")
    tuner = Tuner(
        Dyna,
        param_space=DynaConfig(settings).tune(space).to_dict(),
        tune_config=TuneConfig(
            metric=f"dyna/{metric}",
            mode=mode or good,
            num_samples=samples,
            time_budget_s=time_limit_s,
            scheduler=_halving(early_stopping, settings.rounds) if early_stopping else None,
        ),
        run_config=RunConfig(
            storage_path=str(folder.absolute()),
            stop={"training_iteration": settings.rounds},
            checkpoint_config=CheckpointConfig(num_to_keep=1, checkpoint_frequency=1),
        ),
    )
    return tuner.fit()


def _among_others(settings: Settings) -> Settings:
    """Torch threads are as many as a trial's CPUs, unless stated: on all cores, trials would slow each other down."""
    if settings.cluster.threads is not None:
        return settings
    return replace(settings, cluster=replace(settings.cluster, threads=Resources.of(settings, cluster_gpus()).cpus))


def _halving(early_stopping: EarlyStopping, rounds: int) -> ASHAScheduler:
    return ASHAScheduler(
        time_attr="training_iteration",
        max_t=rounds,
        grace_period=early_stopping.grace,
        reduction_factor=early_stopping.reduction,
    )


def _check(settings: Settings, space: Mapping[str, Any], metric: str) -> None:
    """Every choice from a grid, and one drawn from whatever else there is: Tune would wait, or fail trial by trial."""
    if "rounds" in space:
        raise UserError("rounds must be the same for all trials of a sweep: give it as a setting.")
    for _, changes in generate_variants(dict(space)):
        tuned = DynaConfig(settings).tune(changes).resolved().settings
        check_settings(tuned)
        check_beginning(tuned)
        if relative := [name for name, value in dotted(tuned).items() if _is_relative(value)]:
            raise UserError(f"{relative[0]} is a relative path: give it whole, since trials stand in other folders.")
        if tuned.imagine.dream == "real" and metric.startswith("fidelity/"):
            raise UserError(f"{metric} is of a dream, and imagine.dream is real: rank by another metric.")
        Resources.of(tuned, cluster_gpus()).check()


def _is_relative(value: Any) -> bool:
    return isinstance(value, Path) and not value.is_absolute()
