from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from counted_latents import UNKNOWN, knowing, told
from counting import length_of, read
from playing import SIZE, buffer_of, counted
from tiny import CONFIG, begun, random_segment, tiny
from torch import nn

from worldmodel.data.segment import join
from worldmodel.data.windows import WindowSampler, segment
from worldmodel.latent.config import SamplerConfig
from worldmodel.latent.dreamed_steps import PAST, dream_steps, ends_recalled
from worldmodel.latent.losses import LatentLosses

CONTEXT, HORIZON = 4, 3
CALLS = SamplerConfig().steps
"""of the denoiser, for a frame"""


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


# The counting game: what caused what.


@pytest.fixture(scope="module")
def windows(tmp_path_factory):
    """Windows of the counting game, some with padding at their beginning, some at their end."""
    reader = buffer_of(tmp_path_factory.mktemp("buffer"), [counted(tag) for tag in range(12)])
    drawn = segment(reader, WindowSampler(reader, CONTEXT, HORIZON, "all").sample(256, np.random.default_rng(0)))
    assert not drawn.mask[:, 0].all()
    assert not drawn.mask[:, -1].all()
    return drawn


def totals(model, windows):
    torch.manual_seed(0)
    return {name: loss.item() for name, loss in model.losses(windows).items()}


def of_steps(model, windows):
    """The head's losses on the first step that is to be predicted, really seen."""
    torch.manual_seed(0)
    return {name: loss.item() for name, loss in next(LatentLosses(model).of_steps(windows)).items()}


def judged(model, windows, position=0):
    """The head's losses on the step at `position` of each window, dreamed up to there."""
    torch.manual_seed(0)
    latents = model.autoencoder.encode(windows.frames.flatten(0, 1)).unflatten(0, windows.mask.shape)
    places = torch.full((len(latents),), position)
    dreamed = dream_steps(model, replace(windows, latents=latents), places)
    steps = join([dreamed.at, dreamed.past])
    return {name: loss.item() for name, loss in next(LatentLosses(model).of_steps(steps)).items()}


@pytest.mark.parametrize("residual", [False, True])
def test_context_action_and_target_belong_together_at_every_step(windows, residual):
    model = knowing(SIZE, residual=residual)
    losses = totals(model, windows)
    assert losses.pop("denoising") < 1e-6
    assert losses == dict.fromkeys(losses, 0.0)
    assert sum(map(len, model.denoiser.contexts)) == HORIZON * len(windows.mask)


# Windows with room for the steps past an end.


@pytest.fixture(scope="module")
def long_windows(tmp_path_factory):
    reader = buffer_of(tmp_path_factory.mktemp("buffer"), [counted(tag) for tag in range(12)])
    return segment(reader, WindowSampler(reader, CONTEXT, HORIZON + PAST).sample(256, np.random.default_rng(0)))


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("position", range(HORIZON))
def test_along_a_free_dream_actions_and_outcomes_belong_together(long_windows, residual, position):
    model = knowing(SIZE, residual=residual)
    losses = judged(model, long_windows, position)
    assert losses == dict.fromkeys(("sequence", "before", "action", "reward", "termination"), 0.0)
    first, second, third = model.denoiser.contexts[: 3 * CALLS : CALLS]
    torch.testing.assert_close(
        first, model.autoencoder.encode(long_windows.frames[:128, :CONTEXT].flatten(0, 1)).view_as(first)
    )
    torch.testing.assert_close(second[:, :-1], first[:, 1:])
    torch.testing.assert_close(third[:, :-1], second[:, 1:])


def test_past_its_end_a_dream_is_over(long_windows):
    model = knowing(SIZE)
    latents = model.autoencoder.encode(long_windows.frames.flatten(0, 1)).unflatten(0, long_windows.mask.shape)
    dreamed = dream_steps(model, replace(long_windows, latents=latents), torch.zeros(256, dtype=torch.int64))
    past = dreamed.past
    assert torch.equal(dreamed.over, dreamed.at.terminated[:, -1])
    assert len(past.mask) == PAST * dreamed.over.sum() > 0
    assert past.terminated.all() and past.rewards.isnan().all() and past.mask.all()
    count, led, tag = told(past.latents)
    assert (count[:, -1] > length_of(tag[:, -1])).all()
    assert torch.equal(led[:, -1], past.actions[:, -1])


@pytest.mark.parametrize(
    ("at", "past", "recalled"), [(1.0, 0.0, 1.0), (0.0, 1.0, 1.0), (0.0, 0.0, 0.0), (0.5, 0.5, 1 - 0.5 ** (1 + PAST))]
)
def test_an_end_may_be_dreamed_a_few_steps_late(long_windows, at, past, recalled):
    model = knowing(SIZE)
    latents = model.autoencoder.encode(long_windows.frames.flatten(0, 1)).unflatten(0, long_windows.mask.shape)
    ends = long_windows.terminated[:, CONTEXT - 1]
    windows = replace(long_windows, latents=latents)[ends.nonzero()[:, 0]]
    dreamed = dream_steps(model, windows, torch.zeros(int(ends.sum()), dtype=torch.int64))
    model.head.end_probability = lambda seen: torch.where(is_past(seen[0]), past, at)
    assert ends_recalled(model, dreamed) == pytest.approx(recalled)


def is_past(pictures):
    """Whether the newest of the pictures shows a game after its end."""
    count, _, tag = told(pictures)
    return count[:, -1] > length_of(tag[:, -1])


def test_the_head_learns_from_dreams_as_they_are_dreamed(long_windows):
    model = knowing(SIZE)
    model.denoiser.forward = lambda noisy, *_: torch.zeros_like(noisy)
    assert judged(model, long_windows)["sequence"] > 0


@pytest.mark.parametrize(
    ("change", "noticed"),
    [
        (lambda w: replace(w, actions=w.actions.roll(1, 1)), "denoising"),
        (lambda w: replace(w, actions=w.actions.roll(-1, 1)), "action"),
        (lambda w: replace(w, frames=w.frames.roll(1, 1)), "reward"),
        (lambda w: replace(w, rewards=w.rewards.roll(1, 1)), "reward"),
        (lambda w: replace(w, terminated=w.terminated.roll(-1, 1)), "termination"),
    ],
)
def test_an_off_by_one_is_noticed(windows, change, noticed):
    assert totals(knowing(SIZE), change(windows))[noticed] > 0.01
    assert noticed == "denoising" or of_steps(knowing(SIZE), change(windows))[noticed] > 0.01


def test_the_history_is_the_one_that_led_through_the_context(windows):
    model = knowing(SIZE)
    model.losses(windows)
    for k, (context, history) in enumerate(zip(model.denoiser.contexts, model.denoiser.histories, strict=True)):
        there = windows.mask[:, CONTEXT + k]
        count, led, _ = told(context[there])
        assert history.shape == (256, CONTEXT)
        begun = count[:, 1:] > 0
        assert torch.equal(history[there, :-1][begun], led[:, 1:][begun])
        assert (history[there, :-1][~begun] == UNKNOWN).all()
        assert (history[there, -1] < UNKNOWN).all()


def test_unrolled_steps_go_on_from_the_models_own_prediction(windows):
    model = knowing(SIZE)
    model.losses(windows)
    first, second, third = model.denoiser.contexts
    torch.testing.assert_close(second[:, :-1], first[:, 1:])
    torch.testing.assert_close(third[:, :-1], second[:, 1:])
    wrong = knowing(SIZE)
    wrong.denoiser.forward = lambda noisy, *_: torch.zeros_like(noisy) + 0 * wrong.denoiser.weight
    contexts = []
    wrong.denoiser.register_forward_pre_hook(lambda _, inputs: contexts.append(inputs[2]))
    wrong.losses(windows)
    real = wrong.autoencoder.encode(windows.frames[:, CONTEXT])
    assert not torch.allclose(contexts[1][:, -1], real, atol=0.1)


def test_a_dream_of_the_counting_game_counts(windows):
    model = knowing(SIZE)
    model.head = nn.Identity()
    model.head.forward = lambda pictures, actions: SimpleNamespace(pictures=pictures, actions=actions)
    model.head.draw = lambda outcome, _: (outcome.pictures, outcome.actions)
    model.head.end_probability = model.head.sign_probabilities = lambda outcome: None
    first = read(windows.frames[:, CONTEXT - 1])
    dream = model.begin(windows.frames[:, :CONTEXT], windows.actions[:, : CONTEXT - 1], windows.mask[:, :CONTEXT])
    for step in range(1, 7):
        actions = torch.randint(3, (256,), generator=seeded(step))
        dream, outcome = model.step(dream, actions, seeded(step))
        count, led, tag = told(outcome.rewards)
        for told_, expected in ((count[:, 2], first.count + step), (led[:, 2], actions), (tag[:, 2], first.tag)):
            assert torch.equal(told_, expected)
        assert torch.equal(count[:, 1], first.count + step - 1)
        assert torch.equal(outcome.terminated, actions)
        newest, _, _ = told(dream.latents[:, -1])
        assert torch.equal(newest, first.count + step)
        assert torch.equal(dream.actions[:, -1], actions)


# What counts and what does not.


def spoil_padding(windows):
    """The same windows with something else wherever they are padded, but for the frames before a game's start."""
    spoiled = replace(windows, **{name: getattr(windows, name).clone() for name in
                                  ("frames", "actions", "rewards", "terminated")})  # fmt: skip
    after = ~windows.mask & (torch.arange(windows.mask.shape[1]) >= windows.context)
    outside = ~(windows.mask[:, 1:] & windows.mask[:, :-1])
    spoiled.frames[after] = 255 - spoiled.frames[after]
    spoiled.actions[outside] = (spoiled.actions[outside] + 1) % 3
    spoiled.rewards[outside] += 1
    spoiled.terminated[outside] ^= True
    return spoiled


def test_padding_counts_in_no_loss():
    model, windows = tiny(), random_segment()
    spoiled = spoil_padding(windows)
    assert not torch.equal(spoiled.frames, windows.frames)
    assert totals(model, spoiled) == totals(model, windows)
    assert of_steps(model, spoiled) == of_steps(model, windows)


def test_what_is_no_padding_counts():
    model, windows = tiny(shift=0.0), random_segment()
    other = spoil_padding(replace(windows, mask=torch.zeros_like(windows.mask)))
    before = totals(model, replace(windows, mask=torch.ones_like(windows.mask)))
    after = totals(model, replace(other, mask=torch.ones_like(windows.mask)))
    assert all(before[name] != after[name] for name in before)
    first, second = (of_steps(model, replace(w, mask=torch.ones_like(w.mask))) for w in (windows, other))
    assert all(first[name] != second[name] for name in ("reward", "termination"))


def test_a_segment_of_nothing_but_padding_costs_nothing():
    windows = random_segment()
    windows.mask[:, CONTEXT:] = False
    assert totals(tiny(), windows) == {"denoising": 0.0, "reward": 0.0, "termination": 0.0}
    assert of_steps(tiny(), windows) == {"reward": 0.0, "termination": 0.0}


def test_cached_latents_stand_for_their_frames():
    model, windows = tiny(), random_segment()
    latents = model.autoencoder.encode(windows.frames.flatten(0, 1)).unflatten(0, windows.mask.shape)
    cached = replace(windows, latents=latents, frames=torch.empty(0, dtype=torch.uint8))
    assert totals(model, cached) == pytest.approx(totals(model, windows), rel=1e-4)
    assert of_steps(model, cached) == pytest.approx(of_steps(model, windows), rel=1e-4)


def test_shifted_windows_teach_the_denoiser_but_not_the_head():
    windows = random_segment()
    losses = totals(tiny(shift=1.0), windows)
    assert losses["denoising"] > 0
    assert losses["reward"] == losses["termination"] == 0


def test_from_single_steps_only_the_head_learns():
    model = tiny()
    sum(next(LatentLosses(model).of_steps(random_segment())).values()).backward()
    assert all(parameter.grad.any() for parameter in model.head.parameters())
    assert all(
        parameter.grad is None for part in (model.denoiser, model.autoencoder) for parameter in part.parameters()
    )


# The context's noise.


class Listener(nn.Module):
    """A denoiser that keeps the context and the level that it is told."""

    def __init__(self):
        super().__init__()
        self.context, self.level = [], []

    def forward(self, noisy, timesteps, context, actions, level):
        self.context.append(context)
        self.level.append(level)
        return torch.zeros_like(noisy)


def strengths_and_levels(listener):
    strength = torch.cat([context[:, -1].flatten(1).std(1) for context in listener.context])
    return strength, torch.cat(listener.level)


def listening(**changes):
    model = tiny(stirred=False, max_context_noise=0.5, **changes)
    model.denoiser = Listener()
    return model


def level_of(strength):
    return (strength / 0.5 * CONFIG.noise_levels).floor().clamp_max(CONFIG.noise_levels - 1).long()


def test_training_tells_the_noise_that_it_adds():
    model, windows = listening(shift=0.0), random_segment(batch=200, horizon=1)
    latents = torch.zeros(200, CONTEXT + 1, 4, 32, 32)
    losses = LatentLosses(model)
    losses._outcomes = lambda *_: {}
    torch.manual_seed(0)
    losses.of_windows(replace(windows, latents=latents))
    strength, level = strengths_and_levels(model.denoiser)
    clean = strength == 0
    assert 0.35 < clean.float().mean() < 0.65
    assert (level[clean] == 0).all()
    assert strength.max() < 0.52
    low, high = level_of(strength[~clean] * 0.97), level_of(strength[~clean] * 1.03)
    assert ((low <= level[~clean]) & (level[~clean] <= high)).all()
    assert len(level.unique()) == CONFIG.noise_levels


@pytest.mark.parametrize("strength", [0.0, 0.03, 0.12, 0.31, 0.5])
def test_dreaming_tells_it_by_the_same_convention(strength):
    model = listening(context_noise=strength)
    model.imagine(torch.zeros(4, CONTEXT, 4, 32, 32), torch.zeros(4, CONTEXT, dtype=torch.long), seeded())
    added, level = strengths_and_levels(model.denoiser)
    torch.testing.assert_close(added, torch.full_like(added, strength), rtol=0.03, atol=0)
    assert (level == level_of(torch.tensor(strength))).all()


def test_the_dream_itself_keeps_no_context_noise():
    model = tiny(context_noise=0.3)
    dream = begun(model)
    after, _ = model.step(dream, torch.zeros(3, dtype=torch.long), seeded())
    assert torch.equal(after.latents[:, :-1], dream.latents[:, 1:])


def test_the_counting_games_end_when_they_should(windows):
    """The windows reach the games' ends, so that the tests above have seen one."""
    seen = read(windows.frames[:, CONTEXT])
    assert (windows.terminated[:, CONTEXT - 1] == (seen.count == length_of(seen.tag))).all()
    assert windows.terminated[:, CONTEXT - 1].any()
