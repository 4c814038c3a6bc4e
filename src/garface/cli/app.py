"""The entry point: parse the command, run it, and turn every ending into a sentence and an exit code."""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib.metadata import version
from types import UnionType
from typing import Annotated, Any, Protocol, Union, get_args, get_origin

import tyro
from tyro.conf import FlagCreatePairsOff, OmitArgPrefixes, OmitSubcommandPrefixes, subcommand

from garface.cli.data import Inspect, Prepare, RenderedTestSet, Synthesize
from garface.cli.evaluate import Fit, Photos
from garface.cli.evaluate_ablation import Ablation
from garface.cli.evaluate_control import Control
from garface.cli.evaluate_fid import Fid
from garface.cli.evaluate_geometry import Geometry
from garface.cli.evaluate_likeness import Likeness
from garface.cli.evaluate_normals import Normals as SeenNormals
from garface.cli.evaluate_quality import QualityReport
from garface.cli.evaluate_skin import Skin
from garface.cli.models import Add, Fetch, List
from garface.cli.reconstruct import Reconstruct
from garface.cli.render import Comparison, Grid, Interpolation, Random, Sweep
from garface.cli.render_gallery import Gallery
from garface.cli.terminal import BROKEN_PIPE, FAILED, INTERRUPTED, UNEXPECTED, debugging, say, unexpected
from garface.cli.train import Adapters, Gar, Inverter, NormalEncoder, Normals, OutputBlock, Parser, Readout, Shape
from garface.cli.turntable import Turntable
from garface.errors import GarfaceError, SettingError
from garface.spelling import unknown_name

DESCRIPTION = (
    "Photo in, 3D head out, by inverting a generative renderer. To start: garface reconstruct --example --out heads. "
    "Help on a command: garface COMMAND --help. Version: garface --version."
)

Render = (
    Annotated[Random, subcommand("random")]
    | Annotated[Sweep, subcommand("sweep")]
    | Annotated[Grid, subcommand("grid")]
    | Annotated[Interpolation, subcommand("interpolation")]
    | Annotated[Comparison, subcommand("comparison")]
    | Annotated[Gallery, subcommand("gallery")]
)
Data = (
    Annotated[Synthesize, subcommand("synthesize")]
    | Annotated[Prepare, subcommand("prepare")]
    | Annotated[Inspect, subcommand("inspect")]
    | Annotated[RenderedTestSet, subcommand("heads")]
)
Train = (
    Annotated[Gar, subcommand("gar")]
    | Annotated[Normals, subcommand("normals")]
    | Annotated[Inverter, subcommand("inverter")]
    | Annotated[Parser, subcommand("parser")]
    | Annotated[Shape, subcommand("shape")]
    | Annotated[Readout, subcommand("readout")]
    | Annotated[OutputBlock, subcommand("output-block")]
    | Annotated[NormalEncoder, subcommand("normal-encoder")]
    | Annotated[Adapters, subcommand("adapters")]
)
Evaluate = (
    Annotated[Fid, subcommand("fid")]
    | Annotated[Control, subcommand("control")]
    | Annotated[SeenNormals, subcommand("normals")]
    | Annotated[Ablation, subcommand("ablation")]
    | Annotated[Photos, subcommand("photos")]
    | Annotated[Fit, subcommand("fit")]
    | Annotated[Likeness, subcommand("likeness")]
    | Annotated[Geometry, subcommand("geometry")]
    | Annotated[QualityReport, subcommand("quality")]
    | Annotated[Skin, subcommand("skin")]
)
Models = Annotated[List, subcommand("list")] | Annotated[Fetch, subcommand("fetch")] | Annotated[Add, subcommand("add")]
Command = (
    Annotated[Reconstruct, subcommand("reconstruct")]
    | Annotated[Render, subcommand("render", description="Render faces: still images and animations.")]
    | Annotated[Turntable, subcommand("turntable")]
    | Annotated[Data, subcommand("data", description="Make, prepare and inspect training sets; make test sets.")]
    | Annotated[Train, subcommand("train", description="Train the renderer, the inverter or an estimator.")]
    | Annotated[Evaluate, subcommand("evaluate", description="Measure renderers, reconstructions and landmark fits.")]
    | Annotated[
        Models,
        subcommand("models", default=List(), description="List, download and add model files, with their licences."),
    ]
)


class Runnable(Protocol):
    """A command with its arguments."""

    def run(self) -> int:
        """Run it; returns the exit code."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run `garface ARGV` and return its exit code.

    0 is success; 2 a mistake of the user, explained in one sentence; 1 a defect of garface; 130 Ctrl-C; 141 a closed
    pipe.

    Args:
        argv: without the program's name; None uses those of the process.

    Raises:
        SystemExit: help was asked for (code 0) or the arguments cannot be understood (code 2).
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments == ["--version"]:
        print(f"garface {version('garface')}")
        return 0
    command = parse(arguments)

    def run() -> int:
        _check_seeds(command)
        return command.run()

    return guarded(run)


def parse(arguments: Sequence[str]) -> Runnable:
    """The command that `arguments` ask for."""
    command: Any = Command
    check_command(arguments, command)
    config = (OmitSubcommandPrefixes, OmitArgPrefixes, FlagCreatePairsOff)
    found: Runnable = tyro.cli(command, prog="garface", description=DESCRIPTION, args=arguments, config=config)
    return found


def check_command(arguments: Sequence[str], command: Any) -> None:
    """Leave the program with a sentence if the first words of `arguments` are no command of the tree `command`.

    Raises:
        SystemExit: with code 2; the sentence names the most similar command.
    """
    known, said = _subcommands(command), ["garface"]
    for word in arguments:
        if word.startswith("-") or not known:
            return
        if word not in known:
            say(unknown_name(f"`{' '.join(said)}` command", word, known))
            raise SystemExit(FAILED)
        said, known = [*said, word], _subcommands(known[word])


def _subcommands(command: Any) -> dict[str, Any]:
    """What a command chooses from, by name; empty for one that takes arguments of its own."""
    if get_origin(command) is Annotated:
        command = get_args(command)[0]
    choices = get_args(command) if get_origin(command) in (Union, UnionType) else ()
    return {get_args(choice)[1].name: get_args(choice)[0] for choice in choices}


def _check_seeds(command: object) -> None:
    """Raise a SettingError unless every random generator accepts the seeds of a command."""
    for seed in (getattr(command, "seed", 0), *getattr(command, "seeds", ())):
        if not 0 <= seed < 2**32:
            raise SettingError(f"A seed must be 0 to {2**32 - 1}, not {seed}.")


def guarded(run: Callable[[], int]) -> int:
    """Call `run`. Every ending becomes an exit code and, after a failure, one sentence."""
    try:
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be UTF-8
        with warnings.catch_warnings():
            if not debugging() and not sys.warnoptions:
                warnings.simplefilter("ignore")  # for programmers only
            code = run()
        sys.stdout.flush()
    except GarfaceError as error:
        say(str(error))
        return FAILED
    except KeyboardInterrupt:
        say("stopped by Ctrl-C; no incomplete result was left behind.")
        return INTERRUPTED
    except BrokenPipeError:
        _forget_output()
        return BROKEN_PIPE
    except Exception as error:
        if debugging():
            raise
        say(unexpected(error))
        return UNEXPECTED
    return code


def _forget_output() -> None:
    """Discard what is still to be printed: its reader is gone, and Python would complain at exit."""
    with contextlib.suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
