"""Images that show what the renderer can do: random faces, grids, interpolations, sweeps, comparisons."""

from garface.gallery.comparison import (
    MEAN_BACKGROUND,
    compare_faces,
    compare_random,
    comparison_sheet,
    mean_albedo,
    painted_albedo,
    shade_classic,
)
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
    appearance_sheet,
    between_appearances,
    between_geometries,
    grid,
    grid_sheet,
    interpolation_frames,
    interpolation_sheet,
    latent_geometry_grid,
    random_faces,
    random_sheet,
)
from garface.gallery.renders import Pixels, Render, render_heads
from garface.gallery.sheets import faces_sheet, image_table
from garface.gallery.sweeps import TURNS, check_sweep, cycle, random_states, sweep, sweep_frames, sweep_sheet
from garface.gallery.turntable import TURNTABLE_VIEWS, turntable, turntable_sheet

__all__ = [
    "DISTANCE",
    "MEAN_BACKGROUND",
    "TURNS",
    "TURNTABLE_VIEWS",
    "Heads",
    "Pixels",
    "Render",
    "appearance_sheet",
    "between_appearances",
    "between_geometries",
    "check_sweep",
    "compare_faces",
    "compare_random",
    "comparison_sheet",
    "cycle",
    "faces_sheet",
    "framed",
    "grid",
    "grid_sheet",
    "heads_between",
    "image_table",
    "interpolation_frames",
    "interpolation_sheet",
    "latent_geometry_grid",
    "mean_albedo",
    "painted_albedo",
    "random_faces",
    "random_heads",
    "random_sheet",
    "random_states",
    "render_heads",
    "shade_classic",
    "straight_heads",
    "sweep",
    "sweep_frames",
    "sweep_sheet",
    "tour_heads",
    "turntable",
    "turntable_sheet",
]
