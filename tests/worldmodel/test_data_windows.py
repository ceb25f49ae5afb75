import numpy as np
import pytest
from counting import CountingWorldModel, length_of, read
from playing import SIZE, buffer_of, counted, writer_at

from worldmodel.data.windows import WindowSampler, segment
from worldmodel.errors import UserError

CONTEXT, HORIZON = 4, 3


@pytest.fixture
def reader(tmp_path):
    pieces = [counted(30, 0, 6), counted(30, 6, 9), counted(30, 9)]
    return buffer_of(tmp_path, [counted(tag) for tag in range(12)], pieces)


def drawn(reader, batch=2000, split="all"):
    return WindowSampler(reader, CONTEXT, HORIZON, split).sample(batch, np.random.default_rng(0))


def test_a_window_keeps_the_convention_for_time(reader):
    losses = CountingWorldModel(CONTEXT, SIZE).losses(segment(reader, drawn(reader)))
    assert {name: float(loss) for name, loss in losses.items()} == dict.fromkeys(losses, 0.0)


def test_a_window_never_crosses_an_episode(reader):
    windows = drawn(reader)
    tags = read(reader.frames(windows.frame_ids)).tag
    assert (tags == tags[:, :1]).all()


def test_outside_its_episode_a_window_repeats_the_nearest_frame_and_says_so(reader):
    windows = drawn(reader)
    mask, count = windows.mask, read(reader.frames(windows.frame_ids)).count.astype(int)
    assert np.array_equal(np.diff(count, axis=1), (mask[:, 1:] & mask[:, :-1]).astype(int))
    assert mask[:, CONTEXT - 1 : CONTEXT + 1].all()
    assert not mask.all()
    outside = ~(mask[:, 1:] & mask[:, :-1])
    for values in (windows.actions, windows.rewards, windows.terminated, windows.truncated):
        assert not values[outside].any()


def test_every_step_is_equally_often_the_target(reader):
    windows = drawn(reader, batch=60_000)
    targets, times = np.unique(windows.frame_ids[:, CONTEXT - 1], return_counts=True)
    assert len(targets) == reader.num_steps
    expected = 60_000 / reader.num_steps
    assert np.abs(times - expected).max() < 6 * np.sqrt(expected)


def test_ends_are_drawn_at_the_rate_of_the_data(reader):
    rate = reader.steps.terminated.mean()
    drawn_rate = drawn(reader, batch=60_000).terminated[:, CONTEXT - 1].mean()
    assert drawn_rate == pytest.approx(rate, rel=0.1)


def test_frames_actions_and_ends_belong_together(reader):
    batch = segment(reader, drawn(reader))
    seen = read(batch.frames)
    ends = seen.count[:, CONTEXT] == length_of(seen.tag[:, CONTEXT])
    assert ends.any()
    assert (batch.terminated[:, CONTEXT - 1] == ends).all()
    assert (batch.actions[:, CONTEXT - 1] == seen.action[:, CONTEXT]).all()


def test_the_splits_are_apart_and_stay_when_the_buffer_grows(tmp_path):
    reader = buffer_of(tmp_path, [counted(tag) for tag in range(12)])
    writer = writer_at(tmp_path, capacity=250)
    samplers = {split: WindowSampler(reader, CONTEXT, HORIZON, split) for split in ("train", "held_out", "all")}

    def seeds(split):
        windows = samplers[split].sample(3000, np.random.default_rng(1))
        return set(read(reader.frames(windows.frame_ids[:, 0])).tag.tolist())

    assert seeds("held_out") == {1, 11}
    assert seeds("train") == set(range(12)) - {1, 11}
    writer.append([counted(tag) for tag in range(12, 24)])
    reader.refresh()
    assert seeds("held_out") == {21}
    assert seeds("all") == set(range(12, 24))
    assert samplers["all"].num_steps == reader.num_steps


def test_an_empty_split_is_refused(tmp_path):
    reader = buffer_of(tmp_path, [counted(0)])
    with pytest.raises(UserError, match="held_out"):
        WindowSampler(reader, CONTEXT, HORIZON, "held_out").sample(1, np.random.default_rng(0))


def test_windows_are_cut_where_they_are_asked_for(reader):
    sampler = WindowSampler(reader, CONTEXT, HORIZON)
    steps = np.arange(sampler.num_steps)
    for before in (0, 1, HORIZON - 1):
        windows = sampler.at(steps, np.full_like(steps, before))
        position = CONTEXT + np.minimum(before, sampler.where(steps)[1])
        brought = windows.frame_ids[steps, position]
        assert np.array_equal(np.unique(brought), np.sort(brought))
        assert windows.mask[steps, position].all()
        terminated = reader.steps.terminated[sampler.places]
        assert np.array_equal(windows.terminated[steps, position - 1], terminated)


def test_a_share_of_what_is_drawn_is_of_the_newest_round(tmp_path):
    old, new = [counted(tag, number=1) for tag in range(10)], [counted(tag, number=2) for tag in range(10, 14)]
    reader = buffer_of(tmp_path, old, new)
    sampler = WindowSampler(reader, CONTEXT, HORIZON)
    drawn = sampler.draw(6000, np.random.default_rng(0), recent=0.5)
    episodes = sampler.where(drawn)[0]
    numbers = np.array([reader.episodes[e].info.round for e in np.flatnonzero(reader.table.ordinal % 10 != 1)])[
        episodes
    ]
    newest = (numbers == 2).mean()
    by_chance = (numbers[:3000] == 2).mean()
    assert (numbers[3000:] == 2).all() and 0.1 < by_chance < 0.6
    assert newest == pytest.approx(0.5 + by_chance / 2)
    as_before = np.random.default_rng(0).integers(sampler.num_steps, size=6000)
    assert (sampler.draw(6000, np.random.default_rng(0)) == as_before).all()
    assert len(np.unique(drawn[3000:])) == sum(np.sum(reader.table.length[e]) for e in (10, 12, 13))
