import json
from contextlib import contextmanager
from dataclasses import replace
from typing import ClassVar

import gymnasium as gym
import numpy as np
import pytest
from counting import CountingEnv
from test_policies import FRAMES, LATENTS, snapshot

from rl.collector import Collector, Shares
from rl.expert import expert_config, expert_steps, judge_expert, train_expert
from rl.policies import load_policy, save_policy
from rl.progress import NullProgress
from rl.settings import CollectSettings, EvaluateSettings, ExpertSettings, GameSettings, Settings
from worldmodel.errors import UserError
from worldmodel.latent.config import LatentConfig
from worldmodel.spaces import ActionSpec

SETTINGS = ExpertSettings(
    steps=250,
    game=GameSettings("counting:Counting-v0"),
    frame_size=16,
    stack=2,
    envs=4,
    rollout=16,
    minibatch=32,
    epochs=1,
    reward_scale=0.5,
    threads=1,
    evaluate=EvaluateSettings(episodes=3),
)
ACTIONS = ActionSpec.discrete(3)


class Watched(NullProgress):
    """Adds up what is told."""

    def __init__(self):
        self.steps, self.returns = 0, []

    @contextmanager
    def phase(self, name, total):
        def advance(n, real_return):
            self.steps += n
            self.returns.append(real_return)

        yield advance


class Cue(gym.Env):
    """Shows black or white; the action that names it pays 1. Ten steps a game."""

    metadata: ClassVar[dict] = {"render_modes": ["rgb_array"]}
    observation_space, action_space = gym.spaces.Discrete(2), gym.spaces.Discrete(2)

    def __init__(self, render_mode=None):
        self.render_mode = render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.cue, self.left = int(self.np_random.integers(2)), 10
        return self.cue, {}

    def step(self, action):
        reward = float(action == self.cue)
        self.cue, self.left = int(self.np_random.integers(2)), self.left - 1
        return self.cue, reward, self.left == 0, False, {}

    def render(self):
        return np.full((16, 16, 3), 255 * self.cue, np.uint8)


gym.register("Cue-v0", entry_point=Cue)


@pytest.fixture(scope="module")
def trained(cluster, tmp_path_factory):
    """An expert, the real steps that its game saw, what was told on the way, and the folder where it was saved."""
    played, progress, step = [], Watched(), CountingEnv.step
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CountingEnv, "step", lambda self, action: (played.append(action), step(self, action))[1])
        expert = train_expert(SETTINGS, progress)
    folder = tmp_path_factory.mktemp("expert")
    save_policy(folder, expert)
    return expert, len(played), progress, folder


def test_every_real_step_is_counted_and_the_budget_is_kept(trained):
    expert, played, progress, _ = trained
    assert expert.real_steps == played == progress.steps
    assert SETTINGS.steps - SETTINGS.longest_rollout < played <= SETTINGS.steps


def test_returns_are_told_in_the_games_own_reward(trained):
    _, _, progress, _ = trained
    # A game of 8 to 32 steps pays 10 times the count, and up to 2 more, a step.
    assert 10 * 28 <= progress.returns[-1] <= 10 * 496 + 64


def test_training_changes_policy_and_value(trained):
    expert, *_ = trained
    begun = expert_config(SETTINGS).build_algo()
    fresh = begun.get_module().get_state()
    begun.stop()
    assert expert.weights.keys() == fresh.keys()
    for name in ("policy.weight", "value.weight", "encoder.0.0.weight"):
        assert not np.array_equal(expert.weights[name], fresh[name])


def test_the_saved_folder_plays_as_expert_at_its_share(trained):
    *_, folder = trained
    collector = Collector(SETTINGS.game, 16, 4, index=0, seed=5, expert=folder)
    episodes = collector.collect(1200, 1, Shares(0.6, 0.4))
    steps = {source: sum(len(e) for e in episodes if e.info.source == source) for source in ("random", "expert")}
    assert steps["expert"] / sum(steps.values()) == pytest.approx(0.4, abs=0.05)
    assert {e.info.policy_version for e in episodes if e.info.source == "expert"} == {1}


def test_an_expert_learns_its_game(cluster):
    settings = replace(
        SETTINGS, steps=2500, game=GameSettings("Cue-v0"), stack=1, envs=8, learning_rate=3e-3, epochs=4, gamma=0.5
    )
    progress = Watched()
    expert = train_expert(settings, progress)
    assert progress.returns[0] < 7
    assert judge_expert(settings, expert, NullProgress()).mean > 9


def test_an_expert_is_judged_in_whole_games(trained):
    expert, *_ = trained
    judged = judge_expert(SETTINGS, expert, NullProgress())
    assert len(judged.returns) == 3
    assert all(8 <= length <= 32 for length in judged.lengths)


def test_the_game_is_the_real_one_with_its_reward_scaled():
    config = expert_config(SETTINGS)
    games = gym.make_vec(config.env, num_envs=2, vectorization_mode="vector_entry_point", **config.env_config)
    assert games.metadata["autoreset_mode"] is gym.vector.AutoresetMode.NEXT_STEP
    assert games.reset(seed=0)[0].shape == (2, 16, 16, 6)
    rewards = [games.step(np.array([1, 2]))[1].tolist() for _ in range(2)]
    assert rewards == [[0.5, 1.0], [5.5, 6.0]]


def with_expert(folder, share=0.5, size=8):
    return Settings(collect=CollectSettings(expert=share, expert_policy=folder), model=LatentConfig(frame_size=size))


def test_a_run_counts_the_steps_of_the_expert_that_plays(trained, tmp_path):
    expert, *_, folder = trained
    assert json.loads((folder / "policy.json").read_text())["real_steps"] == expert.real_steps
    assert load_policy(folder).real_steps == expert.real_steps
    assert expert_steps(with_expert(folder, size=16), ACTIONS) == expert.real_steps
    assert expert_steps(with_expert(folder, share=0.0, size=16), ACTIONS) == 0
    assert expert_steps(Settings(), ACTIONS) == 0


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (replace(FRAMES, actions=ActionSpec.discrete(7)), "has 7 actions, the game has 3"),
        (replace(FRAMES, observation_shape=(12, 12, 3)), "frames of 12 x 12 pixels, the run has 8 x 8"),
    ],
)
def test_an_expert_that_does_not_fit_is_refused(tmp_path, spec, message):
    save_policy(tmp_path, snapshot(spec))
    with pytest.raises(UserError, match=message):
        expert_steps(with_expert(tmp_path), ACTIONS)


def test_an_expert_may_see_latents(tmp_path):
    save_policy(tmp_path, snapshot(LATENTS, real_steps=9))
    assert expert_steps(with_expert(tmp_path), ACTIONS) == 9


def test_a_folder_without_an_expert_is_refused(tmp_path):
    with pytest.raises(UserError, match="holds no policy"):
        expert_steps(with_expert(tmp_path), ACTIONS)
