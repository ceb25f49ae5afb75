"""The figures of a round that several runs can be ranked by."""

from collections.abc import Mapping
from typing import Literal

from worldmodel.errors import UserError
from worldmodel.plain import nearest

Mode = Literal["max", "min"]
"""Whether much or little is good."""
HORIZONS = (1, 2, 5, 10, 15, 20, 30)
"""steps after which a round's dream is compared with held-out play"""
_CURVES = ("dream", "dream_changing", "ssim_dream", "ssim_dream_changing")
METRICS: Mapping[str, Mode] = {
    "real_return": "max",
    "imagined/return": "max",
    "agent/explained_variance": "max",
    "fidelity/score": "max",
    "fidelity/ends_found": "max",
    "fidelity/false_ends": "min",
    "fidelity/end_precision": "max",
    "fidelity/end_recall": "max",
    "fidelity/end_brier": "min",
    "fidelity/reward_error": "min",
    **{f"fidelity/{curve}_{horizon}": "max" for curve in _CURVES for horizon in HORIZONS},
    "rate/real_steps": "max",
    "rate/updates": "max",
    "rate/imagined_steps": "max",
}
"""Their names, and what is good of each."""


def better(metric: str) -> Mode:
    """Whether much or little of `metric` is good.

    Raises:
        UserError: If runs cannot be ranked by it; it lists what they can be ranked by.
    """
    if metric not in METRICS:
        close = nearest(metric, list(METRICS))
        meant = f" ({close})" if close.startswith("did you mean") else ""
        raise UserError(f"nothing can be ranked by {metric!r}{meant}; known are {_listed()}.")
    return METRICS[metric]


def _listed() -> str:
    """All names in alphabetical order, those that differ by the horizon alone as one."""
    horizons = ", ".join(map(str, HORIZONS))
    curves = {f"fidelity/{curve}_{horizon}": curve for curve in _CURVES for horizon in HORIZONS}
    names = sorted({f"fidelity/{curves[name]}_H" if name in curves else name for name in METRICS})
    return f"{', '.join(names)} (H is one of {horizons})"
