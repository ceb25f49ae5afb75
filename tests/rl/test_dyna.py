"""The whole loop in miniature, on the counting game."""

import shutil
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import ray
import torch
from counting import NUM_ACTIONS, CountingEnv, length_of
from miniature import MINIATURE, begun_from
from ray.exceptions import RayActorError
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from safetensors.numpy import load_file

from envs.neural_vector import NeuralVectorEnv
from envs.real_dreams import RealDreams
from rl import gathering
from rl.agent_learner import AGENT_FIGURES
from rl.buffer import BufferWriter
from rl.dyna import Dyna, DynaConfig
from rl.policies import save_policy
from rl.round_report import RoundReport
from worldmodel.data.chunk import chunk_file
from worldmodel.data.index import read_index
from worldmodel.data.reader import BufferReader
from worldmodel.data.starts import Starts
from worldmodel.errors import UserError
from worldmodel.latent.model import LatentWorldModel

COLLECT, EVALUATE, IMAGINE = MINIATURE.collect, MINIATURE.evaluate, MINIATURE.imagine
PIECE = 60
FIRST_CHUNKS = COLLECT.first_steps // PIECE


@dataclass
class Run:
    """Two rounds of Dyna that were played, and what was seen of them; each list goes by rounds.

    `dreamed` and `learned` count observations: those from which a dream went on, and those that reached the loss.
    """

    folder: Path
    reserved: list[dict]
    cpus_taken: float
    actors: list
    reports: list[RoundReport] = field(default_factory=list)
    results: list[dict] = field(default_factory=list)
    weights: list[dict] = field(default_factory=list)
    dreamed_in: list[dict] = field(default_factory=list)
    world_models: list[dict] = field(default_factory=list)
    starts: list[Starts] = field(default_factory=list)
    dreamed: Counter = field(default_factory=Counter)
    learned: Counter = field(default_factory=Counter)

    def go_round(self, algorithm, number):
        self.results.append(algorithm.train())
        self.reports.append(algorithm.last_report)
        self.weights.append(policy_of(algorithm))
        self.dreamed_in.append(dreams_of(algorithm))
        self.world_models.append(model_of(algorithm))
        self.starts.append(algorithm.runner.dreams._starts)
        algorithm.save_round(self.folder / str(number))


def keys(observations):
    return [row.tobytes() for row in observations.numpy()]


def build(folder, **changes):
    return DynaConfig(replace(MINIATURE, **changes), folder=folder).build_algo()


def policy_of(algorithm):
    return {name: value.clone() for name, value in algorithm.runner.module.state_dict().items()}


def model_of(algorithm):
    """What the learner has, as a model without an adapter."""
    return {name: torch.tensor(array) for name, array in algorithm._crew.world_model.weights().items()}


def dreams_of(algorithm):
    return {name: value.clone() for name, value in algorithm.runner.dreams.world_model.state_dict().items()}


def saved_model(folder):
    return LatentWorldModel.from_pretrained(folder / "world_model")


def actors_of(algorithm):
    return [member.actor for member in algorithm._crew.all]


@contextmanager
def watching(run):
    step, loss = NeuralVectorEnv.step_tensors, PPOTorchLearner.compute_loss_for_module

    def watched_step(self, actions):
        run.dreamed.update(keys(self._stacked[~self.needs_reset]))
        return step(self, actions)

    def watched_loss(self, *, batch, **others):
        run.learned.update(keys(batch[Columns.OBS]))
        return loss(self, batch=batch, **others)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NeuralVectorEnv, "step_tensors", watched_step)
        patch.setattr(PPOTorchLearner, "compute_loss_for_module", watched_loss)
        yield


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def delivered(folder, number):
    """What was delivered in a round, in that order."""
    chunks = read_index(folder / "buffer").there
    return [piece for chunk in chunks for piece in chunk.episodes if piece.info.round == number]


def by_round(folder, number):
    reader = BufferReader(folder / "buffer")
    return [episode for episode in reader.episodes if episode.info.round == number]


def versions_of(episodes):
    return {(e.info.source, e.info.policy_version, e.info.world_model_version) for e in episodes}


def steps_of(episodes):
    return sum(episode.length for episode in episodes)


def judging_seeds():
    return np.random.default_rng([MINIATURE.seed, 0]).integers(2**31, size=EVALUATE.episodes).tolist()


def judging_lengths():
    """How long the games last that agents are judged by: their seeds alone say it."""
    env = CountingEnv()
    tags = [env.reset(seed=seed)[0][2] for seed in judging_seeds()]
    return tuple(int(length_of(tag)) for tag in tags)


@pytest.fixture(scope="module", autouse=True)
def pieces():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gathering, "_PIECE", PIECE)
        yield


@pytest.fixture
def made(cluster, tmp_path):
    """Makes algorithms and stops them."""
    algorithms = []

    def make(**changes):
        algorithms.append(build(tmp_path, **changes))
        return algorithms[-1]

    yield make
    for algorithm in algorithms:
        algorithm.stop()


@pytest.fixture(scope="module")
def run(cluster, tmp_path_factory):
    folder, there = tmp_path_factory.mktemp("run"), ray.available_resources()["CPU"]
    algorithm = build(folder)
    taken = there - ray.available_resources()["CPU"]
    run = Run(folder, Dyna.default_resource_request(algorithm.config).bundles, taken, actors_of(algorithm))
    try:
        with watching(run):
            for number in (1, 2):
                run.go_round(algorithm, number)
        run.results[1] |= algorithm.evaluate()
    finally:
        algorithm.stop()
    return run


def test_the_buffer_has_the_real_steps_that_were_asked_for(run):
    asked = (COLLECT.first_steps, COLLECT.steps)
    for number, steps in enumerate(asked, start=1):
        assert 0 <= steps_of(by_round(run.folder, number)) - steps < COLLECT.envs
    reader = BufferReader(run.folder / "buffer")
    assert run.reports[1].real_steps == reader.num_steps == steps_of(by_round(run.folder, 1) + by_round(run.folder, 2))
    assert reader.num_chunks == FIRST_CHUNKS + COLLECT.steps // PIECE


def test_no_two_calls_to_a_collector_draw_the_same_actions(run):
    first, second = (load_file(run.folder / "buffer" / chunk_file(number))["actions"] for number in (1, 2))
    least = min(len(first), len(second))
    assert least > 10 and not np.array_equal(first[:least], second[:least])


def test_the_games_that_judge_the_agent_stay_out_of_the_buffer(run):
    seeds = {episode.info.seed for episode in BufferReader(run.folder / "buffer").episodes}
    assert not seeds & set(judging_seeds())
    judged = sum(judging_lengths())
    assert [report.evaluation_steps for report in run.reports] == [3 * judged, 4 * judged]


def test_the_judge_is_the_real_game(run):
    """Its games last as long as their seeds say, and pay ten times the count and at most 2 for the action."""
    lengths = np.array(judging_lengths())
    counted = (10 * lengths * (lengths - 1) / 2).mean()
    for report in run.reports:
        assert report.after.lengths == tuple(lengths)
        assert counted <= report.after.mean <= counted + 2 * lengths.mean()


def test_evaluating_again_gives_the_same(run):
    mean = run.reports[1].after.mean
    assert run.results[1]["env_runners"] == {"episode_return_mean": mean, "num_episodes": EVALUATE.episodes}
    assert run.results[1]["dyna"]["real_return"] == mean


def test_the_first_round_is_played_at_random_and_the_second_by_the_stated_shares(run):
    assert {episode.info.source for episode in by_round(run.folder, 1)} == {"random"}
    second = by_round(run.folder, 2)
    played = [episode for episode in second if episode.info.source == "policy"]
    share = steps_of(played) / steps_of(second)
    # Games are given away whole, and the longest lasts 32 steps.
    assert abs(share - (1 - COLLECT.random)) < 32 / PIECE
    assert versions_of(second) == {("random", 0, 0), ("policy", 1, 1)}


def test_every_gradient_comes_from_imagined_transitions(run):
    """Each row that reached the loss was seen in a dream, and reached it once an epoch: no real ones are left over."""
    assert sum(run.dreamed.values()) == run.reports[1].imagined_steps >= 2 * IMAGINE.steps
    assert run.learned == Counter({key: IMAGINE.epochs * count for key, count in run.dreamed.items()})


def test_the_agent_and_its_model_learn_in_every_round(run):
    assert not same(*run.weights)
    assert run.reports[0].parameters_trained > run.reports[1].parameters_trained > 0
    assert run.reports[0].before is not None and run.reports[1].before is None
    assert {"collect", "fit adapter", "fit head", "hand over", "imagine", "evaluate", "judge dream"} == set(
        run.reports[1].seconds
    )


def test_every_round_tells_how_the_agent_learned(run):
    for report in run.reports:
        told = {name: report.scalars[f"agent/{name}"] for name in AGENT_FIGURES}
        assert 0 < told["entropy"] <= np.log(NUM_ACTIONS) and told["kl"] > 0 and told["value_loss"] > 0
    assert run.reports[0].scalars["agent/kl"] != run.reports[1].scalars["agent/kl"]


def test_the_adapter_comes_with_the_second_round_and_leaves_the_base_alone(run):
    first, second = run.folder / "1" / "world_model", run.folder / "2" / "world_model"
    assert not (first / "adapter").exists() and (second / "adapter").exists()
    for base in ("unet/diffusion_pytorch_model.safetensors", "vae/diffusion_pytorch_model.safetensors"):
        assert (first / base).read_bytes() == (second / base).read_bytes()
    plain, adapted = (saved_model(run.folder / number).fused_state() for number in ("1", "2"))
    changed = {name.partition(".")[0] for name in plain if not torch.equal(plain[name], adapted[name])}
    assert changed == {"denoiser", "familiarity", "head"}


def test_the_dreams_follow_the_learner(run):
    for number, (dreamed, learned) in enumerate(zip(run.dreamed_in, run.world_models, strict=True), start=1):
        assert same(dreamed, learned)
        assert same(dreamed, saved_model(run.folder / str(number)).fused_state())
    assert not same(*run.dreamed_in)


def test_dreams_begin_from_latents_that_the_learner_has_anyway(run):
    for number, starts in enumerate(run.starts, start=1):
        some, model = slice(0, len(starts), 50), saved_model(run.folder / str(number))
        encoded = model.encode(torch.from_numpy(starts.frames[some]).flatten(0, 1))
        told = torch.from_numpy(starts.latents[some]).flatten(0, 1)
        torch.testing.assert_close(told, encoded, atol=1e-4, rtol=1e-4)


def test_rllibs_other_way_to_restore_is_refused_with_the_one_that_works():
    with pytest.raises(UserError, match=r"restore\(\)"):
        Dyna.from_checkpoint("somewhere")


def test_it_reserves_what_its_actors_take(run):
    # The agent itself runs in this process, which Ray does not count.
    assert run.reserved[0] == {"CPU": 1} and sum(bundle["CPU"] for bundle in run.reserved[1:]) == run.cpus_taken == 1


def test_no_actor_outlives_it(run):
    for actor in run.actors:
        with pytest.raises(RayActorError):
            ray.get(actor.__ray_ready__.remote(), timeout=30)


def test_a_round_that_was_killed_goes_on_from_the_last_finished_one(run, made, tmp_path):
    """Of round 2, one piece is in the buffer: the rest is collected, and no more."""
    shutil.copytree(run.folder / "buffer", tmp_path / "buffer")
    spec = BufferReader(tmp_path / "buffer").action_spec
    BufferWriter(tmp_path / "buffer", (32, 32, 3), spec, COLLECT.capacity).truncate(FIRST_CHUNKS + 1)
    there = delivered(tmp_path, 2)
    algorithm = made()
    algorithm.load_round(run.folder / "1")
    assert same(policy_of(algorithm), run.weights[0])
    assert same(model_of(algorithm), run.world_models[0])
    assert same(dreams_of(algorithm), run.world_models[0])
    assert algorithm.evaluate()["env_runners"]["episode_return_mean"] == run.reports[0].after.mean
    result, report = algorithm.train(), algorithm.last_report
    collected = by_round(tmp_path, 2)
    assert report.round == result["dyna"]["round"] == result["training_iteration"] == 2
    assert delivered(tmp_path, 2)[: len(there)] == there and 0 < len(there) < len(delivered(tmp_path, 2))
    assert 0 <= steps_of(collected) - COLLECT.steps < COLLECT.envs
    assert report.real_steps == steps_of(by_round(tmp_path, 1) + collected)
    assert report.imagined_steps > run.reports[0].imagined_steps
    assert report.evaluation_steps == 5 * sum(judging_lengths())
    assert versions_of(collected) == {("random", 0, 0), ("policy", 1, 1)}
    algorithm._collect(3)
    collected = by_round(tmp_path, 3)
    algorithm._collect(3)
    assert by_round(tmp_path, 3) == collected, "what a round that was killed had collected was collected again"


def check_dreams(algorithm, dreams, shape):
    """A round was trained in dreams of that kind, and judged."""
    assert isinstance(algorithm.runner.dreams, dreams)
    assert algorithm.runner.dreams.single_observation_space.shape == shape
    assert algorithm.last_report.imagined_steps >= IMAGINE.steps
    assert algorithm.last_report.after.lengths == judging_lengths()


def test_the_real_game_may_be_the_dream_and_an_expert_may_play(made, tmp_path):
    _, expert = begun_from(tmp_path / "expert", "frames", (32, 32, 3))
    save_policy(tmp_path / "expert", replace(expert, real_steps=77))
    collect = replace(COLLECT, expert=0.5, expert_policy=tmp_path / "expert")
    algorithm = made(collect=collect, imagine=replace(IMAGINE, dream="real"))
    assert algorithm.train()["dyna"]["expert_steps"] == algorithm.last_report.expert_steps == 77
    check_dreams(algorithm, RealDreams, (8, 8, 4 * IMAGINE.stack))
    steps = Counter()
    for episode in by_round(tmp_path, 1):
        steps[episode.info.source] += episode.length
    assert algorithm.last_report.real_steps == steps.total()
    assert set(steps) == {"expert", "random"}
    assert steps["expert"] / steps.total() == pytest.approx(0.5, abs=0.2), "games are given away whole"


def test_a_new_agent_learns_in_every_round_if_it_is_told_so(made, monkeypatch, tmp_path):
    begun, begin_anew = [], Dyna.begin_anew
    monkeypatch.setattr(Dyna, "begin_anew", lambda self, weights: begun.append(weights) or begin_anew(self, weights))
    algorithm = made(imagine=replace(IMAGINE, afresh=True))
    algorithm.train()
    saved = algorithm.save_to_path(tmp_path / "round")
    before, model = policy_of(algorithm), model_of(algorithm)
    assert not begun
    algorithm.train()
    (weights,) = begun
    assert weights.keys() == before.keys()
    assert all(not np.array_equal(weights[name], before[name]) for name in weights if name.endswith("weight"))
    assert not same(model_of(algorithm), model)
    algorithm.restore_from_path(saved)
    assert same(model_of(algorithm), model) and same(dreams_of(algorithm), model), "RLlib alone keeps no world model"
    assert same(policy_of(algorithm), before)
    algorithm.train()
    assert all(np.array_equal(begun[1][name], value) for name, value in weights.items()), "drawn from seed and round"


def test_frames_are_seen_and_dreams_shuffled_and_a_saved_policy_taken_up(made, tmp_path):
    """The first round's agent goes on from the policy, and the second's from the first."""
    imagine, policy = begun_from(tmp_path / "begun", "frames", (32, 32, 3))
    algorithm = made(imagine=replace(imagine, dream="shuffled"))
    for _ in range(2):
        algorithm.train()
        check_dreams(algorithm, NeuralVectorEnv, (32, 32, 3 * IMAGINE.stack))
        for name, weight in policy_of(algorithm).items():
            np.testing.assert_allclose(weight.cpu().numpy(), policy.weights[name], atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"collect": replace(COLLECT, collectors=9)}, "needs 10 CPUs, the cluster has 4; lower --collect.collectors"),
        ({"cluster": replace(MINIATURE.cluster, agent_gpus=1.0)}, "needs 1 GPUs, the cluster has 0; lower --cluster"),
    ],
)
def test_more_than_the_cluster_has_is_refused_at_once(cluster, tmp_path, changes, sentence):
    with pytest.raises(UserError, match=sentence):
        build(tmp_path, **changes)


def test_a_name_that_is_no_setting_is_refused():
    with pytest.raises(UserError, match=r"fit\.step.*did you mean 'steps'"):
        DynaConfig(MINIATURE).tune({"fit.step": 3}).resolved()
