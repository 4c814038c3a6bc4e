"""Pictures that show what the renderer can do: random faces, grids, interpolations, sweeps, comparisons."""

from garface.gallery.comparison import (
    MEAN_BACKGROUND,
    compare_faces,
    compare_random,
    comparison_sheet,
    draw_by_graphics,
    mean_albedo,
    painted_albedo,
)
from garface.gallery.drawing import Drawing, Pixels, draw_heads
from garface.gallery.heads import (
    DISTANCE,
    Heads,
    framed,
    heads_between,
    random_heads,
    straight_heads,
    tour_heads,
)
from garface.gallery.latents import (
    between_geometries,
    between_looks,
    grid,
    grid_sheet,
    interpolation_frames,
    interpolation_sheet,
    latent_geometry_grid,
    looks_sheet,
    random_faces,
    random_sheet,
)
from garface.gallery.sheets import faces_sheet, picture_table
from garface.gallery.sweeps import TURNS, check_sweep, cycle, random_states, sweep, sweep_frames, sweep_sheet

__all__ = [
    "DISTANCE",
    "MEAN_BACKGROUND",
    "TURNS",
    "Drawing",
    "Heads",
    "Pixels",
    "between_geometries",
    "between_looks",
    "check_sweep",
    "compare_faces",
    "compare_random",
    "comparison_sheet",
    "cycle",
    "draw_by_graphics",
    "draw_heads",
    "faces_sheet",
    "framed",
    "grid",
    "grid_sheet",
    "heads_between",
    "interpolation_frames",
    "interpolation_sheet",
    "latent_geometry_grid",
    "looks_sheet",
    "mean_albedo",
    "painted_albedo",
    "picture_table",
    "random_faces",
    "random_heads",
    "random_sheet",
    "random_states",
    "straight_heads",
    "sweep",
    "sweep_frames",
    "sweep_sheet",
    "tour_heads",
]
