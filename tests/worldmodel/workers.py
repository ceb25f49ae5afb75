"""What the processes of a training together do; they import no more than they need, as each imports it anew."""

import torch
from torch import distributed, nn

from worldmodel.data.reader import BufferReader
from worldmodel.fitting import FitConfig
from worldmodel.latent import pretraining
from worldmodel.latent.pace import Pace
from worldmodel.latent.pretraining import Pretraining, average

WORKERS = 2
GAMES = ("first", "second")
UPDATES = 8


def work(rank, folder, config):
    """What one process does; what it saw is left in its file."""
    torch.set_num_threads(1)
    meeting = f"file://{folder / 'meeting'}"
    distributed.init_process_group("gloo", init_method=meeting, rank=rank, world_size=WORKERS)
    try:
        torch.save({"layers": descend_layers(rank), "games": pretrain(folder, config)}, folder / f"{rank}.pt")
    finally:
        distributed.destroy_process_group()


def descend_layers(rank):
    """An update of three layers: the batches of both workers take gradients of one, the first's of another."""
    torch.manual_seed(0)
    layers = nn.ModuleDict({name: nn.Linear(3, 2) for name in ("both", "first", "none")})
    optimizer = torch.optim.AdamW(layers.parameters(), 0.1)
    batch = torch.randn(5, 3, generator=torch.Generator().manual_seed(rank))
    used = ("both", "first") if rank == 0 else ("both",)
    torch.stack([layers[name](batch).square().sum() for name in used]).sum().backward()
    before = gradients(layers)
    progress = average(list(layers.parameters()), [0.25, 0.75][rank])
    optimizer.step()
    return {"before": before, "after": gradients(layers), "weights": layers.state_dict(), "progress": progress}


def pretrain(folder, config):
    """A few updates of a pre-training; each learns from one of two games, which need not be the other worker's."""
    readers = {game: BufferReader(folder / game) for game in GAMES}
    fit = Pretraining(
        config, FitConfig(batch_size=2, unroll=1, dream=2), readers, 1, 0, torch.device("cpu"), folder / "failures"
    )
    updates = []
    pretraining.average = watched(nn.ModuleDict(fit.models), updates)
    fit.begin("dynamics", Pace(UPDATES))
    for _ in range(UPDATES):
        fit.update()
    fit.finish()
    return {"updates": updates, "weights": {game: model.state_dict() for game, model in fit.models.items()}}


def watched(models, updates):
    """The project's `average`, with the gradients before and after it noted down."""

    def watching(parameters, progress):
        before = gradients(models)
        progress = average(parameters, progress)
        updates.append({"before": before, "after": gradients(models)})
        return progress

    return watching


def gradients(module):
    """Of all parameters that are trained by name; None where there is none."""
    trained = {name: weight for name, weight in module.named_parameters() if weight.requires_grad}
    return {name: None if weight.grad is None else weight.grad.clone() for name, weight in trained.items()}
