import pytest
import torch
from tiny import SIZE, noise_frames
from tiny_pixel import begun, dreamed, tiny_pixel

from worldmodel.base import Step
from worldmodel.errors import UserError
from worldmodel.pixel.blocks import UNet
from worldmodel.pixel.config import EulerConfig, OutcomeConfig, PixelConfig, UNetConfig
from worldmodel.pixel.model import PixelDream
from worldmodel.pixel.outcomes import Outcome, drawn
from worldmodel.spaces import ActionSpec

SPECS = [
    ActionSpec.discrete(3),
    ActionSpec.multi_discrete((3, 2)),
    ActionSpec.multi_binary(3),
    ActionSpec.box((-2.0, 0.0), (1.0, 5.0)),
]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def from_nothing_done(model, frames):
    """Dreams after these frames and action 0."""
    nothing = torch.zeros(len(frames), 3, dtype=torch.long)
    return model.begin(frames, nothing, torch.ones(len(frames), 4, dtype=torch.bool))


# Dreams.


def test_a_dream_begins_with_what_was_seen():
    model, frames = tiny_pixel(), noise_frames(3, 4)
    mask = torch.tensor([[True] * 4, [False, False, True, True], [False, False, False, True]])
    dream = model.begin(frames, torch.tensor([[0, 1, 2]] * 3), mask)
    assert dream.actions.tolist() == [[0, 1, 2], [3, 3, 2], [3, 3, 3]]
    assert torch.equal(model.observe(dream), frames[:, -1])
    assert torch.equal(model.observe(dream, "latents"), model.encode(frames[:, -1]))
    assert torch.equal(dream.frames.flatten(2).any(-1), mask)
    assert torch.equal(model.reconstruct(frames[:, -1]), frames[:, -1])


def test_its_pixels_go_from_minus_one_to_one():
    levels = torch.arange(256, dtype=torch.uint8)[:, None, None, None].expand(-1, SIZE, SIZE, 3)
    model = tiny_pixel()
    encoded = model.encode(levels)
    assert (encoded.min(), encoded.max()) == (-1, 1)
    dream = from_nothing_done(model, levels[:, None].expand(-1, 4, -1, -1, -1))
    assert torch.equal(model.observe(dream), levels)


@pytest.mark.parametrize("quantise", ["round", "floor"])
def test_what_is_drawn_has_the_levels_of_a_frame(quantise):
    model = tiny_pixel(quantise=quantise)
    dream, _ = model.step(begun(model), torch.zeros(3, dtype=torch.long), seeded())
    again = model.encode(model.observe(dream)).permute(0, 3, 1, 2)
    assert torch.equal(dream.frames[:, -1], again)


def test_rounding_does_not_darken():
    """A floor takes half a level from every frame on average; DIAMOND's does."""
    frames = torch.rand(1, 3, 64, 64, generator=seeded()) * 2 - 1
    rounded, floored = (tiny_pixel(quantise=how).denoiser.to_levels(frames) for how in ("round", "floor"))
    level = 2 / 255
    assert abs((rounded - frames).mean()) < 0.05 * level
    assert -0.55 * level < (floored - frames).mean() < -0.45 * level


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("steps", [1, 3])
def test_a_step_brings_picture_reward_end_and_doubt(spec, steps):
    model = tiny_pixel(spec, sampler=EulerConfig(steps=steps))
    actions = torch.from_numpy(spec.zeros(3, 4))
    dream = model.begin(noise_frames(3, 4), actions[:, 1:], torch.ones(3, 4, dtype=torch.bool))
    dream, step = model.step(dream, actions[:, 0], seeded())
    assert dream.frames.shape == (3, 4, 3, SIZE, SIZE)
    assert dream.actions.shape == (3, 3, *spec.shape)
    assert (step.rewards.shape, step.rewards.dtype) == ((3,), torch.float32)
    assert set(step.rewards.tolist()) <= {-1.0, 0.0, 1.0}
    assert (step.terminated.shape, step.terminated.dtype) == ((3,), torch.bool)
    assert step.doubt.tolist() == [0, 0, 0]
    assert model.observe(dream).dtype == torch.uint8


def test_a_dream_is_doubted_by_its_last_two_frames():
    model = tiny_pixel(frame_size=(24, 20))
    model.familiarity.learn(torch.rand(100, 2, 3, 16, 16) * 2 - 1)
    dream = from_nothing_done(model, torch.randint(256, (3, 4, 24, 20, 3), dtype=torch.uint8))
    after, step = model.step(dream, torch.zeros(3, dtype=torch.long), seeded())
    torch.testing.assert_close(step.doubt, model.doubt(after.frames[:, -2:]))
    assert (step.doubt > 0).all()
    frames = torch.randint(256, (3, 5, 24, 20, 3), dtype=torch.uint8)
    read = model.read(frames, torch.zeros(3, 4, dtype=torch.long), torch.ones(3, 5, dtype=torch.bool))
    last = model.encode(frames[:, -2:]).permute(0, 1, 4, 2, 3)
    torch.testing.assert_close(read.doubt, model.doubt(last))
    assert not torch.equal(model.doubt(last), model.doubt(last.flip(1))), "the older comes first"


@pytest.mark.parametrize("observation", ["frames", "latents"])
def test_observations_have_the_shape_they_are_said_to(observation):
    model = tiny_pixel(frame_size=(12, 20))
    dream = from_nothing_done(model, torch.zeros(1, 4, 12, 20, 3, dtype=torch.uint8))
    dream, _ = model.step(dream, torch.zeros(1, dtype=torch.long), seeded())
    assert model.observe(dream, observation).shape == (1, *model.observation_shape(observation)) == (1, 12, 20, 3)


def test_the_same_seed_dreams_the_same_dream():
    model = tiny_pixel()
    first = dreamed(model)
    torch.rand(5)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(dreamed(model), first, strict=True))
    assert not torch.equal(dreamed(model, seed=1)[1], first[1])


def test_dreams_can_be_mixed_and_go_on_as_they_would_have():
    model = tiny_pixel()
    one, other = begun(model, seed=0), begun(model, seed=1)
    finished, actions = torch.tensor([False, True, False]), torch.zeros(3, dtype=torch.long)
    mixed, _ = model.step(one.where(finished, other), actions, seeded())
    (ours, _), (theirs, _) = model.step(one, actions, seeded()), model.step(other, actions, seeded())
    expected = ours.where(finished, theirs)
    assert isinstance(mixed, PixelDream)
    for name in ("frames", "actions", "hidden", "cell"):
        torch.testing.assert_close(getattr(mixed, name), getattr(expected, name), msg=name)
    assert not torch.allclose(one.hidden[1], other.hidden[1])


def test_outcomes_hang_on_what_the_dream_remembers():
    model = tiny_pixel()
    dream = begun(model)
    actions = torch.zeros(3, dtype=torch.long)
    one, _ = model.step(dream, actions, seeded())
    forgotten = PixelDream(dream.frames, dream.actions, torch.zeros_like(dream.hidden), torch.zeros_like(dream.cell))
    other, _ = model.step(forgotten, actions, seeded())
    assert torch.equal(one.frames, other.frames)
    assert not torch.allclose(one.hidden, other.hidden)


def test_actions_lead_the_dream():
    model = tiny_pixel()
    dream = begun(model)
    left, right = (model.step(dream, torch.full((3,), action), seeded())[0] for action in (0, 2))
    assert (left.frames[:, -1] != right.frames[:, -1]).flatten(1).any(1).all()
    assert (left.hidden != right.hidden).any(1).all()


def test_past_actions_in_another_order_lead_elsewhere():
    model = tiny_pixel()
    context = torch.randn(2, 4, 3, SIZE, SIZE, generator=seeded())
    histories = torch.tensor([[0, 1, 2, 0], [1, 0, 2, 0]])
    one, other = (model.imagine(context, history.expand(2, -1), seeded()) for history in histories)
    assert not torch.equal(one, other)


def test_rewards_and_ends_are_drawn_at_the_rate_that_is_told():
    shares = torch.tensor([0.2, 0.5, 0.3])
    outcome = Outcome(shares.log().expand(20_000, 1, 3), torch.tensor([0.9, 0.1]).log().expand(20_000, 1, 2))
    step = drawn(outcome, torch.zeros(20_000), seeded())
    signs = [(step.rewards == sign).float().mean().item() for sign in (-1, 0, 1)]
    assert signs == pytest.approx(shares.tolist(), abs=0.01)
    assert step.terminated.float().mean().item() == pytest.approx(0.1, abs=0.01)
    torch.testing.assert_close(step.end_probability[0], torch.tensor(0.1))
    torch.testing.assert_close(step.sign_probabilities[0], shares)


def test_real_play_is_read_as_a_dream_of_it_would_be():
    """The same frame, dreamed or seen, brings the same."""
    model = tiny_pixel()
    dream, actions = begun(model), torch.tensor([0, 1, 2])
    after, told = model.step(dream, actions, seeded())
    frames = torch.cat([noise_frames(3, 4), model.observe(after)[:, None]], dim=1)
    read = model.read(frames, torch.cat([dream.actions, actions[:, None]], 1), torch.ones(3, 5, dtype=torch.bool))
    torch.testing.assert_close(read.end_probability, told.end_probability)
    torch.testing.assert_close(read.sign_probabilities, told.sign_probabilities)


def test_a_step_is_what_the_contract_says():
    model = tiny_pixel()
    assert isinstance(model.step(begun(model), torch.zeros(3, dtype=torch.long))[1], Step)
    assert model.encoder_hash() == tiny_pixel(seed=1).encoder_hash()


# Networks.


@pytest.mark.parametrize("size", [(16, 16), (13, 22)])
def test_the_u_net_takes_any_size_and_any_widths(size):
    net = UNet((16, 32, 8), layers=2, condition=8)
    assert net(torch.randn(2, 16, *size), torch.randn(2, 8)).shape == (2, 16, *size)


def test_an_untrained_denoiser_does_not_look():
    model = tiny_pixel(stirred=False)
    noise = torch.randn(2, 3, SIZE, SIZE, generator=seeded())
    said = model.denoiser(noise, torch.ones(2), torch.randn(2, 4, 3, SIZE, SIZE), torch.zeros(2, 4, dtype=torch.long))
    assert torch.equal(said, model.denoiser.inner_model.conv_out.bias.view(1, 3, 1, 1).expand_as(said))


def test_the_preconditioning_keeps_variances_at_one():
    """Karras et al. (2022), appendix B.6: what enters and what is to be said both have unit variance."""
    denoiser, count = tiny_pixel().denoiser, 200_000
    for sigma in (0.01, 0.3, 5.0):
        data = denoiser.noise.data * torch.randn(count, generator=seeded())
        noise = (sigma**2 + denoiser.noise.offset**2) ** 0.5 * torch.randn(count, generator=seeded(1))
        c = denoiser.preconditioning(torch.tensor([sigma]))
        target = (data - c.c_skip * (data + noise)) / c.c_out
        assert ((data + noise) * c.c_in).std().item() == pytest.approx(1, abs=0.01)
        assert target.std().item() == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"context": 3}, r"pixel\.unet\.condition"),
        ({"unet": UNetConfig(channels=(40,))}, "40"),
        ({"outcomes": OutcomeConfig(channels=(7,))}, "7"),
    ],
)
def test_networks_that_cannot_be_had_are_refused(changes, named):
    with pytest.raises(UserError, match=named):
        PixelConfig(**changes)


# Losses.


def test_the_memory_is_kept_in_float32_whatever_the_rest_is_computed_in():
    model = tiny_pixel()
    seen = []
    model.outcomes.lstm.register_forward_hook(
        lambda module, inputs, output: seen.append((inputs[0].dtype, output[0].dtype))
    )
    frames, actions = torch.zeros(2, 3, 3, *model.frame_shape[:2]), torch.zeros(2, 2, dtype=torch.int64)
    with torch.autocast("cpu", torch.bfloat16):
        outcome, memory = model.outcomes(frames, actions)
    assert seen == [(torch.float32, torch.float32)]
    assert {outcome.rewards.dtype, memory.hidden.dtype, memory.cell.dtype} == {torch.float32}
