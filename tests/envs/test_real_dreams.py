"""The real game in the dream's place."""

from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import pytest
import torch
from counting import CountingWorldModel, length_of, read, reward_of
from dreams import counting_starts

from envs import NeuralVectorEnv, RealDreams, Replay, find_replays, make_real
from envs.catalogue import open_game
from envs.replay import play_to
from worldmodel import UserError
from worldmodel.data.episode import EpisodeInfo
from worldmodel.data.reader import EpisodeRecord, EpisodeTable, Steps

COUNTING = "counting:Counting-v0"
SEED = 3


def replay(steps, seed=SEED):
    return Replay(seed, np.arange(steps) % 3)


def tag_of(seed=SEED):
    return read(make_real(COUNTING, 1).reset(seed=seed)[0]).tag


def test_a_real_dream_and_an_imagined_one_are_the_same_where_the_model_is_perfect():
    tags = tag_of()
    real = RealDreams(COUNTING, 3, starts=[replay(2)], horizon=5)
    imagined = NeuralVectorEnv(CountingWorldModel(), 3, starts=counting_starts([2], tags), horizon=5)
    assert real.single_observation_space == imagined.single_observation_space
    np.testing.assert_array_equal(real.reset(seed=0)[0], imagined.reset(seed=0)[0])
    for time in range(25):
        actions = np.array([time % 3, 1, 2])
        for one, other in zip(real.step(actions), imagined.step(actions), strict=True):
            np.testing.assert_array_equal(one, other)
        assert torch.equal(real.needs_reset, imagined.needs_reset)


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 7])
def test_a_context_is_played_again_and_only_its_own_frames_are_drawn(steps):
    game = open_game(COUNTING, frame_size=64)
    drawn = []
    frame = game.frame
    game.frame = lambda: drawn.append(1) or frame()
    frames, mask = play_to(game, replay(steps), 4)
    expected = counting_starts([steps], tag_of())
    np.testing.assert_array_equal(frames, expected.frames[0])
    np.testing.assert_array_equal(mask, expected.mask[0])
    assert len(drawn) == min(steps + 1, 4)


def test_latents_through_the_models_encoder():
    model = CountingWorldModel()
    frames = RealDreams(COUNTING, 2, starts=[replay(2)], stack=2)
    latents = RealDreams(COUNTING, 2, starts=[replay(2)], stack=2, world_model=model, observation="latents")
    assert latents.single_observation_space == gym.spaces.Box(-np.inf, np.inf, (4, 4, 6), np.float32)
    seen, encoded = frames.reset(seed=0)[0], latents.reset(seed=0)[0]
    for _ in range(5):
        np.testing.assert_array_equal(encoded[..., 3:], model.encode(torch.from_numpy(seen[..., 3:])).numpy())
        np.testing.assert_array_equal(encoded[..., :3], model.encode(torch.from_numpy(seen[..., :3])).numpy())
        seen, encoded = (env.step(np.array([0, 1]))[0] for env in (frames, latents))
    with pytest.raises(UserError, match="world model"):
        RealDreams(COUNTING, 2, observation="latents")


def test_the_games_own_end_terminates_and_its_limit_truncates():
    env = RealDreams(COUNTING, 1, starts=[replay(1)], horizon=None)
    env.reset(seed=0)
    length = int(length_of(tag_of())[0])
    told = [env.step(np.array([0])) for _ in range(length)]
    assert [bool(t[2][0]) for t in told] == [False] * (length - 2) + [True, False]
    assert not any(t[3][0] for t in told)
    limited = RealDreams(COUNTING, 1, starts=[replay(1)], horizon=None, max_steps=4)
    limited.reset(seed=0)
    assert [bool(limited.step(np.array([0]))[3][0]) for _ in range(3)] == [False, False, True]


def test_a_seed_repeats_the_choice_of_starts():
    env = RealDreams(COUNTING, 8, starts=[replay(s, seed) for s, seed in ((0, 1), (3, 2), (5, 4))], horizon=2)

    def run(seed):
        return [env.reset(seed=seed)[0], *(env.step(np.zeros(8, np.int64))[0] for _ in range(6))]

    runs = [run(seed) for seed in (0, 0, 1)]
    assert all((one == other).all() for one, other in zip(runs[0], runs[1], strict=True))
    assert any((one != other).any() for one, other in zip(runs[0], runs[2], strict=True))


def test_without_starts_nothing_begins():
    env = RealDreams(COUNTING, 2)
    with pytest.raises(UserError, match="find_replays"):
        env.reset()
    env.set_starts([replay(2)])
    assert read(env.reset()[0][..., -3:]).count.tolist() == [2, 2]


def test_cartpole_goes_on_from_a_stored_moment():
    played = make_real("CartPole-v1", 1, stack=4)
    played.reset(seed=5)
    actions = np.arange(9) % 2
    for action in actions:
        shown, *_ = played.step(np.array([action]))
    env = gym.make_vec("envs:RealDreams-v0", 2, game="CartPole-v1", starts=[Replay(5, actions)])
    np.testing.assert_array_equal(env.reset(seed=0)[0][1], shown[0])
    np.testing.assert_array_equal(env.step(np.array([0, 1]))[0][1], played.step(np.array([1]))[0][0])


def test_an_atari_game_goes_on_from_a_stored_moment():
    played = make_real("ALE/Breakout-v5", 1, stack=4)
    played.reset(seed=5)
    actions = np.arange(9) % 4
    for action in actions:
        shown, *_ = played.step(np.array([action]))
    env = RealDreams("ALE/Breakout-v5", 1, starts=[Replay(5, actions)])
    np.testing.assert_array_equal(env.reset(seed=0)[0], shown)


@dataclass
class Stored:
    """As much of a `BufferReader` as finding replays takes."""

    episodes: list[EpisodeRecord]
    steps: Steps
    table: EpisodeTable


def stored(*pieces):
    """Pieces (seed, start, length) of games, whose action after t steps is t % 3, or 9 in games without a seed."""
    infos = [EpisodeInfo(COUNTING, "random", 0, 0, 0, 0, seed, start) for seed, start, _ in pieces]
    lengths = np.array([length for *_, length in pieces])
    offset = np.cumsum(lengths) - lengths
    actions = np.concatenate([(np.arange(length) + start) % 3 for _, start, length in pieces])
    nothing = np.zeros(len(actions), bool)
    records = [EpisodeRecord(i, int(n), 0.0, False) for i, n in zip(infos, lengths, strict=True)]
    steps = Steps(actions, np.zeros(len(actions), np.float32), nothing, nothing, nothing)
    return Stored(
        records,
        steps,
        EpisodeTable(np.arange(len(lengths)), lengths, offset, np.arange(0), np.ones(len(lengths), np.int64)),
    )


def starts_at(*places):
    episode, step = np.array(places).T
    context = counting_starts(np.zeros(len(places), int), np.zeros(len(places), int))
    return type(context)(context.frames, context.actions, context.mask, episode, step)


def test_replays_are_put_together_from_pieces():
    reader = stored((7, 0, 4), (8, 0, 6), (7, 4, 5), (7, 9, 2))
    found = find_replays(reader, starts_at((0, 0), (1, 5), (2, 3), (3, 1)))
    assert [r.seed for r in found] == [7, 8, 7, 7]
    assert [r.actions.tolist() for r in found] == [(np.arange(n) % 3).tolist() for n in (0, 5, 7, 10)]


def test_what_can_not_be_replayed_is_left_out():
    reader = stored((7, 4, 5), (None, 0, 6), (9, 0, 3))
    assert [r.seed for r in find_replays(reader, starts_at((0, 1), (1, 2), (2, 2)))] == [9]
    with pytest.raises(UserError, match="replayed"):
        find_replays(reader, starts_at((0, 1), (1, 2)))


def test_a_replayed_reward_is_the_games():
    env = RealDreams(COUNTING, 1, starts=[replay(6)])
    env.reset(seed=0)
    assert env.step(np.array([2]))[1].tolist() == [reward_of(6, 2)]
