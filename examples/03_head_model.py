"""Sample heads of the embedded morphable model and write them as OBJ.

python examples/03_head_model.py --count 4 --expression mouthPucker
"""

from pathlib import Path

import torch
import tyro

from garface import load_head
from garface.geometry import Camera, Pose, Topology
from garface.io import contact_sheet, to_uint8, write_obj, write_png
from garface.rendering import normal_map


def main(
    out: Path = Path("out/heads"), count: int = 6, expression: str = "mouthSmileLeft", seed: int = 0, size: int = 256
) -> None:
    """Sample heads from the prior, give all of them one expression, and render their normal maps.

    Args:
        out: folder for the meshes and the sheet.
        count: number of heads.
        expression: ARKit name of the expression.
        seed: fixes the heads.
        size: side of each image, pixels.
    """
    model = load_head()
    random = torch.Generator().manual_seed(seed)
    identity = torch.randn(count, model.identities, generator=random)  # the prior is N(0, I)
    weights = torch.zeros(count, model.expressions)
    weights[:, model.expression_names.index(expression)] = 1.0
    heads = model.vertices(identity, weights)  # (B, V, 3) millimetres

    out.mkdir(parents=True, exist_ok=True)
    for index, head in enumerate(heads):
        write_obj(
            out / f"head-{index:02d}.obj",
            head.numpy(),
            model.triangles.numpy(),
            uv=model.uv.numpy(),
            uv_triangles=model.uv_triangles.numpy(),
        )

    # A camera at the origin looks down -z: put the heads one metre before it.
    pose = Pose(torch.eye(3)[None], torch.tensor([[0.0, 0.0, -1000.0]]))
    camera = Camera(torch.tensor([3.5 * size]), torch.tensor([[size / 2, size / 2]]), size, size)
    normals = normal_map(pose.apply(heads), Topology.build(model.triangles, len(model.mean)), camera)
    write_png(out / "normals.png", contact_sheet([to_uint8(one[:3]) for one in normals], columns=3))
    print(f"{len(model.mean)} vertices, {model.identities} identities, {model.expressions} expressions; {out}")


if __name__ == "__main__":
    tyro.cli(main)
