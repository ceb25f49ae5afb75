"""An ablation on disk: what runs reached in which one thing was left out or changed, by row and seed.

docs/results/ablation_<name>.json
game, command, machine
settings      every setting of the row `all`, by its dotted name
rows          by row and seed: what the last agent and the last world model of that run reached, and what it cost
"""

from dataclasses import dataclass, field

from experiments.recorded import Judged, Recorded


@dataclass(frozen=True)
class AblationResult(Judged):
    """What one run reached.

    Attributes:
        changing: Mean PSNR (dB) of the last world model's dreams over changing pixels; None if it was not judged.
        end_precision: Share of the steps told as ends, likelier than not, that are ends at that very step, in
            free-running dreams.
        imagined_length: Steps that the last agent's last dreams took.
        real_steps: Behind the agent.
        seconds: Wall time.
        commit: The code that ran.
    """

    changing: float | None
    end_precision: float | None
    imagined_length: float
    real_steps: int
    seconds: float
    commit: str


@dataclass(frozen=True)
class Ablation(Recorded[AblationResult]):
    """Rows in which one thing each was left out or changed."""

    NOUN = "ablation"

    rows: dict[str, dict[str, AblationResult]] = field(default_factory=dict)
