from copy import deepcopy

import pytest
import torch
from diffusers import UNet2DConditionModel
from tiny import CHANNELS, CONFIG, LATENT, SPEC, stir

from worldmodel.latent.adapter import attach
from worldmodel.latent.denoiser import Conditioner, build_unet, condition

CONTEXT = CONFIG.context
UNKNOWN = SPEC.sizes[0]


@pytest.fixture(scope="module")
def base():
    """A plain U-Net from elsewhere, that knows no context and no actions."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=4,
        in_channels=CHANNELS,
        out_channels=CHANNELS,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2,
        cross_attention_dim=8,
        attention_head_dim=4,
        norm_num_groups=8,
    )
    stir(unet, 0)
    return unet.eval()


def inputs(batch=3, seed=0):
    """Noisy target, timesteps, context, actions and noise level."""
    torch.manual_seed(seed)
    noisy, context = torch.randn(batch, *LATENT), torch.randn(batch, CONTEXT, *LATENT)
    actions, level = torch.randint(3, (batch, CONTEXT)), torch.randint(CONFIG.noise_levels, (batch,))
    return noisy, torch.randint(1000, (batch,)), context, actions, level


def stirred():
    torch.manual_seed(0)
    denoiser = condition(build_unet(CONFIG), CONFIG, SPEC).eval()
    stir(denoiser, 0)
    return denoiser


def test_the_widened_input_keeps_the_filters(base):
    unet = condition(deepcopy(base), CONFIG, SPEC).unet
    assert unet.conv_in.in_channels == unet.config.in_channels == CHANNELS * (CONTEXT + 1)
    assert torch.equal(unet.conv_in.weight[:, -CHANNELS:], base.conv_in.weight)
    assert not unet.conv_in.weight[:, :-CHANNELS].any()
    assert torch.equal(unet.conv_in.bias, base.conv_in.bias)


@torch.no_grad()
@pytest.mark.parametrize("adapted", [False, True])
def test_at_first_it_is_the_base_whatever_the_context(base, adapted):
    denoiser = condition(deepcopy(base), CONFIG, SPEC).eval()
    noisy, timesteps, context, actions, level = inputs()
    tokens, _ = denoiser.conditioner(actions, level)
    expected = base(noisy, timesteps, tokens).sample
    network = attach(denoiser, CONFIG.adapter) if adapted else denoiser
    for seen in (context, 100 * context, torch.zeros_like(context)):
        torch.testing.assert_close(network(noisy, timesteps, seen, actions, level), expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(base(noisy, timesteps, tokens + 1).sample, expected, atol=1e-5)


@torch.no_grad()
def test_everything_that_it_is_told_matters():
    denoiser, told = stirred(), inputs()
    expected = denoiser(*told)
    assert expected.shape == (3, *LATENT)
    assert expected.dtype == torch.float32
    noisy, timesteps, context, actions, level = told
    others = {
        "noisy": (noisy + 0.1, timesteps, context, actions, level),
        "timesteps": (noisy, (timesteps + 300) % 1000, context, actions, level),
        "order of the context": (noisy, timesteps, context.flip(1), actions, level),
        "causing action": (noisy, timesteps, context, changed(actions, -1), level),
        "oldest action": (noisy, timesteps, context, changed(actions, 0), level),
        "noise level": (noisy, timesteps, context, actions, (level + 1) % CONFIG.noise_levels),
    }
    for name, other in others.items():
        difference = (denoiser(*other) - expected).abs().amax((1, 2, 3))
        assert (difference > 1e-4).all(), name


def changed(actions, place):
    actions = actions.clone()
    actions[:, place] = (actions[:, place] + 1) % 3
    return actions


@torch.no_grad()
def test_swapping_two_actions_changes_the_prediction():
    denoiser, (noisy, timesteps, context, _, level) = stirred(), inputs()
    one, other = torch.tensor([[0, 1, 2, 1]]).expand(3, -1), torch.tensor([[0, 2, 1, 1]]).expand(3, -1)
    difference = denoiser(noisy, timesteps, context, one, level) - denoiser(noisy, timesteps, context, other, level)
    assert (difference.abs().amax((1, 2, 3)) > 1e-4).all()


@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch():
    denoiser, told = stirred(), inputs(batch=5)
    together = denoiser(*told)
    torch.testing.assert_close(denoiser(*(tensor[3:4] for tensor in told)), together[3:4], atol=1e-5, rtol=1e-5)


@pytest.fixture
def conditioner():
    torch.manual_seed(0)
    return Conditioner(SPEC, context=CONTEXT, noise_levels=10, width=8, dim=8)


@torch.no_grad()
def test_the_history_is_ordered(conditioner):
    history = torch.tensor([[0, 1, 2, 0], [1, 0, 2, 0], [0, 0, 1, 2]])
    tokens, vector = conditioner(history, torch.zeros(3, dtype=torch.long))
    assert tokens.shape == (3, CONTEXT + 1, 8)
    assert torch.equal(vector, tokens.flatten(1))
    assert (torch.cdist(vector, vector) + 9 * torch.eye(3) > 0.1).all()
    # Attention sees a set of tokens: were it not for the positions, these two would be the same set.
    assert torch.cdist(tokens[0], tokens[1])[:CONTEXT, :CONTEXT].fill_diagonal_(9)[:2].amin() > 1e-3


@torch.no_grad()
def test_unknown_actions_are_an_action_of_their_own(conditioner):
    known = conditioner.action(torch.arange(UNKNOWN))
    level = torch.zeros(1, dtype=torch.long)
    tokens, _ = conditioner(torch.full((1, CONTEXT), UNKNOWN), level)
    assert (torch.cdist(tokens[0, :1] - conditioner.position[0], known) > 0.1).all()
