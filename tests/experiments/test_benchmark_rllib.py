import torch
from corridor import RIGHT, Corridor
from ray.rllib.core.rl_module.rl_module import RLModuleSpec

from experiments.bare_ppo import BareConfig, BarePPO
from experiments.benchmark_rllib import BenchmarkSettings, Share, as_record, as_table
from experiments.fake_dreams import FakeDreams, tiny_module
from rl.module import PixelModule

SHAPE = (64, 64, 12)


def test_the_bare_loop_is_a_ppo_that_learns():
    torch.manual_seed(0)
    dreams = Corridor(32)
    module = RLModuleSpec(
        module_class=PixelModule,
        observation_space=dreams.single_observation_space,
        action_space=dreams.single_action_space,
        model_config={"hidden": 16, "width": 8},
    ).build()
    ppo = BarePPO(dreams, module, BareConfig(rollout=16, minibatch=128, epochs=4, learning_rate=3e-3, gamma=0.9))
    assert ppo.imagine() == 32 * 16
    before = ppo.actions.eq(RIGHT).float().mean()
    for _ in range(10):
        ppo.imagine()
    assert before < 0.65 and ppo.actions.eq(RIGHT).float().mean() > 0.85


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
