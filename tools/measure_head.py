"""Print measurements of head models beside those of people.

    python tools/measure_head.py PEOPLE src/garface/heads/data/head.npz

PEOPLE is the folder with the survey that `tools/build_head.py` reads. Means are in millimetres, and in standard
deviations of people. Spreads are those of heads of one size, because the model's heads have no size: an image does not
tell it.
"""

import argparse
from pathlib import Path

import numpy as np
from anthropometry import FITTED, NOT_FITTED, build_ruler, read_people, size_free

SAMPLES = 1000


def sampled(arrays: dict[str, np.ndarray], samples: int) -> np.ndarray:
    """Measurements (N, D) of random heads."""
    ruler, basis = build_ruler(arrays, FITTED), arrays["identity_basis"].astype(float)
    draws = np.random.default_rng(0).standard_normal((samples, len(basis)))
    return np.stack([ruler.lengths(arrays["mean"] + np.tensordot(draw, basis, 1)) for draw in draws])


def table(path: Path, folder: Path) -> str:
    """The measurements of a head's table as Markdown."""
    with np.load(path, allow_pickle=False) as stored:
        arrays = dict(stored)
    people = read_people(folder)
    spread, wanted = size_free(sampled(arrays, SAMPLES)).std(0), people.size_free().deviation()
    mean, deviation = people.mean(), people.deviation()
    found = build_ruler(arrays, FITTED).lengths(arrays["mean"].astype(float))
    lines = ["| | people | model | off | spread of people | of the model | ratio |", "|---|---|---|---|---|---|---|"]
    for row in zip(FITTED, mean, deviation, found, (found - mean) / deviation, wanted, spread, spread / wanted):
        lines.append("| {} | {:.1f} ± {:.1f} | {:.1f} | {:+.2f} | {:.1f} | {:.1f} | {:.2f} |".format(*row))
    for name in NOT_FITTED:
        some, length = read_people(folder, (name,)), build_ruler(arrays, (name,)).lengths(arrays["mean"].astype(float))
        mean, deviation = some.mean(), some.deviation()
        row = (name, *mean, *deviation, *length, *(length - mean) / deviation)
        lines.append("| {} | {:.1f} ± {:.1f} | {:.1f} | {:+.2f} | | | |".format(*row))
    close = int((np.abs(spread / wanted - 1) <= 0.2).sum())
    return "\n".join([*lines, "", f"{close} of {len(FITTED)} spreads are within 20 % of people's."])


def main() -> None:
    """Print the table of every head."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("people", type=Path, help="folder with the survey")
    parser.add_argument("heads", type=Path, nargs="+", help="tables of heads, such as head.npz")
    args = parser.parse_args()
    for path in args.heads:
        print(f"{path}\n\n{table(path, args.people)}\n")


if __name__ == "__main__":
    main()
