import numpy as np
import pytest
from counting import NO_ACTION, length_of, read, reward_of
from pixel_dreams import FRAMES, LATENTS, RECURRENT, SIZE, policy, world_model

import rl.tape
from envs.replay import Replay, play_to
from rl.by_hand import Session
from rl.dream_play import dreamer
from rl.lock import FolderLock
from rl.one_game import OneDream, OneRealGame
from rl.players import Player, View
from rl.policies import RandomPolicy
from rl.settings import GameSettings
from rl.tape import Tape
from worldmodel.data.index import read_index
from worldmodel.data.reader import BufferReader
from worldmodel.errors import UserError
from worldmodel.spaces import ActionSpec

GAME = "counting:Counting-v0"
SHAPE = (SIZE, SIZE, 3)


class Witness(RandomPolicy):
    """Plays action 2 whatever it sees, and keeps that."""

    source, version, world_model_version = "policy", 7, 3

    def __init__(self, spec):
        super().__init__(spec)
        self.seen = []

    def act(self, observations, rng):
        self.seen.append(observations)
        return np.full(len(observations), 2)


@pytest.fixture
def game():
    return OneRealGame(GameSettings(id=GAME), SIZE)


@pytest.fixture
def witness(game):
    return Player(Witness(game.action_spec), View(3))


def tape_at(folder, game):
    return Tape(folder, GAME, game.frame_shape, game.action_spec)


def pieces(folder):
    """What the index says of every piece, oldest first."""
    return [entry.info for chunk in read_index(folder).chunks for entry in chunk.episodes]


def check_played(reader, episode):
    """Hold an episode against the game that counts: every frame shows the action that led to it. Returns its length."""
    record, first = reader.episodes[episode], reader.table.offset[episode]
    steps = slice(first, first + record.length)
    seen = read(reader.frames(reader.table.frame_ids(np.array(episode), np.arange(record.length + 1))))
    actions = reader.steps.actions[steps]
    np.testing.assert_array_equal(seen.count, record.info.start + np.arange(record.length + 1))
    np.testing.assert_array_equal(seen.action[1:], actions)
    np.testing.assert_array_equal(reader.steps.rewards[steps], reward_of(seen.count[:-1], actions))
    np.testing.assert_array_equal(reader.steps.terminated[steps], seen.count[1:] == length_of(seen.tag[1:]))
    assert (seen.action[0] == NO_ACTION) == (record.info.start == 0)
    return record.length


def test_what_was_played_by_hand_is_kept_to_the_end(game, tmp_path):
    session = Session(game, tape=tape_at(tmp_path, game), seed=4)
    played = []
    while not session.sight.over:
        played.append(len(played) % 3)
        session.step(played[-1])
    session.step(1)
    assert session.steps == len(played) and session.total == sum(reward_of(n, a) for n, a in enumerate(played))
    session.close()
    reader = BufferReader(tmp_path)
    assert [check_played(reader, episode) for episode in range(len(reader.episodes))] == [len(played)]
    assert reader.steps.actions.tolist() == played and reader.steps.actions.dtype == np.int64
    (record,) = reader.episodes
    assert record.ended and record.info.source == "human"
    assert (record.info.env_id, record.info.seed, record.info.start, record.info.policy_version) == (GAME, 4, 0, 0)


def test_a_game_that_is_given_up_is_kept_without_an_end(game, tmp_path):
    session = Session(game, tape=tape_at(tmp_path, game), seed=0)
    for _ in range(5):
        session.step(1)
    session.begin()
    for _ in range(3):
        session.step(2)
    session.close()
    reader = BufferReader(tmp_path)
    assert [check_played(reader, episode) for episode in range(2)] == [5, 3]
    assert not (reader.steps.terminated | reader.steps.truncated).any()
    assert len({info.seed for info in pieces(tmp_path)}) == 2


def test_a_game_of_which_nothing_was_played_leaves_nothing(game, tmp_path):
    session = Session(game, tape=tape_at(tmp_path, game))
    session.begin()
    session.close()
    assert BufferReader(tmp_path).episodes == []


def test_a_time_limit_is_kept_as_one(tmp_path):
    game = OneRealGame(GameSettings(id=GAME, max_steps=4), SIZE)
    session = Session(game, tape=tape_at(tmp_path, game))
    for _ in range(9):
        session.step(0)
    session.close()
    reader = BufferReader(tmp_path)
    assert reader.steps.truncated.tolist() == [False, False, False, True] and not reader.steps.terminated.any()


def test_whoever_plays_has_pieces_of_its_own_in_one_game(game, witness, tmp_path):
    session = Session(game, witness, tape_at(tmp_path, game), seed=1)
    turns = [3, 2, 1]
    for turn, steps in enumerate(turns):
        assert session.by_hand == (turn == 1)
        for _ in range(steps):
            session.step(1)
        session.turn()
    session.close()
    infos = pieces(tmp_path)
    assert [(info.source, info.policy_version, info.world_model_version, info.start) for info in infos] == [
        ("policy", 7, 3, 0), ("human", 0, 0, 3), ("policy", 7, 3, 5)
    ]  # fmt: skip
    reader = BufferReader(tmp_path)
    assert [check_played(reader, episode) for episode in range(len(reader.episodes))] == [6]
    assert reader.steps.actions.tolist() == [2, 2, 2, 1, 1, 2]


def test_the_policy_watches_while_the_person_plays(game, witness):
    session = Session(game, witness, seed=1)
    session.step(0)
    session.turn()
    for _ in range(4):
        session.step(1)
    session.turn()
    session.step(0)
    assert len(witness.policy.seen) == 2
    first, last = (read(np.stack(np.split(seen[0], 3, axis=-1))) for seen in witness.policy.seen)
    assert (first.count.tolist(), last.count.tolist()) == ([0, 0, 0], [3, 4, 5])
    assert last.action.tolist() == [1, 1, 1]
    session.begin()
    session.step(0)
    assert read(np.stack(np.split(witness.policy.seen[-1][0], 3, axis=-1))).count.tolist() == [0, 0, 0]


def test_without_a_policy_nobody_takes_turns(game):
    session = Session(game)
    session.turn()
    assert session.by_hand and not session.has_policy


def test_a_long_game_is_written_while_it_goes_on(game, witness, tmp_path, monkeypatch):
    monkeypatch.setattr(rl.tape, "_PIECE", 3)
    tape = tape_at(tmp_path, game)
    session = Session(game, tape=tape, seed=2)
    for done in range(1, 9):
        session.step(done % 3)
        assert BufferReader(tmp_path).num_steps == tape.steps == done // 3 * 3
    session.close()
    reader = BufferReader(tmp_path)
    assert [check_played(reader, episode) for episode in range(len(reader.episodes))] == [8]
    assert read(reader.frames(reader.chunk_firsts[:-1])).count.tolist() == [0, 3, 6]


def test_a_seed_and_the_actions_that_were_kept_play_the_game_again(game, tmp_path):
    session = Session(game, tape=tape_at(tmp_path, game))
    for action in (1, 2, 2, 0):
        session.step(action)
    session.close()
    reader = BufferReader(tmp_path)
    again = OneRealGame(GameSettings(id=GAME), SIZE)._env._games[0]
    frames, _ = play_to(again, Replay(reader.episodes[0].info.seed, reader.steps.actions), 1)
    np.testing.assert_array_equal(frames[-1], session.sight.picture)


def test_it_goes_on_in_a_buffer_and_throws_nothing_away(game, tmp_path):
    for _ in range(2):
        session = Session(game, tape=tape_at(tmp_path, game))
        session.step(1)
        session.close()
    assert [info.source for info in pieces(tmp_path)] == ["human", "human"]


def test_a_buffer_of_another_game_or_in_use_is_refused(game, tmp_path):
    tape_at(tmp_path / "mine", game).close()
    lock = FolderLock(tmp_path / "mine", patience=0)
    with pytest.raises(UserError, match="in use by another process"):
        tape_at(tmp_path / "mine", game)
    lock.release()
    session = Session(game, tape=tape_at(tmp_path / "mine", game))
    session.step(0)
    session.close()
    with pytest.raises(UserError, match="holds play of another game or frame size"):
        Tape(tmp_path / "mine", GAME, (8, 8, 3), game.action_spec)
    with pytest.raises(UserError, match="holds play of another game or frame size"):
        Tape(tmp_path / "mine", GAME, SHAPE, ActionSpec.discrete(2))
    with pytest.raises(UserError, match=f"mine holds play of {GAME}, not of Other-v0: name another folder"):
        Tape(tmp_path / "mine", "Other-v0", SHAPE, game.action_spec)
    tape_at(tmp_path / "mine", game).close()


def test_what_was_played_before_a_game_failed_is_kept(tmp_path):
    game = OneRealGame(GameSettings(id="misbehaving:Raises-v0"), SIZE)
    session = Session(game, tape=Tape(tmp_path, "misbehaving:Raises-v0", game.frame_shape, game.action_spec))
    with pytest.raises(UserError, match="failed in step"):
        for _ in range(5):
            session.step(1)
    session.close()
    assert BufferReader(tmp_path).num_steps == session.steps == 2


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return world_model(tmp_path_factory.mktemp("model"))


@pytest.mark.parametrize("spec", [RECURRENT, FRAMES, LATENTS], ids=lambda spec: f"{spec.network} {spec.observation}")
def test_a_policy_and_a_person_take_turns_in_a_dream(folder, spec):
    dream = OneDream(folder, spec, doubt_limit=1e9)
    session = Session(dream, dreamer(policy(spec), folder, dream.action_spec), seed=0, film=4)
    assert dream.doubt_limit == 1e9 and session.sight.told == {} and not session.by_hand
    for turn in range(6):
        session.step(1)
        assert session.sight.picture.shape == dream.frame_shape == SHAPE
        assert session.sight.told.keys() == {"doubt", "end_probability"}
        assert session.action == 1 or not session.by_hand
        session.turn()
        session.begin() if session.sight.over or turn == 3 else None
    assert len(session.film) == 4


def test_a_seed_repeats_a_dream_and_its_horizon_cuts_it(folder):
    films = []
    for _ in range(2):
        session = Session(OneDream(folder, horizon=3, doubt_limit=1e9), seed=5, film=99)
        for _ in range(4):
            session.step(2)
        assert session.sight.over and session.steps <= 3
        films.append(np.stack(session.film))
    np.testing.assert_array_equal(*films)
