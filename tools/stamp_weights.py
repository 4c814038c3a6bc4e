"""Write into weight files which head model they belong to; their tensors stay as they are, byte for byte.

    python tools/stamp_weights.py FILE... [--head NAME]

For weights that are older than stamps, and for those that stay valid after their head model has changed: whoever runs
this has made sure of that.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

from garface.files import write_atomic
from garface.heads import DEFAULT_HEAD, load_head, stamp
from garface.weights import WeightsCard


def stamped(content: bytes, head: str) -> bytes:
    """A weight file with `head` in its card. A safetensors file is the length of its header (8 bytes, little endian),
    the header (JSON, whose `__metadata__` holds the card), and the tensors, found by offsets from the header's end.
    """
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    metadata = header["__metadata__"]
    metadata["garface"] = replace(WeightsCard.from_json(metadata["garface"]), head=head).to_json()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the tensors stay aligned
    return len(text).to_bytes(8, "little") + text + content[end:]


def main() -> None:
    """Stamp the files that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
    parser.add_argument("--head", default=DEFAULT_HEAD, metavar="NAME", help="name of the head model")
    given = parser.parse_args()
    head = stamp(load_head(given.head))
    for path in given.files:
        write_atomic(path, stamped(path.read_bytes(), head))
        print(f"{path}: {head}")


if __name__ == "__main__":
    main()
