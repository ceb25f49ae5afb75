import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from rl.settings import Settings
from worldmodel.errors import UserError
from worldmodel.plain import checked, dotted, from_plain, overlay, to_plain


@dataclass(frozen=True)
class Point:
    x: float
    label: str = "here"
    where: Path | None = None


@dataclass(frozen=True)
class Line:
    points: tuple[Point, ...]
    lengths: dict[str, float]


def test_a_nested_dataclass_survives_json():
    line = Line((Point(1.5, where=Path("a/b")), Point(2.0, "there")), {"metres": 0.5})
    assert from_plain(Line, json.loads(json.dumps(to_plain(line))), "here") == line


def test_every_setting_survives_json():
    settings = replace(Settings(), seed=3)
    stored = json.loads(json.dumps(to_plain(settings)))
    assert overlay(Settings(), stored, "here") == settings == from_plain(Settings, stored, "here")


def test_overlay_replaces_what_is_named_and_nothing_else():
    changed = overlay(Settings(), {"seed": 4, "model": {"sampler": {"steps": 3}}}, "here")
    expected = replace(Settings(), seed=4)
    sampler = replace(expected.model.sampler, steps=3)
    assert changed == replace(expected, model=replace(expected.model, sampler=sampler))


def test_hyphens_are_underscores():
    assert overlay(Settings(), {"collect": {"first-steps": 5}}, "here").collect.first_steps == 5


def test_an_unknown_name_is_refused_with_the_nearest():
    with pytest.raises(UserError, match=r"my\.toml: 'fit\.stepz' .*did you mean 'steps'\?"):
        overlay(Settings(), {"fit": {"stepz": 5}}, "my.toml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"fit": {"steps": "many"}}, "fit.steps must be a whole number, not 'many'"),
        ({"fit": {"steps": True}}, "fit.steps must be a whole number, not True"),
        ({"fit": {"steps": 1.5}}, "fit.steps must be a whole number, not 1.5"),
        ({"fit": 3}, "fit must be a table"),
        ({"imagine": {"dream": "reel"}}, "imagine.dream must be one of model, real, shuffled"),
        ({"evaluate": {"greedy": 1}}, "evaluate.greedy must be true or false"),
        ({"model": {"autoencoder": {"channels": [8, "x"]}}}, "model.autoencoder.channels must be a whole number"),
    ],
)
def test_a_wrong_type_is_refused_by_name(values, message):
    with pytest.raises(UserError, match=message):
        overlay(Settings(), values, "here")


def test_a_whole_number_will_do_for_a_number():
    value = overlay(Settings(), {"fit": {"learning_rate": 1}}, "here").fit.learning_rate
    assert value == 1.0
    assert type(value) is float


def test_a_missing_name_is_refused():
    with pytest.raises(UserError, match="'x' is missing"):
        from_plain(Point, {"label": "here"}, "here")


def test_dotted_names_every_leaf():
    leaves = dotted(Settings())
    assert leaves["model.sampler.steps"] == Settings().model.sampler.steps
    assert "model" not in leaves


@pytest.mark.parametrize("value", [64, (96, 64)])
def test_a_value_of_one_type_or_another(value):
    stored = json.loads(json.dumps(value))
    assert checked(int | tuple[int, int], stored, "here", "size") == value


@pytest.mark.parametrize("value", [[1, 2, 3], [1.5, 2], "big", True])
def test_a_value_of_none_of_its_types_is_refused(value):
    with pytest.raises(UserError, match="here: size must be"):
        checked(int | tuple[int, int], value, "here", "size")
