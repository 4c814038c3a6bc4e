"""Says which Python is needed before anything is resolved; everything else is in pyproject.toml.

Old versions of pip report a conflict of some dependency instead.
"""

import sys

from setuptools import setup

if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"garface needs Python 3.11 or newer, but this is Python {sys.version_info[0]}.{sys.version_info[1]}.")

setup()
