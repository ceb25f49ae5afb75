import torch
from waits import waits

from worldmodel.signs import draw_signs

PROBABILITIES = torch.tensor([[0.2, 0.5, 0.3], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])


def test_signs_are_drawn_as_torch_would_draw_them():
    rows = PROBABILITIES.repeat(500, 1)
    drawn = draw_signs(rows, torch.Generator().manual_seed(3))
    assert torch.equal(drawn, torch.multinomial(rows, 1, generator=torch.Generator().manual_seed(3))[:, 0] - 1.0)
    assert drawn[1::4].eq(-1).all() and drawn[2::4].eq(1).all() and drawn[3::4].eq(0).all()


def test_signs_come_as_often_as_they_should():
    drawn = draw_signs(PROBABILITIES[:1].expand(20_000, 3), torch.Generator().manual_seed(0))
    shares = torch.stack([(drawn == sign).float().mean() for sign in (-1, 0, 1)])
    torch.testing.assert_close(shares, PROBABILITIES[0], atol=0.015, rtol=0)


def test_no_number_is_read_for_a_draw():
    assert waits(lambda: torch.multinomial(PROBABILITIES, 1)) > 0
    assert waits(lambda: draw_signs(PROBABILITIES, None)) == 0
