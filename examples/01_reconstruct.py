"""Reconstruct a head from a photo: what the command line does, in Python.

    python examples/01_reconstruct.py --photo portrait.jpg --out out/mine

Without a photo, the public-domain portrait of an astronaut that comes with scikit-image is used.
"""

from pathlib import Path

import skimage.data
import tyro

import garface


def main(
    photo: Path | None = None, out: Path = Path("out/example"), model: str = "builtin", quick: bool = False
) -> None:
    """Reconstruct one face and save everything about it.

    Args:
        photo: image file; by default the astronaut.
        out: folder for the results.
        model: folder of a training run with its weights, or builtin.
        quick: skip the refinement and make a small texture.
    """
    face = garface.reconstruct(
        photo or skimage.data.astronaut(),
        quality="fast" if quick else "standard",
        texture_size=256 if quick else 1024,
        model=model,
    )
    names = face.renderer.head_model.expression_names
    strongest = face.expression.argsort(descending=True)[:3]

    print(f"focal length {float(face.camera.focal[0]):.0f} px, distance {-float(face.pose.translation[0, 2]):.0f} mm")
    print("strongest expressions:", ", ".join(f"{names[i]} {float(face.expression[i]):.2f}" for i in strongest))
    print("seconds:", {stage: round(seconds, 2) for stage, seconds in face.seconds.items()})
    print("metrics:", {name: round(value, 2) for name, value in face.metrics().items()})
    print(face.save(out))


if __name__ == "__main__":
    tyro.cli(main)
