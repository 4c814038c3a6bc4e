"""Find a face, fit the morphable model to its landmarks, and show the fit on its crop. No trained renderer needed.

python examples/04_fit_landmarks.py --photo portrait.jpg
"""

from pathlib import Path

import skimage.data
import tyro

from garface import load_head
from garface.heads import landmark_points
from garface.io import draw_points, read_photo, to_uint8, write_png
from garface.photo.detector import LandmarkDetector
from garface.photo.fitting import align_face, fit_aligned


def main(photo: Path | None = None, out: Path = Path("out/fit.png"), size: int = 512) -> None:
    """Fit one face and write its crop with detected (green) and fitted (red) landmarks.

    Args:
        photo: image file; by default the astronaut of scikit-image.
        out: image to write.
        size: side of the crop in which the fit happens, pixels.
    """
    pixels = read_photo(photo).pixels if photo else skimage.data.astronaut()
    model = load_head()
    with LandmarkDetector() as detector:
        found = detector.find(pixels)[0]  # the largest face
    aligned = align_face(pixels, found, size)
    fit = fit_aligned(model, [aligned])
    head = fit.pose.apply(model.vertices(fit.identity, fit.expression))  # (1, V, 3) millimetres, camera frame
    fitted = fit.camera.project(landmark_points(model, head))[0]

    # The fit happened in the crop. The same head before the camera of the full photo, exactly:
    camera, pose = aligned.to_photo(fit.camera, fit.pose)
    error = float(fit.error.mean() / aligned.similarity.scale[0])
    share = 100 * error / found.interocular_distance
    print(f"mean landmark error {error:.2f} px, {share:.2f} % of the interocular distance")
    print(f"focal length {float(camera.focal[0]):.0f} px, distance {-float(pose.translation[0, 2]):.0f} mm")

    out.parent.mkdir(parents=True, exist_ok=True)
    marked = draw_points(to_uint8(aligned.image), aligned.points[0].numpy(), colour=(0, 200, 0))
    write_png(out, draw_points(marked, fitted.numpy(), colour=(230, 0, 0)))
    print(out)


if __name__ == "__main__":
    tyro.cli(main)
