"""Feed damaged files to everything in garface that reads files, and report what is not answered by a clear error.

    python tools/fuzz.py --count 10000
    python tools/fuzz.py --targets photo weights --count 500 --seed 1
    python tools/fuzz.py --targets photo --input 417 --keep damaged     # one input again, kept as a file

Small whole files of every kind are made by code and damaged at random: cut off, bits flipped, integers set to
extremes, pieces removed or repeated, values of their structure replaced by wrong ones. First come bombs: files made to
take much memory or time. Every input is read by a worker process that may take 4 GB more than it has, and 30 seconds of
computing.
A fault is anything but a result or an error of garface in one line: another exception, a crash, a hang, too much
memory. Input i of a seed is always the same. Linux only.
"""

import argparse
import json
import os
import random
import resource
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from fuzz_targets import TARGETS, Target, damaged, outcome

SECONDS, MEMORY = 30, 4 * 2**30
"""Limits of one input."""


@dataclass(frozen=True)
class Found:
    """What became of one input."""

    target: str
    input: str
    """Its number, or the name of a bomb."""
    outcome: str
    """"read", "refused", or what is wrong."""
    seconds: float = 0.0
    """Time of computing."""
    peak_mb: float = 0.0
    """Most memory in use while it was read, more than before."""

    @property
    def fault(self) -> bool:
        """Whether something is wrong."""
        return self.outcome not in ("read", "refused")


def inputs(name: str, target: Target, count: int, seed: int, only: str | None) -> Iterator[tuple[str, str, bytes]]:
    """Bombs, then damaged files: number or name, file name, content."""
    for file, content in target.bombs.items():
        if only in (None, file):
            yield file, file, content
    for number in range(count) if only is None else [int(only)] * only.isdecimal():
        yield str(number), *damaged(target, random.Random(f"{seed}:{name}:{number}"))


def work(pipe: Connection, wanted: list[tuple[str, str, bytes]], target: Target, folder: Path) -> None:
    """Read inputs, one after the other, and tell what became of them; native decoders are not to talk meanwhile."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    for _, file, content in wanted:
        (folder / file).write_bytes(content)
        before, start = _peak(reset=True), time.process_time()
        said = outcome(target, folder / file)
        pipe.send((said, time.process_time() - start, max(_peak() - before, 0)))
        (folder / file).unlink()


def _peak(*, reset: bool = False) -> float:
    """Most memory that this process has had since the last reset, MB."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def run(name: str, target: Target, wanted: list[tuple[str, str, bytes]]) -> Iterator[Found]:
    """What becomes of all inputs; a worker that dies or hangs is replaced."""
    while wanted:
        with TemporaryDirectory() as folder:
            ours, theirs = get_context("fork").Pipe()
            worker = get_context("fork").Process(target=work, args=(theirs, wanted, target, Path(folder)))
            worker.start()
            theirs.close()
            done = 0
            for found in _listen(name, ours, wanted, worker.pid or 0):
                yield found
                done += 1
            worker.kill()
            worker.join()
            wanted = wanted[done:]


def _listen(name: str, pipe: Connection, wanted: list[tuple[str, str, bytes]], pid: int) -> Iterator[Found]:
    """What one worker tells, up to the input that ends it."""
    for number, *_ in wanted:
        started = _busy(pid)
        while not pipe.poll(0.5):
            if _busy(pid) - started > SECONDS:
                yield Found(name, number, f"hangs: more than {SECONDS} s", SECONDS)
                return
        try:
            said, seconds, peak = pipe.recv()
        except EOFError:
            _, status = os.waitpid(pid, 0)
            cause = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else f"code {status}"
            yield Found(name, number, f"crash: {cause}")
            return
        said = f"takes {peak:.0f} MB" if peak > MEMORY / 2**20 and said in ("read", "refused") else said
        yield Found(name, number, said, seconds, peak)


def _busy(pid: int) -> float:
    """Seconds that a process has computed, on a busy machine less than have passed; those since its end count too."""
    try:
        values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return float("inf")
    return (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def main() -> int:
    """Fuzz, print a table and all faults; returns 1 if there are any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--targets", nargs="+", choices=TARGETS, default=list(TARGETS), help="kinds of files")
    parser.add_argument("--count", type=int, default=1000, help="damaged files, shared evenly by the targets")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--input", help="only this number or bomb")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that show faults")
    parser.add_argument("--json", type=Path, help="write what was found to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    every: list[Found] = []
    for name in options.targets:
        target = TARGETS[name]()
        for file, content in target.seeds.items():
            with TemporaryDirectory() as folder:
                (Path(folder) / file).write_bytes(content)
                whole = outcome(target, Path(folder) / file)
                if whole != "read":
                    raise SystemExit(f"{file}, undamaged: {whole}")
        wanted = list(inputs(name, target, options.count // len(options.targets), options.seed, options.input))
        found = list(run(name, target, wanted))
        every += found
        _tell(name, found)
        if options.keep:
            _keep(options.keep, found, wanted)
    if options.json:
        options.json.write_text(json.dumps([asdict(one) for one in every if one.fault or not one.input.isdecimal()]))
    return int(any(one.fault for one in every))


def _tell(name: str, found: list[Found]) -> None:
    """One row for a target, then its faults, each kind once."""
    counts = Counter("fault" if one.fault else one.outcome for one in found)
    slowest, largest = max(one.seconds for one in found), max(one.peak_mb for one in found)
    print(
        f"{name:12} {len(found):6} inputs {counts['read']:6} read {counts['refused']:6} refused "
        f"{counts['fault']:4} faults   slowest {slowest:.2f} s, most memory {largest:.0f} MB",
        flush=True,
    )
    kinds = Counter(one.outcome for one in found if one.fault)
    first = {one.outcome: one.input for one in reversed(found)}
    for kind, times in kinds.most_common():
        print(f"    {times} x (first: {first[kind]}) {kind}", flush=True)


def _keep(folder: Path, found: list[Found], wanted: list[tuple[str, str, bytes]]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for one, (number, file, content) in zip(found, wanted):
        if one.fault:
            (folder / f"{one.target}-{number}-{file}").write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
