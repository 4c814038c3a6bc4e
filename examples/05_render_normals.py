"""Render normal maps, the input of the renderer, and recover a pose by gradient descent through the rasteriser.

    python examples/05_render_normals.py --steps 80

Gradients flow from the image through visibility, silhouettes included, to the vertices and on to the pose.
"""

from pathlib import Path

import torch
import tyro

from garface import load_head
from garface.geometry import Camera, Pose, Topology, axis_angle_to_matrix
from garface.io import contact_sheet, to_uint8, write_png
from garface.rendering import normal_map, normal_pyramid


def main(out: Path = Path("out/normals"), steps: int = 60, size: int = 64) -> None:
    """Render a turned head, and turn a frontal one until its normal map is the same.

    Args:
        out: folder for the images.
        steps: steps of Adam.
        size: side of the normal map, pixels; a power of two.
    """
    model = load_head()
    topology = Topology.build(model.triangles, len(model.mean))
    camera = Camera(torch.tensor([3.5 * size]), torch.tensor([[size / 2, size / 2]]), size, size)

    def render(turn: torch.Tensor) -> torch.Tensor:
        pose = Pose(axis_angle_to_matrix(turn), torch.tensor([[0.0, 0.0, -1000.0]]))
        return normal_map(pose.apply(model.mean[None]), topology, camera)

    truth = torch.tensor([[0.10, -0.40, 0.05]])  # radians about x, y and z
    target = render(truth)
    out.mkdir(parents=True, exist_ok=True)
    for side, level in normal_pyramid(target).items():
        write_png(out / f"target-{side:03d}.png", to_uint8(level[:, :3]))

    turn = torch.zeros(1, 3, requires_grad=True)
    optimiser = torch.optim.Adam([turn], lr=0.02)
    for _ in range(steps):
        optimiser.zero_grad()
        error = (render(turn) - target).abs().mean()
        error.backward()
        optimiser.step()

    left = float((turn.detach() - truth).norm().rad2deg())
    with torch.no_grad():
        panels = [render(torch.zeros(1, 3)), render(turn), target]
    write_png(out / "start-found-target.png", contact_sheet([to_uint8(one[:, :3]) for one in panels], columns=3))
    print(f"left of a turn of {float(truth.norm().rad2deg()):.1f} degrees: {left:.2f} degrees; {out}")


if __name__ == "__main__":
    tyro.cli(main)
