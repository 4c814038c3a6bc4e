"""A head model of one's own: an egg with a nose, two expressions and one set of landmarks."""

import torch
from torch import Tensor

from garface.heads import MEDIAPIPE, Embedding, LinearHead, landmark_points, load_head

ROWS, COLUMNS = 40, 64
AXES = torch.tensor([75.0, 115.0, 95.0])
"""Half axes of the egg, millimetres."""


def toy_head() -> LinearHead:
    """Coefficients: width, height and depth; expressions that only this head has, one of them with two signs."""
    down, around = torch.linspace(0.1, 3.04, ROWS), torch.arange(COLUMNS) * (2 * torch.pi / COLUMNS)
    v, u = torch.meshgrid(down, around, indexing="ij")
    unit = torch.stack([v.sin() * u.sin(), v.cos(), v.sin() * u.cos()], -1).flatten(0, 1)
    nose = torch.exp(-(unit[:, :2] ** 2).sum(1) / 0.02) * (unit[:, 2] > 0)
    mean = unit * AXES + torch.tensor([0.0, -20.0, 0.0]) + 18.0 * nose[:, None] * torch.tensor([0.0, 0.0, 1.0])
    jaw = torch.relu(-0.3 - unit[:, 1]) * (unit[:, 2] > 0)
    cheeks = torch.exp(-((unit[:, :2].abs() - torch.tensor([0.5, 0.2])) ** 2).sum(1) / 0.05) * (unit[:, 2] > 0)
    index = torch.arange(ROWS * COLUMNS).view(ROWS, COLUMNS)
    across, upward = torch.meshgrid(torch.linspace(0, 1, COLUMNS + 1), torch.linspace(1, 0, ROWS), indexing="xy")
    triangles = _triangles(index[:, torch.arange(COLUMNS + 1) % COLUMNS])
    return LinearHead(
        name="toy",
        licence="free for everything",
        mean=mean,
        identity_basis=torch.stack([unit * AXES * 0.05 * axis for axis in torch.eye(3)]),
        expression_basis=torch.stack([jaw[:, None] * torch.tensor([0.0, -40.0, 0.0]), cheeks[:, None] * unit * 10.0]),
        expression_names=("gape", "puff"),
        expression_bounds=torch.tensor([[0.0, -2.0], [1.5, 2.0]]),
        triangles=triangles,
        uv=torch.stack([across, upward], -1).flatten(0, 1),
        uv_triangles=_triangles(torch.arange(ROWS * (COLUMNS + 1)).view(ROWS, COLUMNS + 1)),
        mirror=index[:, -torch.arange(COLUMNS) % COLUMNS].flatten(),
        regions={"face": (unit[:, 2] > 0.3) & (unit[:, 1] < 0.5)},
        embeddings={MEDIAPIPE: _nearest(landmark_points(load_head(), load_head().mean[None])[0], mean, triangles)},
    )


def _triangles(grid: Tensor) -> Tensor:
    """Both triangles of every cell of a grid (R, C) of vertices, counter-clockwise from outside."""
    a, b, c, d = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    return torch.stack([a, c, b, b, c, d], -1).reshape(-1, 3)


def _nearest(points: Tensor, mean: Tensor, triangles: Tensor) -> Embedding:
    """The middles of the triangles nearest to points (N, 3)."""
    nearest = torch.cdist(points, mean[triangles].mean(1)).argmin(1)
    return Embedding(nearest, torch.full((len(points), 3), 1 / 3))
