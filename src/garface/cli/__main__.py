"""`python -m garface.cli`, for when the `garface` script is not on the path."""

import sys

from garface.cli.app import main

sys.exit(main())
