"""Reward and end of a step, by a recurrent network (Alonso et al., 2024, appendix D)."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from worldmodel.actions import ActionEncoder
from worldmodel.base import Step
from worldmodel.pixel.blocks import Encoder
from worldmodel.pixel.config import OutcomeConfig
from worldmodel.signs import draw_signs
from worldmodel.spaces import ActionSpec, FrameShape

REWARDS = 3
"""classes of a reward: its sign, -1, 0 or 1"""


class Memory(NamedTuple):
    """What the network remembers of every game, float32 (batch, hidden) each."""

    hidden: Tensor
    cell: Tensor


class Outcome(NamedTuple):
    """What the network says: raw logits.

    Attributes:
        rewards: (batch, time, 3), of the signs -1, 0 and 1.
        ends: (batch, time, 2), of going on and of ending.
    """

    rewards: Tensor
    ends: Tensor


class OutcomeNetwork(nn.Module):
    """Predicts reward and end of a step from its two frames and action, and from what it remembers of those before.

    The reward and termination model of DIAMOND (Alonso et al., 2024); parts are named as in published files.
    """

    def __init__(self, config: OutcomeConfig, frame_shape: FrameShape, spec: ActionSpec) -> None:
        super().__init__()
        self.hidden = config.hidden
        self.act_emb = ActionEncoder(spec, config.condition)
        self.encoder = Encoder(6, config.channels, config.layers, config.condition)
        self.lstm = nn.LSTM(_features(config, frame_shape), config.hidden, batch_first=True)
        self.head = nn.Sequential(
            nn.Linear(config.hidden, config.hidden), nn.SiLU(), nn.Linear(config.hidden, REWARDS + 2, bias=False)
        )
        init_lstm(self.lstm)

    def forward(self, frames: Tensor, actions: Tensor, memory: Memory | None = None) -> tuple[Outcome, Memory]:
        """What comes of each step, and what is remembered after the last.

        Args:
            frames: (batch, time + 1, 3, height, width), from -1 to 1.
            actions: (batch, time, *spec.shape), those between the frames.
            memory: What was remembered before; None: nothing.
        """
        batch, time = actions.shape[:2]
        pairs = torch.cat([frames[:, :-1], frames[:, 1:]], dim=2).flatten(0, 1)
        seen = self.encoder(pairs, self.act_emb(actions.flatten(0, 1)))
        remembered = tuple(state[None].contiguous() for state in memory or self.nothing(seen, batch))
        # Under autocast to bfloat16 cuDNN's LSTM would take float16, in which small gradients vanish.
        with torch.autocast(seen.device.type, enabled=False):
            hidden, after = self.lstm(seen.float().flatten(1).unflatten(0, (batch, time)), remembered)
        logits = self.head(hidden).float()
        return Outcome(logits[..., :REWARDS], logits[..., REWARDS:]), Memory(*(state[0].float() for state in after))

    def nothing(self, like: Tensor, batch: int) -> Memory:
        """The memory of games of which nothing was seen."""
        nothing = torch.zeros(batch, self.hidden, device=like.device)
        return Memory(nothing, nothing.clone())


def drawn(outcome: Outcome, doubt: Tensor, generator: torch.Generator | None) -> Step:
    """Reward and end of the last step, both sampled, beside its doubt, (batch,)."""
    signs = outcome.rewards[:, -1].softmax(-1)
    rewards = draw_signs(signs, generator)
    chance = outcome.ends[:, -1].softmax(-1)[:, 1]
    ends = torch.rand(chance.shape, generator=generator, device=chance.device) < chance
    return Step(rewards, ends, doubt, chance, signs)


def init_lstm(lstm: nn.LSTM | nn.LSTMCell) -> None:
    """Draw the weights so that it remembers at first (Jozefowicz et al., 2015)."""
    for name, parameter in lstm.named_parameters():
        if "weight_ih" in name:
            nn.init.xavier_uniform_(parameter)
        elif "weight_hh" in name:
            nn.init.orthogonal_(parameter)
        else:
            nn.init.zeros_(parameter)
        if "bias_ih" in name:
            nn.init.ones_(parameter.data.chunk(4)[1])


def _features(config: OutcomeConfig, frame_shape: FrameShape) -> int:
    """How many numbers the encoder makes of two frames."""
    height, width, _ = frame_shape
    cell = 2 ** (len(config.channels) - 1)
    return config.channels[-1] * -(-height // cell) * -(-width // cell)
