"""Progressive size: trainings that begin with small images."""

from collections.abc import Sequence

from garface.errors import SettingError

FOREVER = 1_000_000_000_000
"""More images than any training sees: the end of the last stage."""


def stage_at(stages: Sequence[tuple[int, int]], images: int) -> int:
    """Side of the images, pixels, after `images`; `stages` are (pixels, until so many images)."""
    return next((size for size, until in stages if images < until), stages[-1][0])


def stage_begin(stages: Sequence[tuple[int, int]], images: int) -> int:
    """How many images were seen when the stage after `images` began."""
    return max((until for _, until in stages if until <= images), default=0)


def check_stages(stages: Sequence[tuple[int, int]], *, end: int) -> None:
    """Raise a SettingError unless sizes grow, to the renderer's size `end`, pixels."""
    sizes = [size for size, _ in stages]
    if sizes != sorted(sizes) or sizes[-1] != end:
        raise SettingError(f"stages must grow and end at the renderer's {end} pixels, but are {sizes}.")
