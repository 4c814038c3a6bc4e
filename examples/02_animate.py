"""Open a reconstruction and animate it: appearance is fixed, one expression and the yaw of the head change.

    python examples/02_animate.py --folder out/example --expression mouthSmileLeft

The folder is a result of `garface reconstruct` or of example 01.
"""

from pathlib import Path

import tyro

from garface.gallery import Render, sweep
from garface.io import contact_sheet, write_gif, write_png
from garface.reconstruction import load_renderer, load_state, read_report


def there_and_back(renders: list[Render]) -> list[Render]:
    return renders + renders[-2:0:-1]


def main(
    folder: Path = Path("out/example"),
    out: Path = Path("out/animation"),
    expression: str = "jawOpen",
    frames: int = 13,
    quick: bool = False,
) -> None:
    """Render the face while one expression grows, then while the head turns.

    Args:
        folder: the reconstruction.
        out: folder for the images.
        expression: ARKit name of the expression.
        frames: renders from one end to the other.
        quick: render few frames only.
    """
    frames = 4 if quick else frames
    model = read_report(folder)["settings"]["model"]
    renderer = load_renderer(model)
    face = load_state(folder, renderer)
    sweeps = [sweep(renderer, face, what, frames=frames) for what in (expression, "yaw")]

    out.mkdir(parents=True, exist_ok=True)
    movie = [render.pair for renders in sweeps for render in there_and_back(renders)]
    write_gif(movie, out / "sweep.gif", fps=12)
    renders = [render for row in sweeps for render in row]
    write_png(out / "sweep.png", contact_sheet([d.image for d in renders], frames, [d.label for d in renders]))
    print(out)


if __name__ == "__main__":
    tyro.cli(main)
