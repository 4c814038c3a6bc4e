"""`python -m garface.training gar --preset cpu-128 --faces FOLDER`."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from garface.data.dataset import FittedFaces
from garface.errors import GarfaceError
from garface.training import PRESETS, describe, train_gar


def main() -> None:
    """Train the renderer on a folder of prepared faces."""
    parser = argparse.ArgumentParser(prog="python -m garface.training", description=main.__doc__)
    parser.add_argument("network", choices=["gar"])
    parser.add_argument("--preset", choices=PRESETS, default="cpu-128")
    parser.add_argument("--faces", type=Path, required=True, help="folder made by `garface data prepare`")
    parser.add_argument("--folder", type=Path, help="of the run; resumed if it holds a checkpoint")
    parser.add_argument("--max-pictures", type=int)
    parser.add_argument("--dry-run", action="store_true", help="print the whole configuration and stop")
    given = {name: value for name, value in vars(parser.parse_args()).items() if value is not None}
    settings = PRESETS[given["preset"]]
    settings = replace(settings, **{name: given[name] for name in ("folder", "max_pictures") if name in given})
    if given["dry_run"]:
        print(describe(settings))
        return
    faces, held_out = (FittedFaces(given["faces"], split=split) for split in ("train", "heldout"))
    print(train_gar(settings, faces, held_out=held_out))


if __name__ == "__main__":
    try:
        main()
    except GarfaceError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
