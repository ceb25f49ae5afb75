"""Shortcuts in drawing and resizing change no pixel."""

from typing import ClassVar

import cv2
import gymnasium as gym
import numpy as np
import pytest

from envs.picture import Shrinker, quick_pixels
from envs.rendered import RenderedGame

SHAPE = (64, 64, 3)


def resized(picture, shape=SHAPE):
    return cv2.resize(picture, (shape[1], shape[0]), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("small", [SHAPE, (84, 84, 3), (48, 96, 3), (96, 48, 3), (128, 128, 3)])
@pytest.mark.parametrize(
    "shape",
    [
        (400, 600),
        (210, 160),
        (500, 500),
        (128, 128),
        (64, 64),
        (50, 77),
        (61, 130),
        (48, 40),
        (32, 200),
        (208, 24),
        (210, 29),
        (186, 27),
    ],
)
def test_resizing_only_what_changed_is_exact(shape, small):
    rng = np.random.default_rng(0)
    shrink = Shrinker(small)
    picture = rng.integers(256, size=(*shape, 3), dtype=np.uint8)
    for _ in range(12):
        picture = picture.copy()
        top, left = rng.integers(shape[0]), rng.integers(shape[1])
        picture[top : top + rng.integers(1, 40), left : left + rng.integers(1, 40)] = rng.integers(256)
        np.testing.assert_array_equal(shrink(picture), resized(picture, small))


def test_an_unchanged_picture_and_a_single_changed_pixel():
    picture = np.zeros((400, 600, 3), np.uint8)
    shrink = Shrinker(SHAPE)
    shrink(picture)
    np.testing.assert_array_equal(shrink(picture.copy()), np.zeros((64, 64, 3)))
    picture = picture.copy()
    picture[399, 599, 2] = 255
    np.testing.assert_array_equal(shrink(picture), resized(picture))
    assert shrink(picture)[63, 63, 2] > 0


def test_a_picture_may_change_its_shape():
    shrink = Shrinker(SHAPE)
    for shape in ((100, 200, 3), (200, 100, 3)):
        picture = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
        np.testing.assert_array_equal(shrink(picture), resized(picture))


def test_a_frame_is_the_callers_own():
    picture = np.zeros((100, 100, 3), np.uint8)
    shrink = Shrinker(SHAPE)
    shrink(picture)[:] = 7
    assert not shrink(picture).any()


@pytest.mark.parametrize("env_id", ["CartPole-v1", "MountainCar-v0", "Acrobot-v1", "LunarLander-v3"])
def test_a_rendered_game_has_the_pixels_of_render_and_resize(env_id):
    game = RenderedGame(env_id, SHAPE, None, {})
    plain = gym.make(env_id, render_mode="rgb_array")
    for seed in range(2):
        game.reset(seed)
        plain.reset(seed=seed)
        for step in range(12):
            np.testing.assert_array_equal(game.frame(), resized(plain.render()))
            action = step % game.action_spec.sizes[0]
            game.step(action)
            plain.step(action)


def test_pygame_is_left_as_it_was():
    import pygame

    before = pygame.surfarray.pixels3d
    with pytest.raises(RuntimeError), quick_pixels():
        assert pygame.surfarray.pixels3d is not before
        raise RuntimeError
    assert pygame.surfarray.pixels3d is before


def test_an_unusual_surface_is_read_by_pygame_itself():
    import pygame

    surface = pygame.Surface((5, 4), depth=24)
    surface.fill((10, 20, 30))
    with quick_pixels():
        assert np.array(pygame.surfarray.pixels3d(surface))[0, 0].tolist() == [10, 20, 30]


class Canvas(gym.Env):
    """A game that draws into the same picture again and again."""

    metadata: ClassVar = {"render_modes": ["rgb_array"]}
    observation_space = gym.spaces.Box(0, 1)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode
        self.canvas = np.zeros((64, 64, 3), np.uint8)

    def reset(self, seed=None, options=None):
        self.canvas[:] = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.canvas += 1
        return np.zeros(1, np.float32), 0.0, False, False, {}

    def render(self):
        return self.canvas


def test_a_game_may_draw_into_the_picture_that_it_returned():
    gym.register("Canvas-v0", Canvas)
    game = RenderedGame("Canvas-v0", SHAPE, None, {})
    game.reset(0)
    seen = [game.frame().max()]
    for _ in range(3):
        game.step(0)
        seen.append(game.frame().max())
    gym.registry.pop("Canvas-v0")
    assert seen == [0, 1, 2, 3]
