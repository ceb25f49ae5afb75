import numpy as np
import pytest
from playing import buffer_of, counted, writer_at

from worldmodel.data.outcomes import Balance, OutcomeSampler, rare_rewards
from worldmodel.data.reader import BufferReader
from worldmodel.data.windows import WindowSampler

DRAWS = 60_000


@pytest.fixture
def reader(tmp_path):
    return buffer_of(tmp_path, [counted(tag) for tag in range(12)])


def outcomes(reader):
    return OutcomeSampler(reader, WindowSampler(reader, 2, 1))


def kinds(reader, places):
    """(end, sign of reward) of the steps of the training split at `places`."""
    at = WindowSampler(reader, 2, 1).places[places]
    return np.stack([reader.steps.terminated[at], np.sign(reader.steps.rewards[at])], 1)


def shares(of):
    seen, counts = np.unique(of, axis=0, return_counts=True)
    return {tuple(kind): count / len(of) for kind, count in zip(seen, counts, strict=True)}


def test_half_the_steps_come_as_in_play_and_half_evenly_by_kind(reader):
    sampler = outcomes(reader)
    natural = shares(kinds(reader, np.arange(WindowSampler(reader, 2, 1).num_steps)))
    drawn = shares(kinds(reader, sampler.sample(DRAWS, np.random.default_rng(0))))
    assert drawn.keys() == natural.keys()
    for kind, share in natural.items():
        assert drawn[kind] == pytest.approx(share / 2 + 0.5 / len(natural), abs=0.01)


def test_what_is_rare_is_drawn_alone_and_evenly_by_kind(reader):
    natural = shares(kinds(reader, np.arange(WindowSampler(reader, 2, 1).num_steps)))
    del natural[max(natural, key=natural.get)]
    drawn = shares(kinds(reader, outcomes(reader).rare(DRAWS, np.random.default_rng(0))))
    assert drawn == {kind: pytest.approx(1 / len(natural), abs=0.01) for kind in natural}


def test_the_balance_is_what_is_drawn_over_what_is_played(reader):
    sampler = outcomes(reader)
    natural = kinds(reader, np.arange(WindowSampler(reader, 2, 1).num_steps))
    drawn = kinds(reader, sampler.sample(DRAWS, np.random.default_rng(0)))
    ends = [np.log(of[:, 0].mean() / (1 - of[:, 0].mean())) for of in (drawn, natural)]
    assert sampler.balance.ends == pytest.approx(ends[0] - ends[1], abs=0.05)
    for sign, shift in zip((-1, 0, 1), sampler.balance.signs, strict=True):
        rates = [(of[:, 1] == sign).mean() for of in (drawn, natural)]
        assert shift == pytest.approx(np.log(rates[0] / rates[1]) if rates[1] else 0.0, abs=0.05)


def test_all_steps_of_a_rare_kind_are_drawn(reader):
    drawn = outcomes(reader).sample(DRAWS, np.random.default_rng(0))
    ended = drawn[kinds(reader, drawn)[:, 0] == 1]
    ids, times = np.unique(ended, return_counts=True)
    places = WindowSampler(reader, 2, 1).places
    assert len(ids) == reader.steps.terminated[places].sum()
    assert times.min() > 0.5 * times.max()


def test_where_nothing_ends_and_all_is_paid_alike_nothing_is_shifted(tmp_path):
    reader = buffer_of(tmp_path, [counted(30, 1, 3), counted(31, 1, 3)])
    sampler = outcomes(reader)
    assert not kinds(reader, sampler.sample(50, np.random.default_rng(0)))[:, 0].any()
    assert sampler.balance.ends == Balance().ends


def test_new_play_is_drawn_from_too(tmp_path):
    writer = writer_at(tmp_path)
    writer.append([counted(tag) for tag in range(3)])
    reader = BufferReader(tmp_path)
    sampler = outcomes(reader)
    before = sampler.sample(1000, np.random.default_rng(0)).max()
    writer.append([counted(tag) for tag in range(3, 12)])
    reader.refresh()
    assert sampler.sample(1000, np.random.default_rng(0)).max() > before


def test_rare_rewards_are_those_of_another_sign_than_most():
    assert rare_rewards(np.array([0, 0, 2.5, -1, 0], np.float32)) == 2
    assert rare_rewards(np.array([1, 1, 1, 0.5, 0], np.float32)) == 1
    assert rare_rewards(np.zeros(0, np.float32)) == 0
