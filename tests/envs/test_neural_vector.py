"""Many dreams at a time."""

import copy
import pickle
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from counting import CountingWorldModel, length_of, read, reward_of
from dreams import STARTS, counting_starts, make, newest, play
from gymnasium.vector import AutoresetMode

from envs import NeuralVectorEnv, make_real
from worldmodel import UserError
from worldmodel.data.starts import save_starts


class Gambling(CountingWorldModel):
    """Pays at random, so that the generator shows."""

    def step(self, dream, actions, generator=None):
        dream, step = super().step(dream, actions, generator)
        return dream, replace(step, rewards=torch.rand(len(actions), generator=generator))


def test_spaces_and_autoreset():
    env = make()
    assert env.single_observation_space == gym.spaces.Box(0, 255, (64, 64, 12), np.uint8)
    assert env.single_action_space == gym.spaces.Discrete(3)
    assert env.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    observations, info = env.reset(seed=0)
    assert env.observation_space.contains(observations) and info == {}
    assert env.observation_space.contains(env.step(env.action_space.sample())[0])


def test_latents():
    model = CountingWorldModel()
    env, frames = make(observation="latents", stack=3), make(stack=3)
    assert env.single_observation_space == gym.spaces.Box(-np.inf, np.inf, (4, 4, 9), np.float32)
    latents, pictures = env.reset(seed=0)[0], frames.reset(seed=0)[0]
    for _ in range(8):
        for part in range(3):
            channels = slice(3 * part, 3 * part + 3)
            expected = model.encode(torch.from_numpy(pictures[..., channels])).numpy()
            np.testing.assert_array_equal(latents[..., channels], expected)
        latents, pictures = (e.step(np.array([0, 1, 2, 0]))[0] for e in (env, frames))


def test_an_action_leads_to_the_next_frame_and_reward():
    env = make()
    observations, _ = env.reset(seed=0)
    for _ in range(2):
        before, actions = newest(observations), np.array([2, 0, 1, 2])
        observations, rewards, *_, info = env.step(actions)
        assert newest(observations).action.tolist() == actions.tolist()
        assert newest(observations).count.tolist() == (before.count + 1).tolist()
        assert rewards.tolist() == reward_of(before.count, actions).tolist()
        assert rewards.dtype == np.float32 and info == {}


@pytest.mark.parametrize("stack", [1, 2, 4])
@pytest.mark.parametrize("begun", [0, 1, 2, 6])
def test_the_stack_is_that_of_the_real_game(stack, begun):
    """Five steps on from a start, the dream's stack is what the real game's would be, and at the start already."""
    real = make_real("counting:Counting-v0", 1, stack=stack)
    shown, _ = real.reset(seed=3)
    tag = newest(shown).tag
    for time in range(begun):
        shown, *_ = real.step(np.array([time % 3]))
    dream = make(1, starts=counting_starts([begun], tag), stack=stack)
    np.testing.assert_array_equal(dream.reset(seed=0)[0], shown)
    for action in (2, 2, 0, 1, 1):
        told = real.step(np.array([action]))
        for imagined, happened in zip(dream.step(np.array([action])), told, strict=True):
            np.testing.assert_array_equal(imagined, happened)


def test_a_predicted_end_terminates_and_the_dream_begins_in_the_step_after():
    env = make()
    env.reset(seed=0)
    _, frames, rewards, terminated, truncated = play(env, 100)
    seen = newest(frames)
    ends = np.argwhere(terminated[:-1])
    assert len(ends) >= 8 and not truncated.any()
    np.testing.assert_array_equal(seen.count[terminated], length_of(seen.tag[terminated]))
    starts = set(zip([0, 2, 5, 0, 3, 7], [10, 20, 30, 40, 50, 60], strict=True))
    for time, dream in ends:
        assert (seen.count[time + 1, dream], seen.tag[time + 1, dream]) in starts
        assert rewards[time + 1, dream] == 0 and not terminated[time + 1, dream]
        assert seen.count[time + 2, dream] == seen.count[time + 1, dream] + 1


def test_a_fresh_dream_shows_its_own_past():
    starts = counting_starts([5], [25])
    env = make(1, starts=starts, horizon=2)
    first, _ = env.reset(seed=0)
    env.step(np.array([0]))
    _, _, _, truncated, _ = env.step(np.array([0]))
    assert truncated.all()
    np.testing.assert_array_equal(env.step(np.array([0]))[0], first)
    np.testing.assert_array_equal(read(first.reshape(1, 64, 64, 4, 3).transpose(0, 3, 1, 2, 4)).count, [[2, 3, 4, 5]])


def test_the_horizon_truncates_and_an_end_before_it_terminates():
    env = make(2, starts=counting_starts([0, 0], [0, 20]), horizon=10)  # 8 steps long, and 28
    env.reset(seed=0)
    _, frames, _, terminated, truncated = play(env, 200)
    seen = newest(frames)
    assert set(seen.tag[terminated]) == {0} and set(seen.count[terminated]) == {8}
    assert set(seen.tag[truncated]) == {20} and set(seen.count[truncated]) == {10}


def test_an_end_at_the_horizon_is_an_end():
    env = make(1, starts=counting_starts([0], [0]), horizon=8)
    env.reset(seed=0)
    *_, terminated, truncated = play(env, 8)
    assert terminated[7, 0] and not truncated.any()


def test_too_much_doubt_truncates():
    env = make(1, starts=counting_starts([0], [20]), doubt_limit=0.05)
    env.reset(seed=0)
    *_, truncated = play(env, 14)
    assert np.flatnonzero(truncated[:, 0]).tolist() == [5, 12]


def test_a_doubt_that_is_no_number_truncates(monkeypatch):
    step = CountingWorldModel.step

    def lost(self, dream, actions, generator=None):
        after, outcome = step(self, dream, actions, generator)
        return after, replace(outcome, doubt=outcome.doubt * torch.nan)

    monkeypatch.setattr(CountingWorldModel, "step", lost)
    env = make(1, starts=counting_starts([0], [20]))
    env.reset(seed=0)
    *_, truncated = play(env, 1)
    assert truncated.all()


def test_by_default_the_models_own_limit_holds(monkeypatch):
    monkeypatch.setattr(CountingWorldModel, "doubt_limit", property(lambda _: torch.tensor(0.05)))
    env = make(1, starts=counting_starts([0], [20]))
    env.reset(seed=0)
    *_, truncated = play(env, 14)
    assert np.flatnonzero(truncated[:, 0]).tolist() == [5, 12]


def test_needs_reset_names_the_rows_whose_next_step_begins_a_dream():
    env = make(horizon=3)
    env.reset_tensors(0)
    for _ in range(12):
        expected = env.needs_reset.clone()
        observations, *_ = env.step_tensors(torch.zeros(4, dtype=torch.int64))
        begun = torch.tensor([(c, t) in {(0, 10), (2, 20), (5, 30), (0, 40), (3, 50), (7, 60)} for c, t in zip(
            newest(observations).count.tolist(), newest(observations).tag.tolist(), strict=True)])  # fmt: skip
        assert torch.equal(begun, expected)
    env.reset_tensors()
    assert not env.needs_reset.any()


def test_both_faces_tell_the_same():
    arrays, tensors = make(), make()
    np.testing.assert_array_equal(arrays.reset(seed=4)[0], tensors.reset_tensors(4).numpy())
    for _ in range(30):
        actions = np.array([0, 1, 2, 1])
        for one, other in zip(arrays.step(actions), tensors.step_tensors(torch.from_numpy(actions)), strict=False):
            assert one.dtype == other.numpy().dtype
            np.testing.assert_array_equal(one, other.numpy())


def test_arrays_and_tensors_are_fresh():
    env = make()
    observations, _ = env.reset(seed=0)
    observations[:] = 99
    told = env.step(np.zeros(4, np.int64))
    assert (newest(told[0]).tag < 99).all() and (read(told[0][..., :3]).tag < 99).all()
    kept = copy.deepcopy(told)
    tensors = env.step_tensors(torch.zeros(4, dtype=torch.int64))
    held = [tensor.clone() for tensor in tensors]
    env.step(np.ones(4, np.int64))
    for one, other in zip((*told[:4], *tensors), (*kept[:4], *held), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_seed_repeats_every_dream():
    runs = []
    for seed in (5, 5, 6):
        env = make(world_model=Gambling(), seed=99)
        first, _ = env.reset(seed=seed)
        runs.append([first, *play(env, 40)])
    assert all((one == other).all() for one, other in zip(runs[0], runs[1], strict=True))
    assert (runs[0][3] != runs[2][3]).any()


def test_the_constructors_seed_counts_until_another_is_given():
    first, again, other = (make(world_model=Gambling(), num_envs=8, seed=seed) for seed in (1, 1, 2))
    for env in (first, again, other):
        env.reset()
    assert (play(first, 20)[2] == play(again, 20)[2]).all()
    assert (play(first, 20)[2] != play(other, 20)[2]).any()


def test_without_a_seed_no_two_environments_dream_the_same():
    one, other = (make(world_model=Gambling(), num_envs=8, seed=None) for _ in range(2))
    for env in (one, other):
        env.reset()
    assert (play(one, 20)[2] != play(other, 20)[2]).any()


@pytest.mark.parametrize("duplicate", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))])
def test_a_copy_dreams_on_as_the_original(duplicate):
    env = make(world_model=Gambling())
    env.reset(seed=0)
    play(env, 5)
    twin = duplicate(env)
    for one, other in zip(play(env, 30), play(twin, 30), strict=True):
        np.testing.assert_array_equal(one, other)


def test_shuffled_actions_are_those_of_other_dreams():
    env = make(6, starts=counting_starts([0], [20]), shuffled=True)
    env.reset(seed=0)
    actions, frames, *_ = play(env, 25)
    acted = newest(frames).action
    # Turned by 1 to 5 places at each step: no dream ever gets the action that was meant for it.
    pairs = list(zip(acted, actions, strict=True))
    turns = [{by for by in range(1, 6) if (told == np.roll(meant, -by)).all()} for told, meant in pairs]
    assert all(turns)
    assert not set.intersection(*turns)
    with pytest.raises(UserError, match="2"):
        make(1, shuffled=True)


def test_other_weights():
    env = make(2)
    env.reset(seed=0)
    env.load_world_model({"bonus": torch.tensor(1000.0)})
    with pytest.raises(gym.error.ResetNeeded):
        env.step(np.zeros(2, np.int64))
    env.reset(seed=0)
    assert (env.step(np.zeros(2, np.int64))[1] >= 1000).all()
    env.load_world_model(CountingWorldModel())
    env.reset(seed=0)
    assert (env.step(np.zeros(2, np.int64))[1] < 1000).all()


def test_a_model_folder_alone_is_playable(tmp_path, monkeypatch):
    families = pytest.importorskip("worldmodel.families")
    monkeypatch.setattr(families, "load_world_model", lambda folder: CountingWorldModel())
    save_starts(tmp_path / "starts.safetensors", STARTS)
    env = NeuralVectorEnv(tmp_path, 3)
    assert set(newest(env.reset(seed=0)[0]).tag) <= {10, 20, 30, 40, 50, 60}
    env.load_world_model(str(tmp_path))
    env.reset()


def test_rendering():
    env = make(2, render_mode="rgb_array", observation="latents")
    env.reset(seed=0)
    frames = env.render()
    assert len(frames) == 2 and frames[0].shape == (64, 64, 3) and frames[0].dtype == np.uint8
    assert read(np.stack(frames)).tag.min() >= 10
    assert make().render() is None


def test_stepping_before_a_reset_says_so():
    with pytest.raises(gym.error.ResetNeeded):
        make().step(np.zeros(4, np.int64))


@pytest.mark.parametrize("action", [3, -1])
def test_an_action_that_there_is_not_is_refused_and_the_dreams_go_on(action):
    env, other = make(), make()
    for dreams in (env, other):
        dreams.reset(seed=0)
    with pytest.raises(UserError, match=f"^{action} is no action of the game, which has 3 actions"):
        env.step(np.array([0, 1, action, 1]))
    actions = np.array([0, 1, 2, 1])
    np.testing.assert_array_equal(env.step(actions)[0], other.step(actions)[0])


def test_it_is_made_by_its_name():
    env = gym.make_vec(
        "envs:NeuralEnv-v0", 3, "vector_entry_point", world_model=CountingWorldModel(), starts=STARTS, stack=2
    )
    assert isinstance(env, NeuralVectorEnv) and env.num_envs == 3
    assert env.reset(seed=0)[0].shape == (3, 64, 64, 6)


def test_nothing_of_a_dream_keeps_a_graph():
    model = CountingWorldModel()
    model.bonus.requires_grad_()
    env = make(2, world_model=model)
    env.reset_tensors(0)
    assert not any(tensor.requires_grad for tensor in env.step_tensors(torch.zeros(2, dtype=torch.int64)))


def test_dreams_are_hastened_once_for_each_model_and_only_where_steps_are_announced(monkeypatch):
    asked = []
    monkeypatch.setattr(
        CountingWorldModel, "autotune", lambda model, dream, actions, times: asked.append((model, times))
    )
    for steps_ahead in (0, 500):
        env = make(steps_ahead=steps_ahead)
        env.reset_tensors(0)
        for _ in range(3):
            env.step_tensors(torch.zeros(env.num_envs, dtype=torch.int64))
    assert asked == [(env.world_model, 500)]
