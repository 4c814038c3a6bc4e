"""The command line, `garface COMMAND`: one module per command.

Modules here import nothing heavy at the top, so that help and usage errors appear at once.
"""

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

_INTERRUPTED = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run `garface ARGV` and return its exit code, see `garface.cli.app.main`."""
    from garface.cli import app

    return app.main(argv)


def script() -> NoReturn:
    """Run `garface` as a program.

    After Ctrl-C everything has been tidied up, so the process ends without waiting for the threads of native libraries:
    those of MediaPipe, interrupted at some moments, hold it for minutes.
    """
    try:
        code = main()
    except KeyboardInterrupt:
        code = _INTERRUPTED
    if code == _INTERRUPTED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
