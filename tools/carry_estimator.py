"""Carry a shape estimator over from the head before calibration to the calibrated one.

    python tools/carry_estimator.py HEAD shape-old.safetensors shape.safetensors

HEAD is a table that `tools/build_head.py` wrote. An estimator that was trained on the sliders' own mean and principal
components answers with coefficients c of these. The same shape has coefficients z under HEAD, and c = prior_mean +
prior_factor z. The last layer of the network is linear, so z = prior_factor^-1 (W h + b - prior_mean) is another layer
of the same size. Shapes stay as they were, except for lids and lips at rest.

Do this once only: weights that were carried over already answer in the coefficients of HEAD. Those whose card names
HEAD are refused.
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from garface.heads import stamp
from garface.heads.embedded import _from_arrays
from garface.weights import load_weights, save_weights


def carried(
    weight: torch.Tensor, bias: torch.Tensor, mean: torch.Tensor, factor: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (K, H) and bias (K,) of the last layer for the head whose prior has this mean (K,) and factor (K, K)."""
    rows = torch.linalg.solve(factor.double(), torch.cat([weight.double(), (bias.double() - mean)[:, None]], 1))
    return rows[:, :-1].float(), rows[:, -1].float()


def read_head(path: Path) -> tuple[torch.Tensor, torch.Tensor, str]:
    """Mean (K,) and factor (K, K) of the prior of a calibrated head, and its stamp."""
    with np.load(path, allow_pickle=False) as table:
        arrays = dict(table)
    if "prior_factor" not in arrays:
        raise SystemExit(f"{path} is not calibrated: write it with tools/build_head.py.")
    mean, factor = (torch.from_numpy(arrays[name]).double() for name in ("prior_mean", "prior_factor"))
    return mean, factor, stamp(_from_arrays(arrays))


def main() -> None:
    """Write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("head", type=Path, help="the table of the calibrated head")
    parser.add_argument("old", type=Path, help="weights of a shape estimator of the head before calibration")
    parser.add_argument("new", type=Path, help="the file to write")
    args = parser.parse_args()
    mean, factor, head = read_head(args.head)
    loaded = load_weights(args.old)
    if loaded.card.head == head:
        raise SystemExit(f"{args.old} belongs to this head already.")
    weight, bias = carried(loaded.tensors["identity.weight"], loaded.tensors["identity.bias"], mean, factor)
    tensors = loaded.tensors | {"identity.weight": weight, "identity.bias": bias}
    save_weights(args.new, tensors, replace(loaded.card, head=head))


if __name__ == "__main__":
    main()
