"""Stacked observations, for the real and the learned game alike: the one place where it is done.

A stack is (batch, height, width, channels * stack), newest last; where a game begins, its first observation is
repeated. All functions take NumPy arrays or torch tensors, and return fresh ones of the same kind.
"""

from importlib import import_module
from typing import Any


def stack_start(observations: Any, stack: int) -> Any:
    """The stacks of games that begin with `observations`, (batch, height, width, channels)."""
    return _library(observations).concatenate([observations] * stack, -1)


def stack_push(stacked: Any, observations: Any, restarted: Any = None) -> Any:
    """The stacks one step later.

    Args:
        stacked: (batch, height, width, channels * stack).
        observations: (batch, height, width, channels), the newest.
        restarted: bool, (batch,): games that begin with their newest observation; None: none of them.
    """
    channels = observations.shape[-1]
    pushed = _library(observations).concatenate([stacked[..., channels:], observations], -1)
    if restarted is None:
        return pushed
    return choose(restarted, stack_start(observations, pushed.shape[-1] // channels), pushed)


def choose(condition: Any, yes: Any, no: Any) -> Any:
    """The rows of `yes` where `condition` (bool, (batch,)) holds, of `no` elsewhere; both of the same shape."""
    library = _library(yes)
    rows, others = yes.reshape(len(yes), -1), no.reshape(len(no), -1)
    # A mask over bytes is several times slower than one over words.
    word = rows.dtype if rows.shape[1] * rows.itemsize % 8 else library.int64
    return library.where(condition[:, None], rows.view(word), others.view(word)).view(yes.dtype).reshape(yes.shape)


def stack_context(observations: Any, mask: Any, stack: int) -> Any:
    """The stacks at the end of contexts: what somebody who played them would see.

    Args:
        observations: (batch, context, height, width, channels), newest last.
        mask: bool, (batch, context): False where an observation only pads the start of a game.
        stack: Observations in a stack; where the context has fewer, its oldest is repeated.
    """
    stacked = stack_start(observations[:, 0], stack)
    for time in range(1, observations.shape[1]):
        stacked = stack_push(stacked, observations[:, time], ~mask[:, time - 1])
    return stacked


def _library(array: Any) -> Any:
    """NumPy or torch, without importing torch for those who have only arrays."""
    return import_module(type(array).__module__)
