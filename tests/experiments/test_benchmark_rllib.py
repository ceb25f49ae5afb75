import torch

from experiments.bare_ppo import BarePPO, ModuleAgent
from experiments.benchmark_rllib import BenchmarkSettings, Share, as_record, as_table
from experiments.fake_dreams import FakeDreams, tiny_module
from experiments.ppo import PPO, PPOConfig

SHAPE = (64, 64, 12)


def test_the_bare_loop_plays_what_the_page_plays():
    """The same games, whether they come as tensors or through NumPy."""
    rollouts = []
    for kind in (PPO, BarePPO):
        torch.manual_seed(0)
        dreams = FakeDreams(4, shape=SHAPE, horizon=3)
        ppo = kind(dreams, ModuleAgent(tiny_module(dreams)), PPOConfig(rollout=8, minibatch=16))
        ppo.train()
        rollouts.append((ppo.observations, ppo.actions, ppo.rewards, ppo.skipped, ppo.agent.module.value.weight))
    assert all(torch.equal(one, other) for one, other in zip(*rollouts, strict=True))


def test_fake_dreams_run_to_the_horizon_and_begin_anew():
    dreams = FakeDreams(3, shape=SHAPE, horizon=2)
    assert dreams.reset_tensors().shape == (3, *SHAPE)
    actions = torch.zeros(3, dtype=torch.long)
    told = [dreams.step_tensors(actions) for _ in range(4)]
    assert [truncated.all().item() for *_, truncated in told] == [False, True, False, False]
    assert not told[2][1].any(), "a reset row pays nothing"
    assert not torch.equal(told[0][0], told[1][0])


def test_the_tiny_policy_sees_the_picture():
    dreams = FakeDreams(3, shape=SHAPE)
    module = tiny_module(dreams)
    first, second = dreams.reset_tensors(), dreams.step_tensors(torch.zeros(3, dtype=torch.long))[0]
    assert not torch.equal(module.act(first)[1], module.act(second)[1])


def test_what_is_kept_says_how_it_was_measured():
    shares = [Share(SHAPE, 30.0, 25.0, 1.2, 5.0)]
    record = as_record(shares, BenchmarkSettings())
    assert record["settings"]["dreams"] == 256 and record["machine"]["torch"] == torch.__version__
    assert record["microseconds_per_step"][0]["ratio"] == 1.2
    assert as_table(shares).row_count == 1
