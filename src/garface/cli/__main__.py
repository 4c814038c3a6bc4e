"""`python -m garface.cli`, for when the `garface` script is not on the path."""

from garface.cli import script

script()
