from itertools import pairwise
from typing import cast

import numpy as np
import pytest
from counting import NO_ACTION, length_of, read, reward_of
from misbehaving import BAD_STEP
from playing import SPEC

from envs.game import Game, Outcome
from envs.real import RealVectorEnv, action_spec, make_real
from rl.play import Play, Turns
from rl.players import Player, View
from rl.policies import RandomPolicy
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec

GAME, ENVS, SIZE = "counting:Counting-v0", 5, 16


class Witness(RandomPolicy):
    """Plays at random, and keeps what it saw."""

    def __init__(self, source="policy"):
        super().__init__(SPEC)
        self.source, self.version, self.seen = source, 3, []

    def act(self, observations, rng):
        self.seen.append(observations)
        return super().act(observations, rng)

    def stacks(self):
        """All stacks it saw, oldest first within each, as frames (seen, stack, ...)."""
        seen = np.concatenate(self.seen)
        return np.moveaxis(seen.reshape(*seen.shape[:3], -1, 3), 3, 1)


def begin(envs=ENVS, **options):
    return Play(cast(RealVectorEnv, make_real(GAME, envs, frame_size=SIZE, **options)), GAME, 2, list(range(envs)))


def run(play, steps=400, players=None, shares=(1.0,), number=1):
    return play.run(players or [Player(RandomPolicy(SPEC), View())], shares, steps, number, np.random.default_rng(0))


def test_an_episode_keeps_the_convention_for_time():
    for episode in run(begin()):
        seen = read(episode.frames)
        assert np.array_equal(seen.action[1:], episode.actions)
        assert np.array_equal(seen.count, episode.info.start + np.arange(len(episode) + 1))
        assert np.array_equal(episode.rewards, reward_of(seen.count[:-1], episode.actions))
        assert np.array_equal(episode.terminated, seen.count[1:] == length_of(seen.tag[1:]))


def test_an_episode_is_of_one_game_that_its_seed_names():
    by_seed = {}
    for episode in run(begin()):
        (tag,) = set(read(episode.frames).tag.tolist())
        by_seed[episode.info.seed] = tag
    env = make_real(GAME, len(by_seed), frame_size=SIZE)
    frames, _ = env.reset(seed=list(by_seed))
    assert read(frames).tag.tolist() == list(by_seed.values())


def test_every_step_is_counted_once_and_no_reset_is():
    play = begin()
    steps = sum(map(len, run(play)))
    assert 400 <= steps < 400 + ENVS
    assert all(read(e.frames[0]).action == NO_ACTION for e in run(play) if e.info.start == 0)


def test_a_time_limit_truncates_and_the_next_game_begins():
    episodes = run(begin(max_steps=6), steps=62 * ENVS)
    whole = [episode for episode in episodes if len(episode) == 6]
    assert len(whole) == 10 * ENVS
    assert all(episode.truncated[-1] and not episode.terminated.any() for episode in whole)
    assert {len(episode) for episode in episodes} == {6, 2}
    assert not any(episode.info.start for episode in episodes)


class Lives(Game):
    """Loses a life on each step that makes its count a multiple of three."""

    action_spec = ActionSpec.discrete(3)

    def reset(self, seed):
        self.count = 0

    def step(self, action):
        self.count += 1
        return Outcome(0.0, self.count == 8, False, self.count % 3 == 0)

    def frame(self):
        return np.full((SIZE, SIZE, 3), self.count, np.uint8)

    def close(self):
        pass


def test_a_lost_life_is_kept_where_it_was_lost():
    episodes = run(Play(RealVectorEnv([Lives() for _ in range(3)], (SIZE, SIZE, 3)), "lives", 0, [0, 1, 2]), steps=100)
    for episode in episodes:
        assert np.array_equal(episode.life_lost, episode.frames[1:, 0, 0, 0] % 3 == 0)
    assert len(episodes) > 9


def test_games_go_on_from_one_run_to_the_next():
    play = begin()
    runs = [run(play, steps=23, number=number) for number in range(1, 12)]
    games = {}
    for episode in (episode for episodes in runs for episode in episodes):
        games.setdefault(episode.info.seed, []).append(episode)
    assert max(map(len, games.values())) > 2
    for pieces in games.values():
        starts = [piece.info.start for piece in pieces]
        assert starts == [0, *np.cumsum([len(piece) for piece in pieces])[:-1].tolist()]
        for piece, after in pairwise(pieces):
            assert np.array_equal(piece.frames[-1], after.frames[0])
            assert not (piece.terminated | piece.truncated).any()
    finished = [pieces for pieces in games.values() if pieces[-1].terminated[-1]]
    assert len(finished) >= len(games) - ENVS


def test_a_player_sees_the_newest_frames_and_the_first_one_repeated():
    witness = Witness()
    run(begin(), players=[Player(witness, View(stack=4))])
    check_stacks(witness)


def test_a_player_that_takes_over_a_game_sees_what_went_before():
    play, witness = begin(), Witness()
    run(play, steps=7 * ENVS)
    run(play, steps=60, players=[Player(RandomPolicy(SPEC), View()), Player(witness, View(stack=4))], shares=(0.5, 0.5))
    assert read(witness.seen[0][..., -3:]).count.tolist() == [7] * len(witness.seen[0])
    check_stacks(witness)


def check_stacks(witness):
    told = read(witness.stacks())
    newest = told.count[:, -1:]
    assert np.array_equal(told.count, (newest + np.arange(-3, 1)).clip(0))
    assert (told.tag == told.tag[:, :1]).all()
    assert newest.max() > 10


def test_a_player_on_latents_sees_the_frames_encoded():
    play, plain, encoded = begin(), Witness(), Witness()
    players = [Player(encoded, View(2, lambda frames: frames[:, ::8, ::8].astype(np.float32) / 2))]
    run(play, players=players)
    run(begin(), players=[Player(plain, View(2))])
    assert np.array_equal(np.concatenate(encoded.seen), np.concatenate(plain.seen)[:, ::8, ::8].astype(np.float32) / 2)


def test_an_episode_says_who_played_it():
    players = [Player(RandomPolicy(SPEC), View()), Player(Witness("expert"), View())]
    infos = [episode.info for episode in run(begin(), players=players, shares=(0.5, 0.5), number=4)]
    assert {(info.source, info.policy_version) for info in infos} == {("random", 0), ("expert", 3)}
    assert {(info.env_id, info.round, info.collector) for info in infos} == {(GAME, 4, 2)}


@pytest.mark.parametrize("shares", [(0.25, 0.75), (0.1, 0.2, 0.7), (1.0, 0.0)])
@pytest.mark.parametrize("max_steps", [None, 6])
def test_shares_of_the_steps_hold(shares, max_steps):
    players = [Player(Witness(), View()) for _ in shares]
    run(begin(max_steps=max_steps), steps=2000, players=players, shares=shares)
    steps = np.array([sum(map(len, player.policy.seen)) for player in players])
    assert np.allclose(steps / steps.sum(), shares, atol=0.03)


@pytest.mark.parametrize("num_envs", [1, 2, 8])
def test_shares_hold_where_games_outlast_many_runs(num_envs):
    shares, rng = (0.1, 0.6, 0.3), np.random.default_rng(0)
    players = np.concatenate([Turns(shares, num_envs, rng).player for _ in range(4000 // num_envs)])
    assert np.allclose(np.bincount(players) / len(players), shares, atol=0.03)


def test_no_game_belongs_to_one_player_for_ever():
    rng = np.random.default_rng(0)
    first = [Turns((0.5, 0.5), 8, rng).player[0] for _ in range(200)]
    assert 60 < sum(first) < 140


def test_shares_hold_where_one_plays_much_longer_games():
    turns, length, left = Turns((0.25, 0.75), 8, np.random.default_rng(0)), np.array([5, 60]), np.zeros(8, int)
    left[:] = length[turns.player]
    steps = np.zeros(2)
    for _ in range(3000):
        steps += np.bincount(turns.player, minlength=2)
        turns.count(np.ones(8, bool))
        left -= 1
        over = np.flatnonzero(left == 0)
        turns.assign(over)
        left[over] = length[turns.player[over]]
    assert np.allclose(steps / steps.sum(), (0.25, 0.75), atol=0.02)


def test_what_was_played_before_a_game_fails_comes_back_whole():
    env = make_real("misbehaving:Raises-v0", 3, frame_size=SIZE)
    play = Play(cast(RealVectorEnv, env), "misbehaving:Raises-v0", 0, [5, 6, 7])
    player = Player(RandomPolicy(action_spec(env)), View())
    episodes = play.run([player], (1.0,), 100, 1, np.random.default_rng(0))
    assert [episode.info.seed for episode in episodes] == [5, 6, 7]
    for episode in episodes:
        assert len(episode) == BAD_STEP - 1
        assert episode.frames[:, 0, 0, 0].tolist() == [0, 1, 2]
        assert not (episode.terminated | episode.truncated).any()
    assert "step 3 of the game with seed 5" in str(play.failure)


def test_a_game_that_fails_at_once_brings_nothing():
    play = Play(RealVectorEnv([Failing()], (SIZE, SIZE, 3)), "failing", 0, [0])
    assert run(play) == []
    assert str(play.failure) == "Mend this."


class Failing(Lives):
    def step(self, action):
        raise UserError("Mend this.")
