"""The command line, `garface COMMAND`: one module per command.

Modules here import nothing heavy at the top, so that help and usage errors appear at once.
"""

from garface.cli.app import main

__all__ = ["main"]
