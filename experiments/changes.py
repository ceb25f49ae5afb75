"""What may be left out of a run, or be otherwise, to see what it is worth: one thing a row."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

from rl.settings import Settings
from worldmodel.data.starts import StartMix
from worldmodel.families import Family
from worldmodel.fitting import FitConfig

ImaginedRow = Literal[
    "all", "no_doubt", "only_beginnings", "short_dreams", "long_dreams", "half_imagined", "twice_imagined"
]
"""What an agent that begins in a finished world model may learn otherwise."""
RowName = Literal[
    "all", "no_base", "one_prediction", "any_noise", "four_calls", "hard_steps", "recent_play", "no_shift",
    "calm_context", "rough_dreams", "head_beside", "adapter", "no_waiting", "one_agent", "normalized", ImaginedRow,
]  # fmt: skip
IMAGINED_ROWS: tuple[ImaginedRow, ...] = get_args(ImaginedRow)
ROWS: tuple[RowName, ...] = get_args(RowName)
_NEVER_REACHED = 1e9


@dataclass(frozen=True)
class Change:
    """One thing that a row has otherwise.

    Attributes:
        words: What is different, for a person.
        make: The settings, changed.
        family: The family that has it, if not all do.
    """

    words: str
    make: Callable[[Settings], Settings]
    family: Family | None = None

    def concerns(self, settings: Settings) -> bool:
        """Whether a run of these settings is another one with it."""
        return self.family in (None, settings.family) and self.make(settings) != settings


def _fit(**changes: Any) -> Callable[[Settings], Settings]:
    return lambda settings: replace(settings, fit=replace(settings.fit, **changes))


def _model(**changes: Any) -> Callable[[Settings], Settings]:
    return lambda settings: replace(settings, model=replace(settings.model, **changes))


def _imagine(**changes: Any) -> Callable[[Settings], Settings]:
    return lambda settings: replace(settings, imagine=replace(settings.imagine, **changes))


def _one_prediction(settings: Settings) -> Settings:
    fit = settings.fit
    return _fit(unroll=1, batch_size=fit.batch_size * fit.unroll)(settings)


def _no_base(settings: Settings) -> Settings:
    model = replace(settings.model, base=replace(settings.model.base, name=None))
    # As long as it is fitted with a base, at the rate that suits one from nothing.
    fit = settings.fit
    steps, rate = fit.base_autoencoder_steps or fit.autoencoder_steps, FitConfig().autoencoder_learning_rate
    fit = replace(fit, autoencoder_steps=steps, autoencoder_learning_rate=rate)
    return replace(settings, model=model, fit=fit)


def _four_calls(settings: Settings) -> Settings:
    return _model(sampler=replace(settings.model.sampler, steps=4))(settings)


def _starts_at_beginnings(settings: Settings) -> Settings:
    return _imagine(starts=StartMix(uniform=0.0, near_end=0.0, beginning=1.0))(settings)


def _horizon(times: float) -> Callable[[Settings], Settings]:
    return lambda settings: _imagine(horizon=round(settings.imagine.horizon * times))(settings)


def _imagined(times: float) -> Callable[[Settings], Settings]:
    return lambda settings: _imagine(steps=round(settings.imagine.steps * times))(settings)


CHANGES: dict[RowName, Change] = {
    "all": Change("nothing", lambda settings: settings),
    "no_base": Change("everything is trained from scratch", _no_base, "latent"),
    "one_prediction": Change("windows of one prediction, never of its own, as many in all", _one_prediction),
    "any_noise": Change(
        "half of the predictions from noise levels that the sampler never uses", _fit(sampled_share=0.5), "latent"
    ),
    "four_calls": Change("four network calls a frame, and noise levels that suit them", _four_calls, "latent"),
    "hard_steps": Change("half of the windows lead to what was last predicted badly", _fit(hard_share=0.5), "latent"),
    "recent_play": Change("half of the windows lead to the newest round's play", _fit(recent_share=0.5)),
    "no_shift": Change("windows are never shifted, and the head sees nothing from beside", _model(shift=0.0), "latent"),
    "calm_context": Change("no noise on the context in training", _model(max_context_noise=0.0), "latent"),
    "rough_dreams": Change("dreams draw the variance that predictions leave out", _model(scatter=1.0), "latent"),
    "head_beside": Change(
        "the head learns with the dynamics, from no free-running dream", _fit(head_steps=0, rare_share=0.0), "latent"
    ),
    "adapter": Change("only an adapter of the base is trained, not all of its weights", _fit(full=False), "latent"),
    "no_waiting": Change("imagination never waits for ends to be recalled better", _fit(more_fits=0), "latent"),
    "one_agent": Change("one agent learns in all rounds, not a new one in each", _imagine(afresh=False)),
    "normalized": Change("the agent's network is normalised, layer by layer", _imagine(normalized=True)),
    "no_doubt": Change("no dream is cut off for doubt", _imagine(doubt_limit=_NEVER_REACHED)),
    "only_beginnings": Change("all dreams begin where games begin", _starts_at_beginnings),
    "short_dreams": Change("dreams a quarter as long", _horizon(0.25)),
    "long_dreams": Change("dreams twice as long", _horizon(2)),
    "half_imagined": Change("half as many imagined steps", _imagined(0.5)),
    "twice_imagined": Change("twice as many imagined steps", _imagined(2)),
}
