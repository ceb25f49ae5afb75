from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from counting import NUM_ACTIONS
from diamond import outputs, published_file, published_weights

from envs.real import action_spec, make_real
from rl.evaluator import Evaluator
from rl.players import Glimpse, Players
from rl.policies import PolicySnapshot, PolicySpec, load_policy, save_policy
from rl.recurrent import RecurrentConfig, RecurrentNetwork, published_policy, recurrent_player
from rl.settings import GameSettings
from worldmodel.errors import UserError
from worldmodel.pixel.published import read_published
from worldmodel.spaces import ActionSpec

torch.set_num_threads(1)

CONFIG = RecurrentConfig(channels=(8, 16), hidden=12)
SPEC = PolicySpec("frames", (8, 8, 3), 1, ActionSpec.discrete(NUM_ACTIONS), asdict(CONFIG), network="recurrent")


def snapshot(seed=0, spec=SPEC):
    torch.manual_seed(seed)
    network = RecurrentNetwork(CONFIG, spec.observation_shape, spec.actions)
    for parameter in network.parameters():
        parameter.data += torch.randn_like(parameter) / 3
    return PolicySnapshot(spec, {name: tensor.numpy() for name, tensor in network.state_dict().items()}, 3)


def frames(*shape):
    return np.random.default_rng(0).integers(256, size=(*shape, 8, 8, 3)).astype(np.uint8)


def glimpse(seen, restarted=False):
    return Glimpse(seen, np.full(len(seen), restarted))


def rng():
    return np.random.default_rng(0)


# DIAMOND's own.


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    file = read_published(published_file(tmp_path_factory.mktemp("published")))
    return published_policy(file.policy, file.world_model.action_spec)


def test_after_four_frames_it_says_what_theirs_says(published):
    told = outputs()
    player = recurrent_player(published, greedy=False)
    player.view.start([glimpse(seen) for seen in told["frames"].numpy().swapaxes(0, 1)])
    remembered = torch.from_numpy(player.view.of(np.array([0])))
    network = player.policy.network
    torch.testing.assert_close(network.policy(remembered), told["policy_logits"], atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(network.value(remembered)[:, 0], told["policy_value"], atol=1e-4, rtol=1e-5)


def test_its_size_is_the_published_one(published):
    assert sum(array.size for array in published.weights.values()) == 3_229_637


def test_weights_of_another_policy_are_refused():
    theirs = ((name.removeprefix("actor_critic."), tensor) for name, tensor in published_weights().items())
    own = {name: tensor for name, tensor in theirs if name.startswith(("encoder.", "lstm.", "actor_", "critic_"))}
    del own["lstm.bias_hh"]
    with pytest.raises(UserError, match=r"lstm\.bias_hh"):
        published_policy(own, ActionSpec.discrete(4))


# What it remembers.


def test_it_remembers_what_came_before():
    player, games = recurrent_player(snapshot(), greedy=True), np.arange(2)
    one, other, newest = frames(3, 2)
    seen = []
    for first in (one, other):
        player.view.start([glimpse(first, True), glimpse(newest)])
        seen.append(player.view.of(games))
    assert (seen[0] != seen[1]).any(1).all()


def test_games_that_begin_are_remembered_afresh_and_no_others():
    player, games = recurrent_player(snapshot(), greedy=True), np.arange(2)
    before, newest = frames(2, 2)
    player.view.start([glimpse(before, True)])
    player.view.look(Glimpse(newest, np.array([True, False])), games)
    after = player.view.of(games)
    player.view.start([glimpse(newest, True)])
    fresh = player.view.of(games)
    np.testing.assert_allclose(after[0], fresh[0], atol=1e-6)
    assert not np.allclose(after[1], fresh[1])


def test_only_the_games_that_it_looks_at_are_remembered():
    player = recurrent_player(snapshot(), greedy=True)
    before, newest = frames(2, 3)
    player.view.start([glimpse(before, True)])
    first = player.view.of(np.arange(3))
    player.view.look(glimpse(newest), np.array([1]))
    after = player.view.of(np.arange(3))
    assert (first != after).any(1).tolist() == [False, True, False]


def test_greedy_is_the_likeliest_action_and_sampled_is_the_softmax():
    player = recurrent_player(snapshot(), greedy=True)
    remembered = np.repeat(np.random.default_rng(1).normal(size=(1, 12)).astype(np.float32), 4000, axis=0)
    shares = player.policy.network.policy(torch.from_numpy(remembered[:1])).softmax(-1)[0]
    assert set(player.policy.act(remembered, rng()).tolist()) == {int(shares.argmax())}
    drawn = recurrent_player(snapshot(), greedy=False).policy.act(remembered, rng())
    np.testing.assert_allclose(np.bincount(drawn, minlength=3) / 4000, shares.detach(), atol=0.03)


# Where it plays.


def test_a_saved_policy_comes_back(tmp_path):
    saved = snapshot()
    save_policy(tmp_path, saved)
    loaded = load_policy(tmp_path, source="expert")
    assert loaded.spec.network == "recurrent"
    one, other = (recurrent_player(policy, greedy=True) for policy in (saved, loaded))
    for player in (one, other):
        player.view.start([glimpse(frames(5))])
    assert np.array_equal(one.view.of(np.arange(5)), other.view.of(np.arange(5)))
    assert other.policy.source == "expert"


def test_it_plays_real_games_to_their_end():
    evaluator = Evaluator(GameSettings("counting:Counting-v0"), 8, envs=2)
    judged = evaluator.evaluate(3, seed=0, policy=snapshot(), greedy=False)
    assert len(judged.returns) == 3
    assert judged == evaluator.evaluate(3, seed=0, policy=snapshot(), greedy=False)


def test_it_is_refused_in_a_game_of_other_actions():
    env = make_real("counting:Counting-v0", 1, frame_size=8)
    odd = snapshot(spec=replace(SPEC, actions=ActionSpec.discrete(5)))
    with pytest.raises(UserError, match="5 actions"):
        Players(action_spec(env)).trained(odd, None)


def test_weights_that_are_not_its_networks_are_refused():
    odd = replace(snapshot(), weights={"policy.bias": np.zeros(3, np.float32)})
    with pytest.raises(UserError, match="do not fit"):
        recurrent_player(odd, greedy=True)
