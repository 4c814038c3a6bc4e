"""A cost of one's own, added from outside: one function and its name, and nothing else changes."""

from pathlib import Path

import torch
from tiny_model import portrait, write_model
from torch import Tensor

from garface.reconstruction import COSTS, Context, ReconstructionSettings, Reconstructor, RefineSettings, Term


def darkness(at: Context) -> Tensor:
    """(B,) how far the render is from black."""
    return (at.image + 1).square().mean((1, 2, 3))


def test_a_cost_of_ones_own_is_one_function_and_its_name(tmp_path: Path) -> None:
    settings = ReconstructionSettings(model=str(write_model(tmp_path)), device="cpu", texture_size=16)

    def rendered(terms: dict[str, Term]) -> tuple[Tensor, list[dict[str, float]]]:
        refinement = RefineSettings(steps=10, rate_style=0.5, terms=terms)
        with Reconstructor(settings, refinement=refinement) as reconstructor:
            face = reconstructor.reconstruct(portrait())[0]
        return face.render(), face.history

    plain, _ = rendered(dict(COSTS))
    dark, history = rendered({**COSTS, "darkness": Term(darkness, weight=1000.0)})
    assert dark.mean() < plain.mean() - 0.01
    assert set(history[0]) == {"total", *COSTS, "darkness"}
    assert history[-1]["darkness"] < history[0]["darkness"]
    weighed = sum(term.weight * history[0][name] for name, term in COSTS.items())
    torch.testing.assert_close(history[0]["total"], weighed + 1000 * history[0]["darkness"], rtol=1e-4, atol=1e-4)
