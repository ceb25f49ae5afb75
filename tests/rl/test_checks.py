from dataclasses import is_dataclass, replace
from math import inf, isfinite, nan
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from experiments.presets import PRESETS, smoke
from rl.checks import check_settings
from rl.settings import CollectSettings, ImagineSettings, Settings
from worldmodel.data.starts import StartMix
from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig
from worldmodel.latent.config import BaseConfig, LatentConfig
from worldmodel.pixel.config import PixelConfig
from worldmodel.plain import dotted, overlay

SHARES = (
    "collect.random", "collect.expert", "collect.exploring", "collect.epsilon", "model.shift", "model.context_dropout",
    "model.head.dropout", "fit.ema_decay", "fit.end_recall", "imagine.gamma", "imagine.gae_lambda", "game.atari.sticky",
    "fit.sampled_share", "fit.autoencoder_shift", "fit.rare_share", "fit.hard_share", "fit.recent_share",
    "imagine.starts.recent", "imagine.starts.uniform",
    "imagine.starts.near_end", "imagine.starts.beginning", "imagine.starts.near_reward",
)  # fmt: skip
MAY_BE_ZERO = (
    *SHARES, "seed", "collect.rare_rewards", "game.atari.noop_max", "model.guidance", "model.max_context_noise",
    "model.context_noise",
    "model.scatter", "fit.autoencoder_steps", "fit.base_autoencoder_steps", "fit.decoder_steps", "fit.first_steps",
    "fit.steps", "fit.head_steps", "fit.more_fits", "fit.weight_decay", "imagine.entropy", "imagine.value_coeff",
    "imagine.doubt_limit", "imagine.learning_rate_end", "imagine.least_spread", "cluster.learner_gpus",
    "cluster.agent_gpus", "pixel.noise.offset",
)  # fmt: skip
UNBOUNDED = "pixel.noise.mean"


@pytest.mark.parametrize("preset", PRESETS.values())
def test_presets_pass_whole_and_cut(preset):
    check_settings(preset())
    check_settings(smoke(preset()))


def leaves(kind, prefix=""):
    """Every setting by its dotted name, with the types that it may have."""
    for name, hint in get_type_hints(kind).items():
        if is_dataclass(hint):
            yield from leaves(hint, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", _kinds(hint)


def _kinds(hint):
    inner = get_args(hint) if get_origin(hint) in (Union, UnionType, tuple) else ()
    return {hint}.union(*map(_kinds, inner)) if inner else {hint}


LEAVES = dict(leaves(Settings))
NUMBERS = [name for name, kinds in LEAVES.items() if kinds & {int, float}]
CHOICES = {name: next(k for k in kinds if get_origin(k) is Literal) for name, kinds in LEAVES.items()
           if any(get_origin(k) is Literal for k in kinds)}  # fmt: skip


def refusal(name, value):
    """The sentence with which a config file's `value` for the setting `name` is refused; "" if it is not."""
    values = value
    for part in reversed(name.split(".")):
        values = {part: values}
    try:
        check_settings(overlay(Settings(), values, "mine.toml"))
    except UserError as error:
        assert "\n" not in str(error)
        return str(error)
    return ""


def test_every_setting_is_known():
    assert dotted(Settings()).keys() == LEAVES.keys()
    assert len(NUMBERS) > 50
    assert {"imagine.dream", "model.sampler.solver"} <= CHOICES.keys()


@pytest.mark.parametrize("value", [-1, -0.5, nan, inf, -inf])
@pytest.mark.parametrize("name", NUMBERS)
def test_a_number_that_is_negative_or_none_at_all_is_refused_by_name(name, value):
    assert name in refusal(name, value) or (name == UNBOUNDED and isfinite(value))


@pytest.mark.parametrize("name", NUMBERS)
def test_a_zero_is_refused_by_name_where_it_means_nothing(name):
    if name not in (*MAY_BE_ZERO, UNBOUNDED):
        assert name in refusal(name, 0)
    else:
        assert "must be" not in refusal(name, 0)


@pytest.mark.parametrize("name", SHARES)
def test_a_share_is_at_most_1(name):
    assert refusal(name, 1.5) == f"{name} must be from 0 to 1, not 1.5."


def test_no_other_number_is_at_most_1():
    assert not [name for name in NUMBERS if name not in SHARES and "to 1," in refusal(name, 1_000_000)]


@pytest.mark.parametrize("name", LEAVES)
def test_a_value_of_another_type_is_refused_by_name(name):
    wrong = [[]] if LEAVES[name] & {str, Path} else "mine"
    if LEAVES[name] != {dict[str, Any]}:
        assert f"mine.toml: {name} must be" in refusal(name, wrong)


@pytest.mark.parametrize("name", CHOICES)
def test_a_misspelt_choice_is_met_with_the_nearest(name):
    for choice in get_args(CHOICES[name]):
        assert refusal(name, f"{choice}x").endswith(f"did you mean {choice!r}?")


def test_a_list_with_one_bad_number_is_refused():
    assert "model.denoiser.channels" in refusal("model.denoiser.channels", [32, 0])
    assert "model.autoencoder.channels" in refusal("model.autoencoder.channels", [-8, 8])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"collect": CollectSettings(random=0.7, expert=0.7, expert_policy=Path("/"))}, "at most 1"),
        ({"collect": CollectSettings(expert=0.5)}, "expert_policy must name"),
        ({"collect": CollectSettings(first_steps=9000, capacity=8000)}, "capacity is 8000, less than a round's 9000"),
        ({"collect": CollectSettings(expert_policy=Path("/nowhere"))}, "no folder /nowhere"),
        ({"collect": CollectSettings(rare_rewards=5, capacity=30_000)}, "capacity is 30000, less than a round's 40000"),
        ({"collect": CollectSettings(rare_rewards=5, most_first_steps=3000)}, "most_first_steps is less than"),
        ({"imagine": ImagineSettings(dreams=2, rollout=2)}, "minibatch"),
        ({"imagine": ImagineSettings(steps=512)}, "less than one rollout"),
        ({"imagine": ImagineSettings(starts=StartMix(near_reward=0.2))}, "near_reward 0.2, recent 0.* add up to 1"),
        ({"model": LatentConfig(context=1)}, "model.context must be at least 2"),
        ({"family": "pixel", "pixel": PixelConfig(context=1)}, "pixel.context must be at least 2"),
        (
            {"family": "pixel", "model": LatentConfig(base=BaseConfig("a/b"))},
            "is for the family latent",
        ),
        ({"fit": FitConfig(batch_size=4, accumulate=5)}, "fit.accumulate must be at most fit.batch_size, 4: lower"),
        ({"fit": FitConfig(head_batch_size=7, accumulate=7)}, "accumulate must be at most fit.head_batch_size, 6"),
        ({"fit": FitConfig(rare_share=0.6, hard_share=0.5)}, "fit.rare_share, fit.hard_share .* together at most 1"),
        ({"fit": FitConfig(hard_share=0.6, recent_share=0.5)}, "fit.recent_share .* together at most 1"),
        ({"family": "pixel", "fit": FitConfig(weighting="edm")}, "fit.weighting is for the family latent"),
        ({"fit": FitConfig(head_steps=0, rare_share=0.1)}, "fit.rare_share .* set it to 0, or fit.head_steps above 0"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        check_settings(replace(Settings(), **changes))


def test_an_optimiser_without_its_package_is_refused_before_work_starts(monkeypatch):
    monkeypatch.setattr("worldmodel.fitting.find_spec", lambda _: None)
    with pytest.raises(UserError, match="extra"):
        check_settings(replace(Settings(), fit=FitConfig(optimizer="adamw8bit")))
