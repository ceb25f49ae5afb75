"""How much of a GPU's memory a process takes."""

import torch


def take_peak_mb(device: torch.device) -> float | None:
    """The most memory (MB) that this process's tensors took on `device` since this was asked last; None on a CPU."""
    if device.type != "cuda":
        return None
    peak = torch.cuda.max_memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return peak / 1_000_000
