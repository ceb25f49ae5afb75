"""Every kind of action, from the real game through the buffer to the loss, the dream and the agent, and back."""

from dataclasses import replace

import counting
import gymnasium as gym
import numpy as np
import pytest
import torch
from counting import SPECS, CountingWorldModel, code_of, read, reward_of
from gymnasium.utils.env_checker import check_env
from miniature import MINIATURE
from test_policies import FRAMES, snapshot

from envs import NeuralEnv, NeuralVectorEnv, RealDreams, make_real
from envs.replay import find_replays
from rl.buffer import BufferWriter
from rl.collector import Collector, Shares
from rl.dyna import DynaConfig
from rl.evaluator import Evaluator
from rl.expert import train_expert
from rl.imagination import ImaginationPPOConfig
from rl.imagination_runner import ImaginationEnvRunner
from rl.policies import ModulePolicy, RandomPolicy, load_policy, save_policy
from rl.policy_head import policy_head
from rl.progress import NullProgress
from rl.settings import ExpertSettings, GameSettings
from worldmodel.data.reader import BufferReader
from worldmodel.data.starts import draw_starts, load_starts, save_starts
from worldmodel.data.windows import WindowSampler, segment
from worldmodel.errors import UserError
from worldmodel.families import load_world_model

SIZE, CONTEXT = 16, 4
MODEL = {"hidden": 16, "width": 8}


@pytest.fixture(params=SPECS)
def kind(request):
    return request.param


def policy_of(kind):
    return replace(FRAMES, observation_shape=(SIZE, SIZE, 3), actions=SPECS[kind])


@pytest.fixture
def reader(kind, tmp_path):
    """A buffer of play by a policy and at random."""
    game = GameSettings(f"counting:Counting-{kind}-v0")
    player = Collector(game, SIZE, envs=4, index=0, seed=0)
    buffer = BufferWriter(tmp_path, (SIZE, SIZE, 3), player.action_spec(), 10_000)
    for number, shares in ((1, Shares()), (2, Shares(random=0.5, policy=0.5))):
        buffer.append(player.collect(300, number, shares, snapshot(policy_of(kind))))
    return BufferReader(tmp_path)


def losses_of(reader, kind, spoil=lambda actions: actions, size=SIZE):
    windows = WindowSampler(reader, CONTEXT, 3, "all").sample(500, np.random.default_rng(0))
    spoilt = segment(reader, replace(windows, actions=spoil(windows.actions)))
    losses = CountingWorldModel(CONTEXT, size, kind).losses(spoilt)
    return {name: float(loss) for name, loss in losses.items()}


def test_what_is_collected_keeps_the_convention_for_time_all_the_way_to_the_loss(reader, kind):
    assert reader.action_spec.fits(SPECS[kind])
    assert {record.info.source for record in reader.episodes} == {"random", "policy"}
    losses = losses_of(reader, kind)
    assert losses == dict.fromkeys(losses, 0.0)


@pytest.mark.parametrize("spoil", [lambda a: np.roll(a, 1, axis=1), lambda a: a[..., ::-1].copy()])
def test_an_off_by_one_and_swapped_components_would_show(reader, kind, spoil):
    losses = losses_of(reader, kind, spoil)
    assert losses["action"] > 0 and losses["reward"] > 0


def test_dreams_begin_at_stored_actions_and_go_on_by_new_ones(reader, kind, tmp_path):
    save_starts(tmp_path / "starts.safetensors", draw_starts(reader, 30, CONTEXT, np.random.default_rng(0)))
    model = CountingWorldModel(CONTEXT, SIZE, kind)
    env = NeuralVectorEnv(model, 8, starts=load_starts(tmp_path / "starts.safetensors"))
    env.action_space.seed(0)
    before = read(env.reset(seed=0)[0][..., -3:])
    for _ in range(5):
        actions, fresh = env.action_space.sample(), env.needs_reset.numpy()
        observations, rewards, *_ = env.step(actions)
        after = read(observations[..., -3:])
        code = code_of(SPECS[kind], np.asarray(actions))
        assert np.array_equal(rewards[~fresh], reward_of(before.count, code)[~fresh])
        assert np.array_equal(after.action[~fresh], code[~fresh])
        before = after


def test_no_shuffled_dream_keeps_its_own_action(reader, kind):
    model = CountingWorldModel(CONTEXT, SIZE, kind)
    env = NeuralVectorEnv(model, 8, starts=draw_starts(reader, 30, CONTEXT, np.random.default_rng(0)), shuffled=True)
    dealt = torch.arange(8 * len(SPECS[kind])).view(8, *SPECS[kind].shape)
    for _ in range(10):
        got = env._acted(dealt)
        assert torch.equal(got.flatten().sort().values, dealt.flatten())
        assert (got != dealt).all() and torch.equal(got.diff(dim=0) % 8, dealt.diff(dim=0) % 8)


def test_the_dreamed_game_takes_the_real_games_actions_and_passes_the_checker(reader, kind):
    env = NeuralEnv(
        CountingWorldModel(CONTEXT, SIZE, kind), starts=draw_starts(reader, 5, CONTEXT, np.random.default_rng(0))
    )
    check_env(env, skip_render_check=True)
    real = make_real(f"counting:Counting-{kind}-v0", 1, frame_size=SIZE)
    own = gym.make(f"Counting-{kind}-v0").action_space
    assert env.action_space == real.single_action_space == own
    env.reset(seed=0)
    for action in (own.sample() for _ in range(5)):
        observation, *_ = env.step(action)
        assert read(observation[..., -3:]).action == code_of(SPECS[kind], np.asarray(action))


def test_real_games_are_played_again_to_their_starts(reader, kind):
    starts = draw_starts(reader, 20, CONTEXT, np.random.default_rng(0))
    env = RealDreams(f"counting:Counting-{kind}-v0", 4, frame_size=SIZE, starts=find_replays(reader, starts))
    env.action_space.seed(0)
    begun = env.reset_tensors(seed=0)
    known = {frames[-1].tobytes() for frames in starts.frames}
    assert all(frame.numpy().tobytes() in known for frame in begun[..., -3:])
    before = read(begun[..., -3:])
    actions = torch.from_numpy(np.asarray(env.action_space.sample()))
    observations, rewards, *_ = env.step_tensors(actions)
    assert torch.equal(rewards, reward_of(before.count, code_of(SPECS[kind], actions)).float())
    assert torch.equal(read(observations[..., -3:]).count, before.count + 1)


def test_a_start_of_ones_choice(kind):
    model = CountingWorldModel(CONTEXT, SIZE, kind)
    env = NeuralEnv(model)
    action = np.asarray(env.action_space.sample())
    code = code_of(SPECS[kind], action)
    frames = counting.paint(np.array([0, 1]), np.array([counting.NO_ACTION, code]), 77, SIZE)
    observation, _ = env.reset(options={"frames": frames, "actions": action[None]})
    assert read(observation[..., -3:]).action == code
    with pytest.raises(UserError, match="one fewer than frames"):
        env.reset(options={"frames": frames, "actions": action[None].repeat(2, axis=0)})


def test_starts_of_another_kind_of_action_are_refused(reader, kind):
    other = "box" if kind != "box" else "discrete"
    starts = draw_starts(reader, 5, CONTEXT, np.random.default_rng(0))
    with pytest.raises(UserError, match="starts' actions"):
        NeuralEnv(CountingWorldModel(CONTEXT, SIZE, other), starts=starts)


def test_imagination_keeps_the_convention_for_time(reader, kind):
    dreams = {
        "world_model": CountingWorldModel(CONTEXT, SIZE, kind),
        "starts": draw_starts(reader, 30, CONTEXT, np.random.default_rng(0)),
        "horizon": 9,
    }
    config = (
        ImaginationPPOConfig()
        .environment("envs:NeuralEnv-v0", env_config=dreams)
        .imagination(dreams=8)
        .rl_module(model_config=MODEL)
        .debugging(seed=0)
    )
    runner = ImaginationEnvRunner(config=config)
    rollout, report = runner.imagine(60)
    seen = read(rollout.observations[..., -3:])
    code = code_of(SPECS[kind], runner.module.policy.executed(rollout.actions))
    played = ~rollout.skipped
    assert torch.equal(rollout.rewards[played], reward_of(seen.count, code)[played].float())
    assert torch.equal(seen.action[1:][played[:-1]], code[:-1][played[:-1]])
    assert report.finished > 5 and rollout.actions.dtype == torch.from_numpy(SPECS[kind].zeros()).dtype


def test_random_play_takes_all_actions_equally_often(kind):
    spec = SPECS[kind]
    actions = RandomPolicy(spec).act(np.zeros((20_000, 1)), np.random.default_rng(0))
    assert (actions.dtype, actions.shape) == (spec.dtype, (20_000, *spec.shape))
    components = actions.reshape(20_000, -1).T
    if kind == "box":
        for component, low, high in zip(components, spec.low, spec.high, strict=True):
            assert low <= component.min() < component.max() <= high
            assert np.allclose(np.histogram(component, 4, (low, high))[0] / 20_000, 0.25, atol=0.02)
    else:
        for component, size in zip(components, spec.sizes, strict=True):
            assert np.allclose(np.bincount(component) / 20_000, 1 / size, atol=0.02)
        assert np.abs(np.corrcoef(components)).sum() < len(components) + 0.1


@pytest.mark.parametrize("spec", SPECS.values(), ids=str)
def test_draws_have_the_probabilities_of_rllibs_distribution(spec):
    torch.manual_seed(0)
    head = policy_head(4, spec)
    with torch.no_grad():
        head.weight.mul_(100)
    inputs = head(torch.randn(1, 4)).detach().expand(50_000, -1)
    theirs = head.distribution.from_logits(inputs)
    actions, log_probabilities = head.draw(inputs, torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_probabilities, theirs.logp(actions), atol=1e-5, rtol=1e-5)
    ours, rllibs = (actions.float().view(50_000, -1), theirs.sample().float().view(50_000, -1))
    torch.testing.assert_close(ours.mean(0), rllibs.mean(0), atol=0.03, rtol=0.02)
    torch.testing.assert_close(ours.std(0), rllibs.std(0), atol=0.03, rtol=0.02)
    best = theirs.to_deterministic().sample()
    torch.testing.assert_close(head.mode(inputs), best.view_as(actions), check_dtype=False)


def test_numbers_are_clipped_where_they_are_executed_and_nowhere_else():
    head = policy_head(4, SPECS["box"])
    inputs = torch.zeros(2000, 4)
    actions, log_probabilities = head.draw(inputs, torch.Generator().manual_seed(0))
    assert actions.min() < -2 and actions.max() > 2
    torch.testing.assert_close(log_probabilities, torch.distributions.Normal(0, 1).log_prob(actions).sum(-1))
    executed = head.executed(actions)
    assert executed.amin(0).tolist() == [-2.0, 0.0] and executed.amax(0).tolist() == [1.0, 5.0]
    torch.testing.assert_close(head.executed(torch.tensor([[0.0, 0.5]])), torch.tensor([[-0.5, 3.75]]))


@pytest.mark.parametrize("greedy", [True, False])
def test_a_policy_plays_the_real_game(kind, tmp_path, greedy):
    save_policy(tmp_path, snapshot(policy_of(kind)))
    policy = load_policy(tmp_path)
    assert policy.spec == policy_of(kind)
    actions = ModulePolicy(policy, greedy).act(np.zeros((50, SIZE, SIZE, 12), np.uint8), np.random.default_rng(0))
    assert (actions.dtype, actions.shape) == (SPECS[kind].dtype, (50, *SPECS[kind].shape))
    assert (len(np.unique(actions, axis=0)) == 1) == greedy
    evaluator = Evaluator(GameSettings(f"counting:Counting-{kind}-v0"), SIZE, 2, longest=100)
    judged = evaluator.evaluate(3, 0, policy, greedy=greedy)
    assert len(judged.returns) == 3


def test_an_expert_is_trained(kind, cluster):
    settings = ExpertSettings(
        steps=60, game=GameSettings(f"counting:Counting-{kind}-v0"), frame_size=SIZE, stack=1, envs=2, rollout=10,
        minibatch=20, epochs=1, threads=1,
    )  # fmt: skip
    expert = train_expert(settings, NullProgress())
    assert expert.spec.actions.fits(SPECS[kind]) and expert.real_steps > 0


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["multi_discrete", "box"])
def test_dyna_goes_round(kind, cluster, tmp_path):
    """Collect, fit, imagine and judge, twice: the second time with play by what was trained."""
    settings = replace(MINIATURE, game=GameSettings(f"counting:Counting-{kind}-v0"))
    algorithm = DynaConfig(settings, folder=tmp_path).build_algo()
    for _ in range(2):
        algorithm.train()
    algorithm.save_round(tmp_path / "saved")
    algorithm.stop()
    reader = BufferReader(tmp_path / "buffer")
    assert algorithm.last_report.round == 2
    assert {record.info.source for record in reader.episodes} == {"random", "policy"}
    specs = [reader.action_spec, load_policy(tmp_path / "saved" / "policy").spec.actions,
             load_world_model(tmp_path / "saved" / "world_model").action_spec]  # fmt: skip
    assert all(spec.fits(SPECS[kind]) for spec in specs)
    assert losses_of(reader, kind, size=32)["action"] == 0
