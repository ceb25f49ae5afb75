from dataclasses import replace
from pathlib import Path

import pytest

from experiments.presets import PRESETS, smoke
from rl.checks import _POSITIVE, _SHARES, check_settings
from rl.settings import CollectSettings, ImagineSettings, Settings
from worldmodel.errors import UserError
from worldmodel.fitting import FitConfig
from worldmodel.latent.config import LatentConfig
from worldmodel.plain import dotted, overlay


@pytest.mark.parametrize("preset", PRESETS.values())
def test_presets_pass_whole_and_cut(preset):
    check_settings(preset())
    check_settings(smoke(preset()))


@pytest.mark.parametrize("name", [*_POSITIVE, *_SHARES])
def test_a_number_out_of_range_is_refused_by_name(name):
    assert name in dotted(Settings())
    values = -1
    for part in reversed(name.split(".")):
        values = {part: values}
    with pytest.raises(UserError, match=name):
        check_settings(overlay(Settings(), values, "here"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"collect": CollectSettings(random=0.7, expert=0.7, expert_policy=Path("/"))}, "at most 1"),
        ({"collect": CollectSettings(expert=0.5)}, "expert_policy must name"),
        ({"collect": CollectSettings(expert_policy=Path("/nowhere"))}, "no folder /nowhere"),
        ({"imagine": ImagineSettings(dreams=2, rollout=2)}, "minibatch"),
        ({"imagine": ImagineSettings(steps=512)}, "less than one rollout"),
        ({"model": LatentConfig(context=1)}, "model.context must be at least 2"),
        ({"fit": FitConfig(batch_size=4, accumulate=5)}, "fit.accumulate must be at most fit.batch_size, 4"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        check_settings(replace(Settings(), **changes))


def test_an_optimiser_without_its_package_is_refused_before_work_starts(monkeypatch):
    monkeypatch.setattr("worldmodel.fitting.find_spec", lambda _: None)
    with pytest.raises(UserError, match="extra"):
        check_settings(replace(Settings(), fit=FitConfig(optimizer="adamw8bit")))
