"""Real games as pixels."""

import sys

import gymnasium as gym
import numpy as np
import pytest
from counting import NO_ACTION, CountingEnv, length_of, read, reward_of
from gymnasium.vector import AutoresetMode

from envs import EncodeObservation, action_spec, make_real
from worldmodel import ActionSpec, UserError

COUNTING = "counting:Counting-v0"


@pytest.fixture
def games():
    return make_real(COUNTING, 3)


def play(env, steps, seed=0, actions=None):
    """Everything seen and told in `steps` steps of random or given play."""
    rng = np.random.default_rng(seed)
    rows = []
    for time in range(steps):
        acted = rng.integers(env.single_action_space.n, size=env.num_envs) if actions is None else actions[time]
        rows.append((acted, *env.step(acted)[:4]))
    return [np.stack(column) for column in zip(*rows, strict=True)]


def test_spaces_and_autoreset(games):
    observations, info = games.reset(seed=0)
    assert games.single_observation_space == gym.spaces.Box(0, 255, (64, 64, 3), np.uint8)
    assert games.observation_space.contains(observations)
    assert games.single_action_space == gym.spaces.Discrete(3)
    assert games.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    assert info == {}


def test_an_action_leads_to_the_next_frame_and_reward(games):
    observations, _ = games.reset(seed=0)
    for time in range(7):
        before = read(observations)
        actions = np.array([time % 3, (time + 1) % 3, 2])
        observations, rewards, *_ = games.step(actions)
        after = read(observations)
        assert after.action.tolist() == actions.tolist()
        assert after.count.tolist() == (before.count + 1).tolist()
        assert rewards.tolist() == reward_of(before.count, actions).tolist()
        assert rewards.dtype == np.float32


def test_a_finished_game_shows_its_last_frame_and_begins_in_the_step_after(games):
    first, _ = games.reset(seed=0)
    _, frames, rewards, terminated, _ = play(games, 120)
    seen = read(frames)
    ends = np.argwhere(terminated[:-1])
    assert len(ends) >= 6
    np.testing.assert_array_equal(seen.count[terminated], length_of(seen.tag[terminated]))
    for time, game in ends:
        assert seen.count[time + 1, game] == 0
        assert seen.action[time + 1, game] == NO_ACTION
        assert rewards[time + 1, game] == 0
        assert not terminated[time + 1, game]
    assert read(first).count.tolist() == [0, 0, 0]


def test_a_seed_repeats_all_games(games):
    runs = []
    for _ in range(2):
        first, _ = games.reset(seed=5)
        runs.append([first, *play(games, 60), games.game_seeds])
    for one, other in zip(*runs, strict=True):
        np.testing.assert_array_equal(one, other)
    games.reset(seed=6)
    assert (games.game_seeds != runs[0][-1]).any()


def test_every_game_has_a_seed_that_replays_it(games):
    games.reset(seed=0)
    actions, frames, rewards, terminated, _ = play(games, 70)
    seeds = games.game_seeds
    alone = make_real(COUNTING, 1)
    for game in range(3):
        begun = int(np.flatnonzero(terminated[:, game]).max()) + 1
        first, _ = alone.reset(seed=[int(seeds[game])])
        np.testing.assert_array_equal(first[0], frames[begun, game])
        _, seen, paid, _, _ = play(alone, 70 - begun - 1, actions=actions[begun + 1 :, game, None])
        np.testing.assert_array_equal(seen[:, 0], frames[begun + 1 :, game])
        np.testing.assert_array_equal(paid[:, 0], rewards[begun + 1 :, game])


def test_seeds_given_one_by_one(games):
    games.reset(seed=[7, None, 9])
    assert games.game_seeds[[0, 2]].tolist() == [7, 9]
    games.reset(seed=7)
    assert games.game_seeds.tolist() == [7, 8, 9]


def test_a_mask_resets_some_games(games):
    games.reset(seed=0)
    play(games, 4)
    kept = games.game_seeds
    observations, _ = games.reset(seed=[40, 41, 42], options={"reset_mask": np.array([False, True, False])})
    assert read(observations).count.tolist() == [4, 0, 4]
    assert games.game_seeds.tolist() == [kept[0], 41, kept[2]]


def test_arrays_are_fresh(games):
    games.reset(seed=0)
    before, rewards, terminated, *_ = games.step(np.zeros(3, np.int64))
    kept = before.copy(), rewards.copy(), terminated.copy()
    games.step(np.ones(3, np.int64))
    for array, copy in zip((before, rewards, terminated), kept, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_max_steps_truncates_and_does_not_terminate():
    games = make_real(COUNTING, 2, max_steps=5)
    games.reset(seed=0)
    _, _, _, terminated, truncated = play(games, 6)
    assert truncated[:, 0].tolist() == [False] * 4 + [True, False]
    assert not terminated.any()


@pytest.mark.parametrize(("max_steps", "last"), [(5, 3), (2, 2), (None, 3)])
def test_the_games_own_limit_holds_where_it_comes_first(max_steps, last):
    gym.register("ShortCounting-v0", entry_point=CountingEnv, max_episode_steps=3)
    games = make_real("ShortCounting-v0", 1, max_steps=max_steps)
    games.reset(seed=0)
    *_, truncated = play(games, 3)
    assert np.flatnonzero(truncated[:, 0]).tolist() == [last - 1]
    gym.registry.pop("ShortCounting-v0")


def test_a_picture_is_drawn_once_a_step(monkeypatch):
    made = []
    original = CountingEnv.render
    monkeypatch.setattr(CountingEnv, "render", lambda self: made.append(self) or original(self))
    games = make_real(COUNTING, 2)
    games.reset(seed=0)
    made.clear()
    play(games, 10)
    assert len(made) == 20


def test_larger_pictures_are_resized():
    gym.register("LargeCounting-v0", entry_point=CountingEnv, kwargs={"size": 256})
    large, small = make_real("LargeCounting-v0", 2), make_real(COUNTING, 2)
    np.testing.assert_array_equal(large.reset(seed=3)[0], small.reset(seed=3)[0])
    np.testing.assert_array_equal(play(large, 40)[1], play(small, 40)[1])


def test_stacked_frames_are_those_of_the_game_alone():
    stacked_env, plain = make_real(COUNTING, 3, stack=4), make_real(COUNTING, 3)
    stacked, first = stacked_env.reset(seed=0)[0], plain.reset(seed=0)[0]
    history = [[frame] * 4 for frame in first]
    assert stacked_env.single_observation_space.shape == (64, 64, 12)
    _, frames, *_ = play(plain, 60)
    _, stacks, *_ = play(stacked_env, 60)
    for time in range(60):
        for game, frame in enumerate(frames[time]):
            begins = read(frame).count == 0
            history[game] = [frame] * 4 if begins else [*history[game][1:], frame]
            np.testing.assert_array_equal(stacks[time, game], np.concatenate(history[game], axis=-1))
    np.testing.assert_array_equal(stacked[..., :3], first)


def test_a_masked_reset_restacks_only_those_games():
    env = make_real(COUNTING, 2, stack=2)
    env.reset(seed=0)
    play(env, 3)
    stacked, _ = env.reset(seed=[8, 9], options={"reset_mask": np.array([True, False])})
    assert read(stacked[0, ..., :3]).count == read(stacked[0, ..., 3:]).count == 0
    assert (read(stacked[1, ..., :3]).count, read(stacked[1, ..., 3:]).count) == (2, 3)


def test_writing_into_a_stack_changes_nothing():
    env = make_real(COUNTING, 1, stack=2)
    env.reset(seed=0)[0][:] = 99
    stacked, *_ = env.step(np.array([1]))
    assert read(stacked[0, ..., :3]).count == 0
    stacked[:] = 99
    assert read(env.step(np.array([1]))[0][0, ..., :3]).count == 1


def test_after_a_reset_a_stack_knows_no_end_before_it():
    env = make_real(COUNTING, 1, stack=2, max_steps=2)
    env.reset(seed=0)
    *_, truncated = play(env, 2)
    assert truncated[-1]
    env.reset(seed=0)
    assert read(env.step(np.array([1]))[0][0, ..., :3]).count == 0


def test_latents_of_the_real_game():
    def encode(frames):
        return frames[:, ::16, ::16].astype(np.float32) / 255

    env = EncodeObservation(make_real(COUNTING, 2), encode, stack=3)
    frames = make_real(COUNTING, 2, stack=3)
    assert env.single_observation_space == gym.spaces.Box(-np.inf, np.inf, (4, 4, 9), np.float32)
    np.testing.assert_array_equal(env.reset(seed=0)[0], encode(frames.reset(seed=0)[0]))
    np.testing.assert_array_equal(
        play(env, 40)[1], encode(play(frames, 40)[1].reshape(-1, 64, 64, 9)).reshape(40, 2, 4, 4, 9)
    )


def test_cartpole():
    env = make_real("CartPole-v1", 2, stack=4)
    observations, _ = env.reset(seed=0)
    assert env.observation_space.contains(observations)
    assert observations.min() < 100 < observations.max()
    _, _, rewards, terminated, truncated = play(env, 80)
    assert terminated.any() and not truncated.any()
    assert set(rewards.ravel()) == {0.0, 1.0}
    assert not env.unwrapped.life_lost.any()
    assert action_spec(env) == ActionSpec.discrete(2)
    env.close()


def test_closing_one_leaves_another_playing():
    one, other = make_real("CartPole-v1", 1), make_real("CartPole-v1", 1)
    one.reset(seed=0), other.reset(seed=0)
    expected, *_ = one.step(np.array([1]))
    one.close()
    np.testing.assert_array_equal(other.step(np.array([1]))[0], expected)


@pytest.mark.parametrize(
    ("env_id", "said"),
    [
        ("CartPol-v1", "CartPole-v1"),
        ("CartPole", "CartPole"),
        ("ALE/Pongg-v5", "ALE/Pong-v5"),
        ("Breakout-v5", "ALE/Breakout-v5"),
        ("no_such_module:Game-v0", "no_such_module"),
        ("counting:Countin-v0", "counting:Counting-v0"),
        ("TakesTuples-v0", "wrap the game"),
        ("HasNoBounds-v0", "finite bounds"),
        ("MadeOfWords-v0", "rgb_array"),
        ("DrawsNothing-v0", "uint8"),
    ],
)
def test_what_can_not_be_opened_says_why(env_id, said):
    class MadeOfWords(CountingEnv):
        metadata = {"render_modes": ["ansi"]}  # noqa: RUF012

    class DrawsNothing(CountingEnv):
        def render(self):
            return None

    class TakesTuples(CountingEnv):
        def __init__(self, render_mode):
            super().__init__(render_mode)
            self.action_space = gym.spaces.Tuple([self.action_space])

    class HasNoBounds(CountingEnv):
        def __init__(self, render_mode):
            super().__init__(render_mode)
            self.action_space = gym.spaces.Box(-np.inf, np.inf, (2,))

    for made in (MadeOfWords, DrawsNothing, TakesTuples, HasNoBounds):
        gym.registry.pop(f"{made.__name__}-v0", None)
        gym.register(f"{made.__name__}-v0", entry_point=made)
    with pytest.raises(UserError, match=said):
        make_real(env_id, 1)


def test_actions_that_are_numbered_from_elsewhere():
    class FromOne(CountingEnv):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.action_space = gym.spaces.Discrete(3, start=1)

        def step(self, action):
            assert self.action_space.contains(action)
            return super().step(action - 1)

    gym.register("FromOne-v0", entry_point=FromOne)
    env = make_real("FromOne-v0", 1)
    env.reset(seed=0)
    assert [int(read(env.step(np.array([a]))[0]).action[0]) for a in range(3)] == [0, 1, 2]


def test_frames_higher_than_wide():
    env = make_real("CartPole-v1", 1, frame_size=(96, 64), stack=2)
    assert env.reset(seed=0)[0].shape == (1, 96, 64, 6)
    assert env.observation_space.contains(env.step(np.array([1]))[0])


def test_keywords_reach_the_environment():
    class Sized(CountingEnv):
        def __init__(self, render_mode: str | None = None, size: int = 64, bonus: float = 0.0, name: str = "") -> None:
            super().__init__(render_mode, size)
            self.bonus = bonus

        def step(self, action):
            observation, reward, *rest = super().step(action)
            return observation, reward + self.bonus, *rest

    gym.register("Sized-v0", entry_point=Sized)
    env = make_real("Sized-v0", 1, kwargs={"bonus": 5})
    env.reset(seed=0)
    assert env.step(np.array([1]))[1][0] == reward_of(0, 1) + 5
    for kwargs, said in (
        ({"bonsu": 5}, "takes no 'bonsu'; did you mean 'bonus'"),
        ({"render_mode": "human"}, "takes no 'render_mode'"),
        ({"size": "big"}, "size must be a whole number, not 'big'"),
        ({"name": 3}, "name must be a text"),
    ):
        with pytest.raises(UserError, match=said):
            make_real("Sized-v0", 1, kwargs=kwargs)


def test_a_missing_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.startswith("gymnasium.envs.box2d")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "Box2D", None)
    with pytest.raises(UserError, match=r"LunarLander-v3 needs .*\.\[box2d\]"):
        make_real("LunarLander-v3", 1)


def test_lunar_lander():
    env = make_real("LunarLander-v3", 2, kwargs={"gravity": -5})
    env.reset(seed=0)
    actions, frames, rewards, terminated, _ = play(env, 150)
    begun = int(np.flatnonzero(terminated[:, 0]).max()) + 1
    again = make_real("LunarLander-v3", 1, kwargs={"gravity": -5})
    np.testing.assert_array_equal(again.reset(seed=[int(env.game_seeds[0])])[0][0], frames[begun, 0])
    np.testing.assert_array_equal(
        play(again, 149 - begun, actions=actions[begun + 1 :, 0, None])[1][:, 0], frames[begun + 1 :, 0]
    )
    assert rewards.min() < -1 and len(np.unique(rewards)) > 100
    assert frames.std() > 10
    assert action_spec(env) == ActionSpec.discrete(4)
