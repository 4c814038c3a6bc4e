"""Networks of others, for the renderer's crops: who it is, where the landmarks are, what was seen on the way there.

The first two are the judges of the paper's swap losses (section 3.3).

Each network wants the face framed in its own way. All our crops are framed as in FFHQ, by the eyes and the mouth, so a
fixed window of the crop does for both; it may also be given for every image. A window is cut out with a bilinear
filter that is widened where the image shrinks: two products with matrices, exact gradients, at any size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from garface.borrowed.dlib import CHIP, IdentityNetwork, load_identity_critic
from garface.borrowed.mediapipe import SIDE, LandmarkNetwork, load_landmark_critic
from garface.checks import check_shape

IDENTITY_WINDOW = (0.158, 0.258, 0.842, 0.942)
"""Left, top, right and bottom of dlib's chips (150 px, padding 0.25) as shares of the crop's side: the mean over the
chips that dlib cuts by 68 landmarks out of 1,375 training photos. From face to face their side varies by 4 %, their
centre by 1 % of the crop and their angle by 1.6 degrees (standard deviations)."""
LANDMARK_WINDOW = (0.0175, 0.12, 0.9825, 1.085)
"""The same of MediaPipe's squares, see `face_window`; side and centre vary by 6 % and 5 %, the latter with the turn of
the head. It reaches below the crop, whose last row is repeated there."""
_BEFORE = 128
"""Channels of the identity network's last stage but one."""
FACE_FEATURES = 128 * 4 * 4 + 256 * 2 * 2 + _BEFORE * 3 * 3
"""Numbers that `FaceFeatures` gives."""
_FACE_MARGIN = 1.5


class IdentityFeatures(nn.Module):
    """Crops to identity features.

    Args:
        network: frozen.
    """

    def __init__(self, network: IdentityNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, window: Tensor | None = None) -> Tensor:
        """Features (B, 128), float32, of crops (B, 3, R, R) in [-1, 1].

        Args:
            image: the crops; values may overshoot.
            window: (B, 4) left, top, right, bottom in px of the crop; None takes `IDENTITY_WINDOW`.
        """
        window = fixed_window(image, IDENTITY_WINDOW) if window is None else window
        return self.network((cut(image, window, CHIP) + 1) / 2)


class LandmarkPoints(nn.Module):
    """Crops to 478 landmarks.

    In 300 training photos of 128 px, the points seen through the fixed window lie 1.5 % of the interocular distance
    from those MediaPipe found in the photo (1.4 % through each mesh's own `face_window`); 3.2 % (2.4 %) where the head
    is turned by 30 to 45 degrees.

    Args:
        network: frozen.
    """

    def __init__(self, network: LandmarkNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor, window: Tensor | None = None) -> Tensor:
        """Landmarks (B, 478, 2), px of the crop, float32, in crops (B, 3, R, R) in [-1, 1].

        Args:
            image: the crops; values may overshoot.
            window: (B, 4) left, top, right, bottom in px of the crop; None takes `LANDMARK_WINDOW`.
        """
        window = fixed_window(image, LANDMARK_WINDOW) if window is None else window
        points, _ = self.network((cut(image, window, SIDE) + 1) / 2)
        corner, opposite = window[:, None, :2], window[:, None, 2:]
        return corner + points[..., :2] / SIDE * (opposite - corner)


class FaceFeatures(nn.Module):
    """Crops to what two networks that learned from photos have seen: one that finds landmarks, one that knows people.

    From the first when an image is left with 4 x 4 places, from the second at its end and, averaged over 3 x 3 places,
    a stage before.

    Args:
        landmarks: frozen.
        identity: frozen.
    """

    def __init__(self, landmarks: LandmarkNetwork, identity: IdentityNetwork) -> None:
        super().__init__()
        self.landmarks, self.identity = landmarks, identity

    def forward(self, image: Tensor) -> Tensor:
        """Features (B, `FACE_FEATURES`), float32, of crops (B, 3, R, R) in [-1, 1]."""
        window = cut(image, fixed_window(image, LANDMARK_WINDOW), SIDE)
        landmarks = self.landmarks.network.seen((window + 1) / 2, side=4)
        maps = self.identity.seen((cut(image, fixed_window(image, IDENTITY_WINDOW), CHIP) + 1) / 2)
        before = next(x for x in reversed(maps) if x.shape[1] == _BEFORE)
        parts = (landmarks, maps[-1], F.adaptive_avg_pool2d(before.float(), 3))
        return torch.cat([part.float().flatten(1) for part in parts], dim=1)


def load_face_features() -> FaceFeatures:
    """Frozen and in evaluation mode.

    Raises:
        AssetError: a network's file is neither here nor can be fetched.
    """
    return FaceFeatures(load_landmark_critic(), load_identity_critic()).eval()


def load_identity_features() -> IdentityFeatures:
    """For the critic `identity`: frozen and in evaluation mode.

    Raises:
        AssetError: the network's file is neither here nor can be fetched.
    """
    return IdentityFeatures(load_identity_critic()).eval()


def load_landmark_points() -> LandmarkPoints:
    """For the critic `landmarks`: frozen and in evaluation mode.

    Raises:
        AssetError: the network's file is neither here nor can be fetched.
    """
    return LandmarkPoints(load_landmark_critic()).eval()


def face_window(points: Tensor) -> Tensor:
    """MediaPipe's square around the points of upright faces, which it widens so that the whole head is in it.

    Args:
        points: (B, N, 2) px, for instance the projected landmarks of a mesh.

    Returns:
        (B, 4) left, top, right, bottom in px.
    """
    low, high = points.amin(1), points.amax(1)
    centre, half = (low + high) / 2, (high - low).amax(1, keepdim=True) * (_FACE_MARGIN / 2)
    return torch.cat([centre - half, centre + half], dim=1)


def fixed_window(image: Tensor, shares: tuple[float, float, float, float]) -> Tensor:
    """One window, given in shares of the image's side, for every image (B, C, R, R): (B, 4) px."""
    edges = [image.new_full((len(image),), share, dtype=torch.float32) for share in shares]  # no copy to a GPU
    return torch.stack(edges, dim=1).mul(image.shape[-1])


def cut(image: Tensor, window: Tensor, size: int) -> Tensor:
    """Windows of images, resampled; the edge is repeated outside.

    Args:
        image: (B, C, H, W).
        window: (B, 4) left, top, right, bottom in px, where the first pixel reaches from 0 to 1.
        size: side of the result, px.

    Returns:
        (B, C, size, size), at least float32, also under autocast; differentiable in image and window. Exact for
        images that are linear in x and y where it grows.

    Raises:
        SettingError: shapes that do not fit.
    """
    check_shape("image", image, (None, None, None, None))
    check_shape("window", window, (len(image), 4))
    with torch.autocast(image.device.type, enabled=False):
        image = image.to(torch.promote_types(image.dtype, torch.float32))
        left, top, right, bottom = window.to(image).unbind(1)
        rows = resampling(top, bottom, image.shape[-2], size)
        columns = resampling(left, right, image.shape[-1], size)
        return rows[:, None] @ image @ columns.mT[:, None]


def resampling(start: Tensor, stop: Tensor, length: int, size: int) -> Tensor:
    """Matrices (B, size, length) that take `size` samples of a line of `length` pixels between start and stop (B,).

    Tents as wide as the distance of two pixels or of two samples, whichever is more.
    """
    step = ((stop - start) / size)[:, None]
    places = start[:, None] + (torch.arange(size, device=start.device) + 0.5) * step
    pixels = torch.arange(length, device=start.device) + 0.5
    distance = (places.clamp(0.5, length - 0.5)[:, :, None] - pixels).abs()
    tents = (1 - distance / step.abs().clamp(min=1)[:, :, None]).clamp(min=0)
    return tents / tents.sum(2, keepdim=True)
