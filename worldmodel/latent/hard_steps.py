"""Which steps of play the dynamics predict badly, so that they are seen more often."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_POWER = 2.0
"""How much more often what is predicted worse is drawn: in proportion to this power of its squared error."""
_LOOK_EVERY = 64
"""Draws between two looks at the errors, each of which waits for the device."""


class HardSteps:
    """The error that the model made at every step when it last predicted it, and draws by that.

    Most steps of a game are alike and soon known; what is hard, such as a collision, is a few in a hundred. This is
    prioritised replay (Schaul et al., 2016) of a world model by its losses (Kauvar et al., 2023). No weights make up
    for it: the other windows of a batch come as in play.
    """

    def __init__(self, steps: int, device: torch.device) -> None:
        """Nothing is known yet of so many steps."""
        self._count = steps
        # The last place takes what belongs to no step.
        self._errors = torch.zeros(steps + 1, device=device)
        self._up_to = np.zeros(steps)
        self._draws = 0

    def note(self, steps: Tensor, errors: Tensor, there: Tensor) -> None:
        """Keep the squared errors (batch,) made at `steps`, int64 (batch,), where those are `there`, bool (batch,)."""
        # One that is not a number is not known; an infinite one ends the fit, but on a GPU a few updates later.
        self._errors[torch.where(there & errors.isfinite(), steps, self._count)] = errors.to(self._errors.dtype)

    def draw(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Draw so many steps, int64; all alike while nothing is known."""
        if self._draws % _LOOK_EVERY == 0:
            self._up_to = self._errors[: self._count].double().pow(_POWER).cumsum(0).cpu().numpy()
        self._draws += 1
        total = self._up_to[-1]
        if not total:
            return rng.integers(self._count, size=count)
        return self._up_to.searchsorted(total * rng.random(count), side="right")
