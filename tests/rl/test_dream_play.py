from dataclasses import replace

import numpy as np
import pytest
from pixel_dreams import FRAMES, LATENTS, RECURRENT, SIZE, policy, world_model

import rl.dream_play
from rl.dream_play import play_dreams
from rl.players import Players
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return world_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("spec", [RECURRENT, FRAMES, LATENTS], ids=lambda spec: f"{spec.network} {spec.observation}")
def test_each_dream_is_played_once(folder, spec):
    games = play_dreams(folder, policy(spec), 5, horizon=6, seed=1)
    assert len(games.evaluation.returns) == 5
    assert all(1 <= length <= 6 for length in games.evaluation.lengths)
    assert 0 <= games.ended <= 1
    assert games.film.shape == (games.evaluation.lengths[0] + 1, SIZE, SIZE, 3)
    assert games.evaluation == play_dreams(folder, policy(spec), 5, horizon=6, seed=1).evaluation


class Game:
    """Three dreams that pay 1 a step; the first ends after 2 steps and pays on in vain, the others are cut off."""

    num_envs = 3
    action_spec = FRAMES.actions

    def __init__(self, *_, horizon, stack, **__):
        self.horizon, self.stack, self.step_number = horizon, stack, 0

    def reset(self, seed):
        return self.seen(), {}

    def step(self, actions):
        self.step_number += 1
        terminated = np.array([self.step_number in (2, 3), False, False])
        return self.seen(), np.ones(3), terminated, np.full(3, self.step_number == self.horizon) & ~terminated, {}

    def seen(self):
        newest = self.step_number + np.arange(self.stack)
        return np.repeat(np.broadcast_to(newest, (3, SIZE, SIZE, self.stack)), 3, axis=-1).astype(np.uint8)

    def render(self):
        return [np.full((SIZE, SIZE, 3), self.step_number, np.uint8)] * 3


@pytest.fixture
def watched(monkeypatch):
    """What the policy saw at every step, in a game that is known."""
    seen = []
    monkeypatch.setattr(rl.dream_play, "NeuralVectorEnv", Game)
    trained = Players.trained

    def listening(*arguments):
        player = trained(*arguments)
        act = player.policy.act
        player.policy.act = lambda observations, rng: seen.append(observations) or act(observations, rng)
        return player

    monkeypatch.setattr(Players, "trained", listening)
    return seen


def test_a_dream_counts_up_to_its_first_end(watched):
    games = play_dreams("", policy(FRAMES), 3, horizon=5)
    assert games.evaluation.returns == (2, 5, 5)
    assert games.evaluation.lengths == (2, 5, 5)
    assert games.ended == pytest.approx(1 / 3)
    assert games.film[:, 0, 0, 0].tolist() == [0, 1, 2]


def test_stacks_are_the_newest_observations(watched):
    play_dreams("", policy(FRAMES), 3, horizon=3)
    assert [seen[0, 0, 0, ::3].tolist() for seen in watched] == [[0, 1, 2, 3], [1, 2, 3, 4], [2, 3, 4, 5]]


def test_a_memory_is_filled_with_the_context_before_the_first_step(watched):
    snapshot = policy(RECURRENT)
    play_dreams("", snapshot, 3, horizon=2)
    view = rl.dream_play.Players(FRAMES.actions).trained(snapshot, None).view
    seen = Game(horizon=2, stack=4).seen()
    view.start(rl.dream_play.glimpses(seen, 4))
    np.testing.assert_allclose(watched[0], view.of(np.arange(3)))


def test_a_game_that_begins_is_seen_to_begin_once():
    """A stack that is not full repeats the first picture, which whoever remembers has seen only once in a real game."""
    pictures = np.array([[5, 5, 6, 7], [5, 6, 6, 7]], np.uint8)
    told = rl.dream_play.glimpses(np.broadcast_to(pictures[:, None, None], (2, 2, 2, 4)), 4)
    assert [glimpse.frames[:, 0, 0, 0].tolist() for glimpse in told] == pictures.T.tolist()
    restarted = [glimpse.restarted.tolist() for glimpse in told]
    assert restarted == [[True, True], [True, False], [False, False], [False, False]]


def test_a_policy_of_another_game_is_refused(folder):
    odd = policy(replace(RECURRENT, actions=ActionSpec.discrete(5)))
    with pytest.raises(UserError, match="5 actions"):
        play_dreams(folder, odd, 2, horizon=3)
