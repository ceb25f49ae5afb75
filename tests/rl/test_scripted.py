import numpy as np
import pytest

from rl.scripted import RULES, play_scripted

SHAPE = (16, 16, 3)


@pytest.mark.parametrize(
    ("game", "least"), [("MountainCar-v0", -199), ("MountainCarContinuous-v0", 0), ("Acrobot-v1", -400)]
)
def test_an_expert_reaches_what_chance_does_not(game, least):
    episodes = play_scripted(game, 300, SHAPE, 1000, seed=0)
    assert all(episode.terminated[-1] for episode in episodes)
    assert np.mean([episode.rewards.sum() for episode in episodes]) > least
    assert {episode.info.source for episode in episodes} == {"expert"}


def test_the_pendulum_stands():
    (episode, *_) = play_scripted("Pendulum-v1", 200, SHAPE, 1000, seed=0)
    assert episode.rewards[-50:].mean() > -1
    assert episode.truncated[-1] and len(episode) == 200


def test_an_episode_keeps_the_projects_convention_of_time():
    (episode,) = play_scripted("MountainCar-v0", 1, SHAPE, 30, seed=3)
    again = play_scripted("MountainCar-v0", 1, SHAPE, 30, seed=3)[0]
    assert episode.frames.shape == (31, *SHAPE) and episode.actions.shape == (30,)
    assert np.array_equal(episode.frames, again.frames) and np.array_equal(episode.actions, again.actions)
    assert episode.truncated[-1] and not episode.terminated[-1]


def test_games_with_a_rule_are_known():
    assert set(RULES) == {"Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1"}
