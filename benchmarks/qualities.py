"""Time and memory of every quality, on the command line's own path from photo to finished folder.

    python benchmarks/qualities.py
    python benchmarks/qualities.py --qualities fast standard --photos 8 --json qualities.json

Every quality has a process of its own, which reconstructs so many photos (the embedded example under changing light)
with the default settings and writes the results to a temporary folder. Told are the seconds of computing for a photo
and for starting up (of all threads together, so that a busy machine makes no difference), and the most memory that the
process held.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np


def measure(quality: str, photos: int, threads: int) -> dict[str, float]:
    """One quality, in this process."""
    import torch
    from skimage.data import astronaut

    from garface.reconstruction import ReconstructionSettings, Reconstructor
    from garface.reconstruction.collection import Job, reconstruct_collection

    torch.set_num_threads(threads)
    jobs = [
        Job(f"{number}", (astronaut() * (1 - 0.05 * (number % 10))).astype(np.uint8)) for number in range(photos + 1)
    ]
    with TemporaryDirectory() as folder, Reconstructor(ReconstructionSettings(quality=quality)) as reconstructor:
        out = Path(folder)
        first = [outcome.error for outcome in reconstruct_collection(reconstructor, jobs[:1], out)]
        started, start = time.process_time(), time.perf_counter()
        rest = [outcome.error for outcome in reconstruct_collection(reconstructor, jobs[1:], out)]
        assert not any(first + rest)
        computed, passed = time.process_time() - started, time.perf_counter() - start
    return {
        "start_and_first_s": started,
        "computed_s_a_photo": computed / photos,
        "passed_s_a_photo": passed / photos,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--qualities", nargs="+", default=["fast", "standard", "best"])
    parser.add_argument("--photos", type=int, default=4, help="photos that are timed, after one more")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch")
    parser.add_argument("--json", type=Path, help="write all numbers to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.photos, options.threads)))
        return
    rows = {}
    for quality in options.qualities:
        command = [sys.executable, __file__, "--one", quality, "--photos", str(options.photos)]
        command += ["--threads", str(options.threads)]
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        rows[quality] = json.loads(told.splitlines()[-1])
        print(quality, "  ".join(f"{name} {value:.2f}" for name, value in rows[quality].items()), flush=True)
    if options.json:
        options.json.write_text(json.dumps({"photos": options.photos, "threads": options.threads, **rows}, indent=1))


if __name__ == "__main__":
    main()
