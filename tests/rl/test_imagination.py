import corridor
import numpy as np
import pytest
import torch
from corridor import Corridor
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from stock_rllib import COLUMNS, Stock
from waits import waits

from rl.dyna_config import DynaConfig
from rl.gae import standardize
from rl.imagination import ImaginationPPO, ImaginationPPOConfig
from rl.imagination_runner import ImaginationEnvRunner
from rl.settings import ImagineSettings, Settings

DREAMS, STEPS = 6, 10
MODEL = {"hidden": 16, "width": 8}
PPO = {"gamma": 0.97, "lambda_": 0.9}


def in_order(batch):
    order = np.argsort(corridor.key(batch[Columns.OBS]))
    return {name: batch[name][order] for name in COLUMNS}


def configure(dreams=DREAMS, rollout=STEPS, seed=0, **settings):
    return (
        ImaginationPPOConfig()
        .environment("Corridor-v0", env_config=settings)
        .imagination(dreams=dreams, rollout=rollout)
        .training(minibatch_size=16)
        .rl_module(model_config=MODEL)
        .debugging(seed=seed)
    )


def make_runner(**settings):
    return ImaginationEnvRunner(config=configure(**settings))


@pytest.mark.parametrize("kind", corridor.SPECS)
def test_the_loss_gets_what_stock_rllib_gives_it(kind):
    """Over several rollouts, so that games end, reach the horizon and are cut, and resets fall on every place."""
    runner = make_runner(kind=kind)
    with torch.no_grad():
        runner.module.policy.weight.mul_(50)  # else all that a policy says is next to nothing
    stock = Stock(runner.module, DREAMS, MODEL, PPO, kind=kind)
    ends = torch.zeros(2, dtype=torch.long)
    for _ in range(8):
        rollout, report = runner.imagine(STEPS)
        samples = rollout.samples(**PPO, reward_scale=1.0)
        ours = in_order(samples.columns(torch.arange(len(samples))))
        theirs = in_order(stock.batch(rollout.actions, report.steps))
        # RLlib's mean and deviation include the rows that it masks.
        theirs[Postprocessing.ADVANTAGES] = standardize(theirs[Postprocessing.ADVANTAGES])
        for name in COLUMNS:
            torch.testing.assert_close(ours[name], theirs[name], atol=1e-5, rtol=1e-4, check_dtype=False)
        ends += torch.tensor([report.ended, report.truncated])
    assert (ends > 2).all(), "the rollouts were too dull to tell"
    played = [torch.stack(player.env.unwrapped.executed) for player in (runner, stock.player)]
    torch.testing.assert_close(*played, check_dtype=False)
    assert all(runner.env.single_action_space.contains(action) for action in played[0].flatten(0, 1).numpy()), "bounds"


def test_a_rollout_waits_as_often_however_long_it_is():
    """For its report; a wait for each of its steps would take a GPU's time."""
    runner = make_runner()
    runner.imagine(4)
    runner.imagine(8)
    short = waits(lambda: runner.imagine(8))
    runner.imagine(32)
    assert waits(lambda: runner.imagine(32)) == short


def test_the_first_step_of_a_dream_follows_its_first_observation():
    rollout, _ = make_runner().imagine(30)
    before = rollout.observations[:-1, :, 1, 0, 0].long()
    after = rollout.observations[1:, :, 1, 0, 0].long()
    played = ~rollout.skipped[:-1]
    moved = (rollout.actions[:-1] == corridor.RIGHT) & played
    assert torch.equal((after - before)[played], 50 * moved.long()[played])
    assert torch.equal(rollout.rewards[:-1], moved.float())


def test_reset_rows_are_skipped_and_no_others():
    rollout, report = make_runner().imagine(30)
    done = rollout.terminated | rollout.truncated
    assert torch.equal(rollout.skipped[1:], done[:-1])
    assert not rollout.skipped[0].any()
    samples = rollout.samples(gamma=0.9, lambda_=0.9, reward_scale=1.0)
    assert len(samples) == report.steps == 30 * DREAMS - int(done[:-1].sum())


def test_an_end_at_the_cut_is_skipped_in_the_next_rollout():
    runner = make_runner(length=100)
    runner.imagine(7)  # dream 0 has just reached its horizon
    rollout, _ = runner.imagine(2)
    assert rollout.skipped[0, 0] and not rollout.skipped[1, 0]


def test_bootstraps_at_a_horizon_and_not_at_an_end():
    rollout, _ = make_runner().imagine(30)
    samples = rollout.samples(gamma=0.5, lambda_=0.0, reward_scale=1.0)
    next_values = torch.cat([rollout.values[1:], rollout.final_values[None]])
    expected = rollout.rewards + 0.5 * next_values * ~rollout.terminated
    torch.testing.assert_close(samples.targets, expected.flatten()[samples.rows])
    assert rollout.terminated.any() and rollout.truncated.any()


def test_the_agent_is_paid_by_the_scale_and_the_report_is_not():
    runner = make_runner()
    rollout, report = runner.imagine(20)
    paid, more = (rollout.samples(gamma=0.0, lambda_=0.0, reward_scale=scale).targets for scale in (1.0, 3.0))
    torch.testing.assert_close(more, 3 * paid)
    assert paid.max() == 1.0
    assert report.ended_return == 5.0 * report.ended > 0


def test_what_an_agent_makes_of_an_unpaid_rollout_is_not_blown_up():
    agent = ImagineSettings(reward_scale=2.0, least_spread=50.0)
    config = configure().agent(agent)
    assert (config.reward_scale, config.least_spread) == (2.0, 50.0)
    rollout, _ = make_runner().imagine(20)
    scaled, calm = (
        rollout.samples(gamma=0.9, lambda_=0.9, reward_scale=2.0, least_spread=least).advantages
        for least in (0.0, 50.0)
    )
    assert scaled.std(correction=0) == pytest.approx(1.0, rel=1e-3)
    assert calm.std(correction=0) < 0.2
    torch.testing.assert_close(calm / calm.std(), scaled / scaled.std())


def test_dreams_are_followed_over_rollouts():
    short, long = make_runner(), make_runner()
    reports = [short.imagine(5)[1] for _ in range(6)]
    whole = long.imagine(30)[1]
    assert sum(reports[1:], reports[0]) == whole
    assert whole.finished > 10 and whole.ended_share == whole.ended / whole.finished


def test_the_mean_length_is_the_horizon_where_nothing_ends():
    runner = make_runner(length=100)
    runner.imagine(7)  # past the first, shorter games
    report = runner.imagine(100)[1]
    assert report.mean_length == 7 and report.ended == 0 and not report.ended_return


def test_what_rllib_is_told_of_dyna_stays():
    config = DynaConfig(Settings()).training(lr=1e-5, gamma=0.5).env_runners(num_envs_per_env_runner=3)
    told = config.resolved()
    assert (told.lr, told.gamma, told.num_envs_per_env_runner) == (1e-5, 0.5, 3)
    tuned = DynaConfig(Settings()).tune({"imagine.gamma": 0.9}).resolved()
    assert tuned.gamma == tuned.settings.imagine.gamma == 0.9


def test_a_rollout_in_which_every_dream_only_begins_anew_teaches_nothing(cluster):
    algorithm = configure().build_algo()
    rollout, _ = algorithm.runner.imagine(1)
    rollout.skipped[:] = True
    before = algorithm.learner_group.get_state()
    algorithm._learn(rollout)
    assert str(algorithm.learner_group.get_state()) == str(before)
    algorithm.stop()


def test_one_seed_one_rollout():
    first, second, third = (make_runner(seed=seed).imagine(STEPS)[0] for seed in (0, 0, 1))
    assert torch.equal(first.actions, second.actions)
    assert not torch.equal(first.actions, third.actions)


def test_begin_repeats_itself_whatever_went_before():
    runner = make_runner()
    runner.begin(7)
    first = runner.imagine(STEPS)[0].actions.clone()
    runner.begin(7)
    assert torch.equal(runner.imagine(STEPS)[0].actions, first)
    assert runner.dreams.seeds == [7, 7]


def test_a_new_world_model_and_new_starts_begin_new_dreams():
    runner = make_runner()
    runner.imagine(3)
    runner.set_world_model("weights")
    runner.set_starts("starts")
    rollout, _ = runner.imagine(3)
    assert (runner.dreams.world_model, runner.dreams.starts) == ("weights", "starts")
    assert rollout.observations[0, :, 0, 0, 2].tolist() == list(range(DREAMS)), "the dreams went on"


def test_storage_is_reused_and_the_minibatches_are_copies():
    runner = make_runner()
    rollout, _ = runner.imagine(STEPS)
    samples = rollout.samples(gamma=0.9, lambda_=0.9, reward_scale=1.0)
    columns = samples.columns(torch.arange(3))
    kept = {name: value.clone() for name, value in columns.items()}
    again, _ = runner.imagine(STEPS)
    assert again is rollout
    assert all(torch.equal(columns[name], kept[name]) for name in columns)


def test_minibatches_cover_all_samples_each_epoch_in_another_order():
    rollout, _ = make_runner().imagine(STEPS)
    samples = rollout.samples(gamma=0.9, lambda_=0.9, reward_scale=1.0)
    batches = list(samples.minibatches(8, 2, torch.Generator().manual_seed(0)))
    half = len(batches) // 2
    keys = [np.concatenate([corridor.key(b[Columns.OBS]) for b in part]) for part in (batches[:half], batches[half:])]
    expected = np.sort(corridor.key(samples.observations[samples.rows]))
    assert all(np.array_equal(np.sort(found), expected) for found in keys)
    assert not np.array_equal(*keys) and not np.array_equal(keys[0], np.sort(keys[0]))
    assert {len(b[Columns.OBS]) for b in batches} <= {7, 8}


def test_the_stock_way_of_sampling_still_works():
    episodes = make_runner().sample(num_timesteps=20)
    assert sum(len(episode) for episode in episodes) >= 20


def test_learns_from_imagined_transitions_alone(cluster, monkeypatch):
    """Each row that reaches the loss is one that the dreams made, and each of those reaches it `num_epochs` times."""
    dreamed, learned = [], []
    step, loss = Corridor.step_tensors, PPOTorchLearner.compute_loss_for_module

    def recorded_step(self, actions):
        fresh = self.needs_reset
        dreamed.extend(corridor.key(self._observe())[~fresh.numpy()])
        return step(self, actions)

    def recorded_loss(self, *, batch, **kwargs):
        learned.extend(corridor.key(batch[Columns.OBS]))
        return loss(self, batch=batch, **kwargs)

    monkeypatch.setattr(Corridor, "step_tensors", recorded_step)
    monkeypatch.setattr(PPOTorchLearner, "compute_loss_for_module", recorded_loss)
    algorithm = configure().training(num_epochs=2, minibatch_size=16).build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert sorted(learned) == sorted(2 * dreamed)
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == len(dreamed)
    assert result["learners"]["__all_modules__"]["num_env_steps_trained"] == len(learned)


@pytest.mark.parametrize("kind", corridor.SPECS)
def test_learns_to_walk_right(kind, cluster):
    config = configure(dreams=32, rollout=16, kind=kind).training(lr=3e-3, num_epochs=4, minibatch_size=128, gamma=0.9)
    algorithm = config.build_algo()
    first = algorithm.imagine().mean_return
    for _ in range(10):
        last = algorithm.imagine().mean_return
    algorithm.stop()
    assert first < 3.5 and last > 4.5, "the most that a game pays is 5"


def test_the_learning_rate_falls_over_all_rounds_to_where_it_is_told(cluster, tmp_path):
    agent = ImagineSettings(learning_rate=1e-3, learning_rate_end=0.0, steps=DREAMS * STEPS)
    algorithm = configure().training(lr=DynaConfig(Settings(rounds=2, imagine=agent)).lr).build_algo()

    def learned():
        before = weights_of(algorithm)
        algorithm.imagine()
        return sum((value - before[name]).abs().sum() for name, value in weights_of(algorithm).items())

    early = learned()
    algorithm.save_to_path(tmp_path)
    late = learned()
    assert early > late > 0
    for _ in range(3):
        algorithm.imagine()
    assert learned() == 0
    algorithm.restore_from_path(tmp_path)
    assert 0 < learned() < early, "a restored agent knows how far it has come"
    algorithm.stop()


def test_every_new_agent_has_the_whole_course_of_the_learning_rate(cluster):
    """However far the steps of the ones before went over what they were to take."""
    agent = ImagineSettings(learning_rate=1e-3, learning_rate_end=1e-4, steps=2 * DREAMS * STEPS - 5, afresh=True)
    algorithm = configure().training(lr=DynaConfig(Settings(rounds=3, imagine=agent)).lr).build_algo()
    weights = algorithm.runner.module.get_state(inference_only=False)
    for _ in range(3):
        algorithm.begin_anew(weights)
        steps, rates = 0, []
        while steps < agent.steps:
            steps += algorithm.imagine().steps
            rates.append(rate_of(algorithm))
        assert 4e-4 < rates[0] < 7e-4
        assert rates[-1] == pytest.approx(1e-4, rel=0.2)
    algorithm.stop()


def rate_of(algorithm):
    """The learning rate after the newest update."""
    ((_, optimizer),) = algorithm.learner_group._learner.get_optimizers_for_module("default_policy")
    return optimizer.param_groups[0]["lr"]


def test_a_new_agent_learns_as_one_that_was_never_another(cluster):
    algorithm = configure().build_algo()
    untrained = algorithm.runner.module.get_state(inference_only=False)
    untrained = {name: value.copy() for name, value in untrained.items()}
    trained = []
    for _ in range(2):
        algorithm.begin_anew(untrained)
        assert all(torch.equal(value, torch.tensor(untrained[name])) for name, value in weights_of(algorithm).items())
        for seed in (1, 2, 3):
            algorithm.runner.begin(seed)
            algorithm.imagine()
        trained.append(weights_of(algorithm))
    algorithm.stop()
    first, second = trained
    assert not torch.equal(first["value.weight"], torch.tensor(untrained["value.weight"]))
    assert all(torch.equal(second[name], value) for name, value in first.items()), "the optimiser remembers"


def weights_of(algorithm):
    return {name: value.clone() for name, value in algorithm.runner.module.state_dict().items()}


def test_a_checkpoint_goes_on(cluster, tmp_path):
    algorithm = configure().build_algo()
    algorithm.train()
    path = algorithm.save_to_path(tmp_path)
    restored = ImaginationPPO.from_checkpoint(path)
    for name, value in algorithm.runner.module.state_dict().items():
        torch.testing.assert_close(restored.runner.module.state_dict()[name], value)
    assert restored.train()["training_iteration"] == 2
    algorithm.stop()
    restored.stop()


@pytest.mark.parametrize(
    ("change", "fix"),
    [
        (lambda config: config.env_runners(num_env_runners=1), "num_env_runners"),
        (lambda config: config.training(use_kl_loss=True), "use_kl_loss"),
    ],
)
def test_refuses_what_it_cannot_do(change, fix):
    with pytest.raises(ValueError, match=fix):
        change(configure()).validate()


def test_evaluation_may_use_remote_runners():
    config = configure().evaluation(evaluation_interval=1, evaluation_num_env_runners=1)
    config.validate()
    config.get_evaluation_config_object().validate()


def test_evaluates_in_another_environment(cluster):
    real = ImaginationPPOConfig.overrides(env_config={"horizon": 3, "length": 100})
    config = configure().evaluation(evaluation_interval=1, evaluation_duration=20, evaluation_config=real)
    algorithm = config.build_algo()
    result = algorithm.train()
    algorithm.stop()
    assert result["evaluation"]["env_runners"]["episode_len_max"] == 3
