import math

import pytest
import torch

from worldmodel.data.outcomes import Balance
from worldmodel.head import Head, Outcome
from worldmodel.head_config import HeadConfig
from worldmodel.rewards import SymlogRewards, symexp, two_hot
from worldmodel.spaces import ActionSpec

BINS = symexp(torch.linspace(-20, 20, 41))
DRAWS = 40_000


def head(rewards="sign", members=2, seed=0):
    torch.manual_seed(seed)
    return Head(
        HeadConfig(rewards, members, hidden=16), channels=4, height=4, width=4, spec=ActionSpec.discrete(3)
    ).eval()


def outcome(reward_chances, end_chances, count=DRAWS):
    """The same step `count` times, as members see it: (members, classes) and (members,) probabilities."""
    return Outcome(
        torch.tensor(reward_chances).log()[:, None].expand(-1, count, -1),
        torch.tensor(end_chances).logit()[:, None].expand(-1, count),
    )


def draw(head, seen, seed=0):
    return head.draw(seen, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("chances", [[0.02, 0.02], [0.1, 0.5], [0.9, 0.2]])
def test_ends_are_drawn_at_the_members_mean_rate(chances):
    _, ends = draw(head(), outcome([[0.2, 0.3, 0.5]] * 2, chances))
    rate = sum(chances) / 2
    assert ends.dtype == torch.bool
    assert abs(ends.float().mean() - rate) < 4 * (rate * (1 - rate) / DRAWS) ** 0.5


def test_signs_are_drawn_at_the_members_mean_rates():
    rewards, _ = draw(head(), outcome([[0.1, 0.7, 0.2], [0.3, 0.1, 0.6]], [0.5, 0.5]))
    assert rewards.dtype == torch.float32
    for sign, chance in ((-1, 0.2), (0, 0.4), (1, 0.4)):
        assert (rewards == sign).float().mean() == pytest.approx(chance, abs=0.01)


def test_what_is_drawn_from_is_told():
    seen = outcome([[0.1, 0.7, 0.2], [0.3, 0.1, 0.6]], [0.1, 0.5], count=2)
    torch.testing.assert_close(head().end_probability(seen), torch.full((2,), 0.3))
    torch.testing.assert_close(head().sign_probabilities(seen), torch.tensor([[0.2, 0.4, 0.4]] * 2))
    assert head("symlog").sign_probabilities(seen) is None


def test_symlog_rewards_are_expected_not_drawn():
    """One chance in ten of 100 is worth 10, which the mean of the symlogs would make 0.6."""
    rewards = SymlogRewards()
    shares = rewards.target(torch.tensor([100.0] + 9 * [0.0])).mean(0)
    paid = rewards.draw(shares.clamp_min(1e-12).log().expand(2, 5, -1), None)
    torch.testing.assert_close(paid, torch.full((5,), 10.0), atol=1e-3, rtol=0)


def test_rewards_beyond_those_seen_are_never_paid():
    """A millionth is left to every bin: in the outermost it would be worth 485."""
    rewards = SymlogRewards()
    rewards.target(torch.tensor([-1.0, 5.0]))
    logits = two_hot(torch.tensor([-1.0]), BINS).clamp_min(1e-6).log()[None]
    assert rewards.draw(logits, None).item() == pytest.approx(-1, abs=1e-3)
    taken = SymlogRewards()
    taken.load_state_dict(rewards.state_dict())
    assert torch.equal(taken.draw(logits, None), rewards.draw(logits, None))
    rewards.eval().target(torch.tensor([1e6]))
    assert torch.equal(taken.seen, rewards.seen)


def test_before_any_reward_nothing_is_paid():
    assert SymlogRewards().draw(torch.randn(2, 5, 41), None).tolist() == [0.0] * 5


def test_the_same_seed_draws_the_same_outcome():
    seen = outcome([[0.3, 0.3, 0.4]], [0.5], count=100)
    first, again, other = (draw(head(), seen, seed) for seed in (0, 0, 1))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize("value", [-20.0, -19.5, -0.01, 0.0, 0.3, 1.0, 7.77, 19.99, 20.0])
def test_two_hot_comes_back_as_its_mean(value):
    weights = two_hot(torch.tensor([value]), BINS)
    assert (weights @ BINS).item() == pytest.approx(value, abs=1e-4)
    assert weights.sum().item() == pytest.approx(1)
    used = weights[0].nonzero().flatten()
    assert (weights >= 0).all()
    assert len(used) <= 2
    assert used.max() - used.min() <= 1


@pytest.mark.parametrize(("value", "bin_"), [(1e10, 40), (-1e10, 0)])
def test_two_hot_stops_at_the_outermost_bin(value, bin_):
    assert two_hot(torch.tensor([value]), BINS)[0, bin_] == 1


def test_symexp_undoes_symlog():
    values = torch.tensor([-1000.0, -1.0, 0.0, 0.5, 21.0, 1e6])
    torch.testing.assert_close(symexp(values.sign() * values.abs().log1p()), values)
    assert symexp(torch.ones(1)).item() == pytest.approx(torch.e - 1)


@pytest.mark.parametrize("rewards", ["sign", "symlog"])
def test_the_losses_are_least_at_the_truth(rewards):
    judge = head(rewards)
    real = torch.tensor([-1.0, 0.0, 1.0, 1.0])
    ended = torch.tensor([False, True, False, True])
    classes = torch.eye(3)[real.long() + 1] if rewards == "sign" else two_hot(real, BINS)
    right = Outcome(classes.clamp_min(1e-9).log().expand(2, -1, -1), (ended.float() * 40 - 20).expand(2, -1))
    wrong = Outcome(right.rewards.flip(1), -right.terminated)
    valid = torch.ones(4, dtype=torch.bool)
    least, more = judge.losses(right, real, ended, valid), judge.losses(wrong, real, ended, valid)
    assert set(least) == {"reward", "termination"}
    assert least["termination"] < 1e-6
    assert more["termination"] > 5
    assert more["reward"] > least["reward"] + 1


def test_only_valid_steps_count():
    judge = head()
    seen = Outcome(torch.randn(2, 6, 3), torch.randn(2, 6))
    valid = torch.tensor([True, True, False, True, False, False])
    rewards, ended = torch.tensor([1.0, 0, -1, 1, 0, -1]), valid.clone()
    masked = judge.losses(seen, rewards, ended, valid)
    alone = judge.losses(
        Outcome(seen.rewards[:, valid], seen.terminated[:, valid]), rewards[valid], ended[valid], valid[valid]
    )
    torch.testing.assert_close(masked, alone)
    nothing = judge.losses(seen, rewards, ended, torch.zeros(6, dtype=torch.bool))
    assert all(loss == 0 for loss in nothing.values())


def test_large_rewards_are_seen_by_their_sign():
    judge, valid = head(), torch.ones(2, dtype=torch.bool)
    seen, ended = Outcome(torch.randn(2, 2, 3), torch.zeros(2, 2)), ~valid
    clipped = judge.losses(seen, torch.tensor([1.0, -1.0]), ended, valid)
    torch.testing.assert_close(judge.losses(seen, torch.tensor([400.0, -0.2]), ended, valid), clipped)


def test_pictures_actions_and_their_order_matter():
    judge = head()
    pictures, actions = torch.randn(5, 3, 4, 4, 4), torch.zeros(5, dtype=torch.long)
    with torch.no_grad():
        seen = judge(pictures, actions)
        assert seen.rewards.shape == (2, 5, 3)
        assert seen.terminated.shape == (2, 5)
        assert not torch.allclose(seen.terminated, judge(pictures, actions + 1).terminated)
        assert not torch.allclose(seen.terminated, judge(pictures.flip(1), actions).terminated)
        torch.testing.assert_close(judge(pictures[:2], actions[:2]).rewards, seen.rewards[:, :2])


@pytest.mark.parametrize("rewards", ["sign", "symlog"])
def test_a_head_learns_what_actions_bring(rewards):
    judge = head(rewards).train()
    optimizer = torch.optim.Adam(judge.parameters(), 1e-2)
    actions = torch.arange(30) % 3
    pictures, paid = torch.randn(30, 3, 4, 4, 4), actions.float() - 1
    for _ in range(60):
        losses = judge.losses(judge(pictures, actions), paid, actions == 2, torch.ones(30, dtype=torch.bool))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    judge.eval()
    drawn, ends = draw(judge, judge(pictures, actions))
    assert (drawn - paid).abs().mean() < 0.15
    assert ((actions == 2) == ends).float().mean() > 0.9


def test_trained_on_many_ends_it_answers_at_the_rate_of_play():
    """Half of a batch are ends, one in 20 of play: with nothing to tell them by, the chance of an end is 0.05."""
    torch.manual_seed(0)
    balance = Balance(ends=math.log(19), signs=(0.0, 0.0, math.log(5)))
    rewards, ends = torch.tensor([0.0, 1.0]).repeat(64), torch.tensor([True, False, False, True]).repeat(32)
    logits = [torch.zeros(1, 1, 3, requires_grad=True), torch.zeros(1, 1, requires_grad=True)]
    optimizer = torch.optim.Adam(logits, lr=0.1)
    for _ in range(200):
        seen = Outcome(logits[0].expand(1, 128, 3), logits[1].expand(1, 128))
        loss = sum(head(members=1).losses(seen, rewards, ends, torch.ones(128).bool(), balance=balance).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert logits[1].sigmoid().item() == pytest.approx(0.05, abs=0.005)
    chances = logits[0].softmax(-1)[0, 0]
    assert (chances[2] / chances[1]).item() == pytest.approx(1 / 5, rel=0.05)


@pytest.mark.parametrize("kind", ["sign", "symlog"])
def test_of_rewards_that_nobody_knows_nothing_is_learned(kind):
    torch.manual_seed(0)
    scorer = head(kind)
    pictures, actions = torch.randn(6, 3, 4, 4, 4), torch.zeros(6, dtype=torch.int64)
    rewards, ends, every = torch.full((6,), torch.nan), torch.ones(6).bool(), torch.ones(6).bool()
    losses = scorer.losses(scorer(pictures, actions), rewards, ends, every)
    assert losses["reward"] == 0
    losses["termination"].backward()
    assert all(p.grad.isfinite().all() for p in scorer.parameters() if p.grad is not None)


@torch.no_grad()
def test_what_is_learned_of_one_place_is_known_of_another():
    """Half of a member pools over places: without the other half, where a thing is makes no difference."""
    judge, actions = head(members=1), torch.zeros(2, dtype=torch.int64)
    pictures = torch.zeros(2, 3, 4, 12, 12)
    thing = torch.randn(3, 4, 2, 2)
    pictures[0, :, :, 4:6, 4:6] = pictures[1, :, :, 6:8, 5:7] = thing
    judge = Head(judge.config, channels=4, height=12, width=12, spec=ActionSpec.discrete(3)).eval()
    assert not torch.equal(*judge(pictures, actions).terminated[0])
    judge.members[0].gather.weight.zero_()
    one, other = judge(pictures, actions).terminated[0]
    torch.testing.assert_close(one, other)
    assert one != judge(torch.zeros_like(pictures), actions).terminated[0, 0]
