"""The pixel family against DIAMOND's own outputs: float32, 1e-4, and three hundred-thousandths of what is large."""

import pytest
import torch
from diamond import SHAPES, outputs, published_file, published_weights

from worldmodel.errors import UserError
from worldmodel.pixel.outcomes import Memory
from worldmodel.pixel.published import read_published
from worldmodel.pixel.sampler import sample

torch.set_num_threads(1)


def close(ours, theirs):
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=3e-5)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return read_published(published_file(tmp_path_factory.mktemp("published")))


@pytest.fixture(scope="module")
def model(published):
    return published.world_model


@pytest.fixture(scope="module")
def context():
    """The frames as networks see them."""
    return outputs()["frames"].permute(0, 1, 4, 2, 3) / 255 * 2 - 1


@pytest.fixture(scope="module")
def calls(model, context):
    """What the denoiser says and what it means by it, at every call of a frame, on the noise that they had there."""
    told = outputs()
    noisy = torch.cat([told["noise"], told["step1_noisy"], told["step2_noisy"]])
    with torch.no_grad():
        said = model.denoiser(noisy, model.sigmas[:3], context.expand(3, -1, -1, -1, -1), told["actions"].expand(3, -1))
    c = model.denoiser.preconditioning(model.sigmas[:3])
    return said, c.c_skip * noisy + c.c_out * said


def test_its_sizes_are_the_published_ones(model):
    unknown = 64 + 128  # the rows for actions that are not known
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert parameters == 4_405_955 + 5_900_864 + unknown
    assert len(SHAPES) == 372


def test_every_tensor_of_the_file_is_used(published):
    own = [name for name in published.world_model.state_dict() if "bounds" not in name and "familiarity" not in name]
    assert len(own) + len(published.policy) == len(SHAPES)
    assert set(published.policy) == {name.removeprefix("actor_critic.") for name in SHAPES if "actor_" in name}


def test_it_has_no_doubt_since_nobody_told_what_is_familiar(model):
    pairs = torch.rand(3, 2, 3, 64, 64) * 2 - 1
    assert model.doubt(pairs).tolist() == [0, 0, 0]
    assert model.doubt_limit == torch.inf


def test_it_is_told_of_the_same_noise(model):
    close(model.sigmas, outputs()["sigmas"])


@pytest.mark.parametrize("call", range(3))
def test_the_denoiser_says_the_same(calls, call):
    close(calls[0][call], outputs()[f"step{call}_output"][0])


@pytest.mark.parametrize("call", range(3))
def test_it_means_the_same_frame_by_it(calls, call):
    close(calls[1][call], outputs()[f"step{call}_denoised"][0])


def test_the_steps_lead_from_the_same_noise_to_the_same_frame(model):
    told, seen = outputs(), []

    def denoise(noisy, sigma):
        seen.append(noisy)
        return model.denoiser.to_levels(told[f"step{len(seen) - 1}_denoised"])

    final = sample(denoise, told["noise"], model.sigmas)
    for noisy, name in zip(seen, ("noise", "step1_noisy", "step2_noisy"), strict=True):
        close(noisy, told[name])
    close(final, told["final"])


def test_rewards_and_ends_are_told_alike_before_and_after_the_memory_is_filled(model, context):
    told = outputs()
    with torch.no_grad():
        before, memory = model.outcomes(context, told["actions"][:, :-1])
        frames = torch.cat([context[:, -1:], told["step2_denoised"][:, None].clamp(-1, 1)], dim=1)
        after, _ = model.outcomes(frames, told["actions"][:, -1:], memory)
    close(before.rewards, told["burnin_reward_logits"])
    close(before.ends, told["burnin_end_logits"])
    close(after.rewards, told["next_reward_logits"])
    close(after.ends, told["next_end_logits"])


def test_a_dream_remembers_what_they_burn_in(model, context):
    told = outputs()
    dream = model.begin(told["frames"], told["actions"][:, :-1], torch.ones(1, 4, dtype=torch.bool))
    with torch.no_grad():
        frames = torch.cat([dream.frames[:, -1:], told["step2_denoised"][:, None].clamp(-1, 1)], dim=1)
        after, _ = model.outcomes(frames, told["actions"][:, -1:], Memory(dream.hidden, dream.cell))
    close(after.rewards, told["next_reward_logits"])


def test_where_nothing_was_played_it_sees_grey_and_action_0_as_they_trained_it(model):
    """They pad with zeros, a grey that no frame has, and with action 0."""
    mask = torch.tensor([[False, False, True, True]])
    dream = model.begin(torch.randint(256, (1, 4, 64, 64, 3), dtype=torch.uint8), torch.tensor([[3, 2, 1]]), mask)
    assert not dream.frames[:, :2].any()
    with torch.no_grad():
        padded, _ = model.outcomes(dream.frames, torch.tensor([[0, 0, 1]]))
        ours, _ = model.outcomes(dream.frames, dream.actions)
    close(ours.rewards, padded.rewards)


def test_it_keeps_the_floor_of_its_training(model):
    levels = torch.tensor([[[[0.9, 100.5, 254.9]]]])
    drawn = (model.denoiser.to_levels(levels / 255 * 2 - 1) + 1) / 2 * 255
    close(drawn, torch.tensor([[[[0.0, 100.0, 254.0]]]]))
    assert model.config.quantise == "floor"


# Files that are not what they should be.


def refused(path, *names):
    with pytest.raises(UserError) as refusal:
        read_published(path, names)
    assert str(path) in str(refusal.value)
    return str(refusal.value)


def test_a_missing_file_is_told(tmp_path):
    assert "cannot be read" in refused(tmp_path / "Breakout.pt")


def test_a_damaged_file_is_told(tmp_path):
    whole = published_file(tmp_path)
    whole.write_bytes(whole.read_bytes()[:-5000])
    assert "cannot be read" in refused(whole)


def test_what_is_no_file_of_weights_is_told(tmp_path):
    (tmp_path / "README.md").write_text("# Models")
    assert "cannot be read" in refused(tmp_path / "README.md")


class Stranger:
    """What no file of weights may hold."""


@pytest.mark.parametrize("content", [[1, 2], {"denoiser": Stranger()}, {"epoch": 3}], ids=["list", "object", "number"])
def test_what_is_no_dictionary_of_tensors_is_refused_and_not_executed(tmp_path, content):
    torch.save(content, tmp_path / "model.pt")
    refused(tmp_path / "model.pt")


@pytest.mark.parametrize("spoil", ["lacking", "odd", "table"])
def test_weights_of_another_network_are_refused(tmp_path, spoil):
    weights = published_weights()
    if spoil == "lacking":
        del weights["denoiser.inner_model.unet.mid_blocks.resblocks.0.attn.qkv_proj.bias"]
    elif spoil == "odd":
        weights["rew_end_model.head.0.weight"] = torch.zeros(3, 3)
    else:
        del weights["rew_end_model.act_emb.weight"]
    torch.save(weights, tmp_path / "model.pt")
    assert "DIAMOND" in refused(tmp_path / "model.pt")


def test_names_that_are_not_as_many_as_its_actions_are_refused(tmp_path):
    assert "4 actions, the game 2" in refused(published_file(tmp_path), "NOOP", "FIRE")
