import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from counting import length_of
from PIL import Image
from playing import SPEC, buffer_of, counted, frames_of, writer_at

from experiments import browse
from experiments.cli import run_main
from experiments.played import ends_of, episode_of
from experiments.strip import FRAMES, captions, film_strip
from rl.lock import FolderLock
from worldmodel.data.reader import BufferReader
from worldmodel.spaces import ActionSpec

LONG = 5
"""the tag of a game that comes in two pieces"""


def paid(episode, rewards):
    return replace(episode, rewards=np.resize(rewards, len(episode)).astype(np.float32))


def cut(episode):
    """The same, ended by a limit."""
    return replace(episode, terminated=np.zeros(len(episode), bool), truncated=episode.terminated)


EPISODES = (
    paid(counted(1), [-1, 0, 0]),
    paid(counted(2, source="expert"), [2.5]),
    paid(cut(counted(3, source="policy", number=2)), [0]),
)


@pytest.fixture
def run(tmp_path):
    buffer_of(tmp_path / "buffer", EPISODES, [counted(LONG, end=4)], [counted(LONG, 4, 7)])
    return tmp_path


def lines(capsys):
    """The words of every line that was printed."""
    return [line.split() for line in capsys.readouterr().out.splitlines() if line.strip()]


@pytest.mark.parametrize("named", ["", "buffer"])
def test_all_episodes_are_shown_with_where_they_come_from_and_how_they_end(run, capsys, named):
    assert run_main(browse.main, [str(run / named)]) == 0
    shown = lines(capsys)
    first, second, third = (length_of(tag) for tag in (1, 2, 3))
    returns = [f"{episode.rewards.sum():.5g}" for episode in EPISODES]
    assert ["1", "random", "1", "0", str(first), returns[0], "terminated", "1"] in shown
    assert ["2", "expert", "1", "0", str(second), returns[1], "terminated", "2"] in shown
    assert ["3", "policy", "2", "0", str(third), returns[2], "truncated", "3"] in shown
    assert [line[:5] + line[6:] for line in shown if line[0] == "4"] == [
        ["4", "random", "1", "0", "7", "goes", "on", str(LONG)]
    ]


def test_totals_by_source_and_of_all(run, capsys):
    assert run_main(browse.main, [str(run)]) == 0
    shown = {line[0]: line[1:] for line in lines(capsys) if line[0] in ("all", "random", "expert", "policy")}
    reader = BufferReader(run / "buffer")
    signs = [str((np.sign(reader.steps.rewards) == sign).sum()) for sign in (-1, 0, 1)]
    assert shown["all"][:2] == ["4", str(reader.num_steps)]
    assert shown["all"][3:] == [*signs, "2", "1", "1", str(reader.steps.life_lost.sum())]
    (expert,) = EPISODES[1:2]
    length, lives = str(len(expert)), str(expert.life_lost.sum())
    assert shown["expert"] == ["1", length, f"{expert.rewards.sum():.5g}", "0", "0", length, "1", "0", "0", lives]
    assert shown["policy"][3:9] == ["0", str(len(EPISODES[2])), "0", "0", "1", "0"]


def test_an_episode_is_put_together_from_its_pieces(run):
    reader = BufferReader(run / "buffer")
    whole, stored = counted(LONG, end=7), episode_of(reader, 3)
    assert np.array_equal(stored.frames, whole.frames)
    for name in ("actions", "rewards", "terminated", "truncated", "life_lost"):
        assert np.array_equal(getattr(stored, name), getattr(whole, name)), name
    assert ends_of(reader).tolist() == [0, 0, 1, 2]


def test_one_episode_is_written_as_a_film_and_a_strip(run, capsys):
    film, strip = run / "film.gif", run / "strip.png"
    assert run_main(browse.main, [str(run), "--episode", "2", "--film", str(film), "--strip", str(strip)]) == 0
    shown = lines(capsys)
    assert [line[0] for line in shown if line[0].isdigit()] == ["2"] and not any(line[0] == "all" for line in shown)
    frames = frames_of(BufferReader(run / "buffer"), 1)
    moving = Image.open(film)
    assert 1 < moving.n_frames <= len(frames) and moving.size == frames.shape[2:0:-1]
    assert np.asarray(Image.open(strip)).tolist() == film_strip(EPISODES[1], SPEC).tolist()


def test_a_strip_shows_every_frame_of_a_short_episode():
    episode = paid(counted(1), [1, -2])
    picture = film_strip(episode, SPEC)
    for number, frame in enumerate(episode.frames):
        row, column = divmod(number, 8)
        height, width = (picture.shape[0] // -(-len(episode.frames) // 8), picture.shape[1] // 8)
        cell = picture[row * height :, column * width :]
        assert np.array_equal(cell[: 96 : 96 // 8, : 96 : 96 // 8], frame)
    assert picture[96:].min() < 200, "words stand under the frames"


def test_a_frame_is_told_with_what_was_done_and_paid():
    episode = paid(counted(1), [1, -2])
    first, second, *_, last = captions(episode, SPEC)
    assert (first.step, first.action, first.reward) == (0, SPEC.names[episode.actions[0]], 1.0)
    assert (second.step, second.action, second.reward) == (1, SPEC.names[episode.actions[1]], -2.0)
    assert (last.step, last.action, last.end) == (len(episode), "", "terminated")
    assert captions(cut(episode), SPEC)[-1].end == "truncated"
    assert captions(counted(LONG, end=4), SPEC)[-1].end == ""


def test_a_long_episode_is_shown_from_its_first_frame_to_its_last_and_no_reward_is_lost():
    steps = 100
    nothing = np.zeros(steps, bool)
    rewards = np.arange(steps, dtype=np.float32)
    frames = np.zeros((steps + 1, 8, 8, 3), np.uint8)
    actions = np.full((steps, 2), 0.123456, np.float32)
    episode = replace(counted(1), frames=frames, actions=actions, rewards=rewards, terminated=nothing,
                      truncated=nothing, life_lost=nothing)  # fmt: skip
    told = captions(episode, ActionSpec.box((-1.0, -1.0), (1.0, 1.0)))
    assert len(told) == FRAMES and (told[0].step, told[-1].step) == (0, steps)
    assert {after.step - before.step for before, after in pairwise(told)} == {3, 4}
    assert sum(caption.reward for caption in told) == rewards.sum()
    assert told[0].action == "0.123 0.123"


def test_the_buffer_is_only_read_even_while_others_write_it(run, tmp_path):
    def found():
        files = sorted(path for path in (run / "buffer").rglob("*") if path.is_file())
        return {path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns) for path in files}

    lock = FolderLock(run / "buffer", 0)
    before = found()
    assert run_main(browse.main, [str(run), "--episode", "1", "--strip", str(tmp_path / "strip.png")]) == 0
    assert found() == before
    lock.release()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--episode", "5"], "there is no episode 5 in"),
        (["--episode", "0"], "it has 1 to 4"),
        (["--film", "a.gif"], "name it by --episode NUMBER"),
        (["--episode", "1", "--film", "/proc/no/film.gif"], "could not be written"),
    ],
)
def test_what_cannot_be_shown_is_told_in_a_sentence(run, capsys, words, told):
    assert run_main(browse.main, [str(run), *words]) == 2
    assert told in capsys.readouterr().err


def test_a_missing_an_empty_and_a_damaged_buffer_are_told_apart(run, tmp_path, capsys):
    writer_at(tmp_path / "new")
    chunk = run / "buffer" / "000001.safetensors"
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    for folder, told in (
        (tmp_path / "nowhere", "holds no buffer: name the folder of a run"),
        (tmp_path / "new", "is empty: collect some play"),
        (run, "000001.safetensors is damaged"),
    ):
        assert run_main(browse.main, [str(folder)]) == 2
        assert told in capsys.readouterr().err
