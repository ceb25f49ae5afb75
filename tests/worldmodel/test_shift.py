import torch

from worldmodel.latent.shift import shift


def numbered(batch=64, time=3):
    """Latents whose every cell tells its row, its column and its time."""
    rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
    cells = torch.stack([rows, columns]).expand(batch, time, -1, -1, -1)
    return torch.cat([cells, torch.arange(float(time)).view(1, time, 1, 1, 1).expand(batch, -1, 1, 5, 7)], dim=2)


def test_nothing_moves_without_a_share():
    shifted, moved = shift(numbered(), 0.0)
    assert torch.equal(shifted, numbered())
    assert not moved.any()


def test_windows_that_stay_are_named_and_untouched():
    torch.manual_seed(0)
    shifted, moved = shift(numbered(400), 0.5)
    assert 0.4 < moved.float().mean() < 0.6
    assert torch.equal(shifted[~moved], numbered(400)[~moved])
    changed = (shifted != numbered(400)).flatten(1).any(1)
    assert changed.sum() > 0.8 * moved.sum()


def test_only_windows_that_move_are_seen_from_beside():
    torch.manual_seed(0)
    shifted, moved = shift(numbered(400), 0.5, numbered(400) + 0.5)
    assert torch.equal(shifted[~moved], numbered(400)[~moved])
    assert (shifted[moved].frac() == 0.5).all()


def test_a_window_is_shifted_as_a_whole_with_its_border_repeated():
    torch.manual_seed(0)
    shifted, _ = shift(numbered(), 1.0)
    rows, columns, times = shifted.unbind(2)
    down, right = (rows - numbered()[:, :, 0]), (columns - numbered()[:, :, 1])
    assert torch.equal(times, numbered()[:, :, 2])
    assert (rows == rows[:, :1, :, :1]).all()
    assert (columns == columns[:, :1, :1]).all()
    middle_row, middle_column = down[:, :1, 2:3, :1], right[:, :1, :1, 3:4]
    assert torch.equal(rows, (numbered()[:, :, 0] + middle_row).clamp(0, 4))
    assert torch.equal(columns, (numbered()[:, :, 1] + middle_column).clamp(0, 6))
    assert len(middle_row.unique()) == 5
    assert len(middle_column.unique()) == 7
