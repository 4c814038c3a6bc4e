"""Named exceptions for everything a user can cause.

Each carries one sentence: what was expected, what came, and what to do. The command line prints it and exits
with code 2.
"""


class GarfaceError(Exception):
    """Base of all errors that a user can cause and mend."""


class InputError(GarfaceError):
    """A photo, folder or file that cannot be used."""


class NoFaceError(InputError):
    """A photo without a face that is large and clear enough."""


class OutputError(GarfaceError):
    """A place that cannot be written."""


class SettingError(GarfaceError, ValueError):
    """A setting outside its range, or settings that contradict each other."""


class AssetError(GarfaceError):
    """A third-party file that is missing, cannot be fetched, or is not the one that was expected."""


class WeightsError(GarfaceError):
    """A weight file or checkpoint that cannot be read or belongs to another configuration."""


class Cancelled(GarfaceError):
    """Not a mistake: whoever listens to the progress of some work raises it to end that work."""


class MissingExtraError(GarfaceError, ImportError):
    """An optional library that is not installed; the sentence names the extra to install."""
