"""A dreamed step that read a number out of a tensor would wait for the GPU, with all dreams."""

import numpy as np
import pytest
import torch
from pixel_dreams import CONFIG, SPEC
from tiny import tiny
from waits import waits

from envs import NeuralVectorEnv
from worldmodel.data.starts import Starts
from worldmodel.head_config import HeadConfig
from worldmodel.latent.config import SamplerConfig
from worldmodel.pixel.model import PixelWorldModel

DREAMS = 4


def dreams(model, **settings):
    """Under way, so that all that is done once is done."""
    size = model.config.frame_shape[0]
    frames = np.random.default_rng(0).integers(256, size=(DREAMS, model.context, size, size, 3)).astype(np.uint8)
    actions, mask = np.zeros((DREAMS, model.context - 1), np.int64), np.ones((DREAMS, model.context), np.bool_)
    envs = NeuralVectorEnv(model, DREAMS, starts=Starts.of(frames, actions, mask), horizon=9, **settings)
    envs.reset_tensors(seed=0)
    envs.step_tensors(ACTIONS)
    return envs


ACTIONS = torch.zeros(DREAMS, dtype=torch.int64)
ONE_CALL = SamplerConfig(steps=1)


def of_symlog():
    return tiny(sampler=ONE_CALL, head=HeadConfig(rewards="symlog", members=2, hidden=16))


def of_signs():
    return tiny(sampler=ONE_CALL)


def of_pixels():
    return PixelWorldModel(CONFIG, SPEC).eval()


@pytest.mark.parametrize(
    ("make", "observation"),
    [(of_signs, "latents"), (of_signs, "frames"), (of_symlog, "latents"), (of_pixels, "frames")],
)
def test_a_dreamed_step_reads_no_number(make, observation):
    envs = dreams(make(), observation=observation)
    assert waits(lambda: [envs.step_tensors(ACTIONS) for _ in range(12)]) == 0


def test_where_actions_are_shuffled_none_is_read_either():
    envs = dreams(tiny(sampler=ONE_CALL), shuffled=True)
    assert waits(lambda: envs.step_tensors(ACTIONS)) == 0


def test_of_several_calls_the_solver_alone_reads_and_that_on_the_cpu():
    """Its own timesteps stay there; tests/worldmodel/test_sampler.py has it on a GPU."""
    model = tiny(sampler=SamplerConfig(steps=3))
    noise = torch.randn(DREAMS, *model.latent_shape)
    of_solver = waits(lambda: model.sampler.sample(lambda noisy, _: noisy.tanh(), noise))
    envs = dreams(model)
    assert waits(lambda: envs.step_tensors(ACTIONS)) == of_solver > 0
