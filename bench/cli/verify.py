"""`backprop verify`: an implementation against the contract, in a process of its own."""

import secrets
import shlex
import textwrap
from collections.abc import Sequence

import click

from bench.cli.options import Seconds, complete_implementations
from bench.runner.process import WorkerFailed, WorkerProcess
from bench.system.cpus import cores, places
from bench.system.files import temporary_folder
from bench.worker.protocol import Start, Started, Verified, Verify
from impls.conformance.violation import Violation, simplest
from impls.registry import find
from impls.support.errors import Unavailable
from impls.support.loading import Target
from impls.support.text import printable_lines

WIDTH = 100  # columns
TIME_OUT_SECONDS = 900.0  # torch.compile takes six minutes of CPU time for all networks of the kit
MOST_LINES = 3  # of what was found
MOST_FRAMES = 3  # of a traceback
MOST_NAMES = 8  # of other checks that fail
QUIET = (  # what warnings of a correct implementation mean, and what to do about them
    "The results are correct. scipy.special.expit, or np.errstate(over='ignore', invalid='ignore') around that line, "
    "avoids the warning."
)
EXAMPLES, SECONDS = 300, 8.0  # enough for all of them and a row in NumPy, within 15 s with the checks


@click.command()
@click.argument("implementation", metavar="[LABEL=]NAME|PATH:CLASS", shell_complete=complete_implementations)
@click.option(
    "--examples", type=click.IntRange(0, 1_000_000), default=EXAMPLES, show_default=True, help="Random programs to run."
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Run the programs of an earlier run again.")
@click.option(
    "--seconds",
    type=Seconds(),
    default=SECONDS,
    show_default=True,
    help="For the programs, and again to shrink one that fails.",
)
@click.option("--time-out", type=Seconds(), default=TIME_OUT_SECONDS, show_default=True, help="Seconds to wait.")
@click.option("--all", "everything", is_flag=True, help="Print every violation, not the simplest failing case only.")
@click.option("-v", "--verbose", is_flag=True, help="Print whole tracebacks, too.")
def verify(
    implementation: str,
    examples: int,
    seed: int | None,
    seconds: float,
    time_out: float,
    everything: bool,
    verbose: bool,
) -> int:
    """Check an implementation against the contract; exit with 1 if it does not conform.

    First come checks of known mistakes. If they find nothing, random call sequences follow, and every result is
    compared with the reference's. A failure is shrunk to a minimal Python script that runs; the seed beside it repeats
    the search.

    \b
    backprop verify in_place
    backprop verify mine.py:Mine --examples=10000 --seconds=600
    """
    entry = find(implementation)
    reason = entry.unavailable()
    if reason:
        raise Unavailable(f"{entry.name} is unavailable: it {reason}")
    seed = secrets.randbelow(2**32) if seed is None else seed
    repeat = f"backprop verify {shlex.quote(implementation)} --seed {seed}"
    repeat += f" --examples {examples}" if examples != EXAMPLES else ""
    with temporary_folder() as folder:
        try:
            found = _verified(entry.target, Verify(examples, seed, seconds, str(folder)), time_out)
        except WorkerFailed as failure:
            _say(f"{entry.name}: {failure.outcome}: {failure}")
            _say_details(failure.details, verbose)
            program = folder / Verify.PROGRAM
            if program.is_file():
                text = program.read_text(encoding="utf-8", errors="replace")
                _say(f"\nIt was running this program ({repeat}):\n\n{text}")
            return 1
    if not found.violations:
        _say(f"{entry.name}: conforms{_explored(found.programs, examples, seconds, seed)}")
        for warning in found.warnings:
            _say(f"  remark   {warning}")
        if found.warnings:
            _say(textwrap.fill(QUIET, WIDTH, initial_indent="           ", subsequent_indent="           "))
    elif everything:
        for violation in found.violations:
            _say(f"{entry.name}: {violation}")
    else:
        _say(_lesson(entry.name, found.violations))
    _say_details(_tracebacks(found.violations, everything), verbose)
    for violation in found.violations:
        if violation.program:
            _say(f"\nThis program shows it; {repeat} finds it again.\n\n{violation.program}")
    return 1 if found.violations else 0


def _say(text: str) -> None:
    """Print a text that may hold a row's own words."""
    click.echo(printable_lines(text))


def _say_details(details: str, verbose: bool) -> None:
    """Print details such as a traceback, if there are any, or how to see them."""
    if details:
        _say(f"\n{details}" if verbose else "(-v shows the details)")


def _tracebacks(violations: Sequence[Violation], everything: bool) -> str:
    """Return the tracebacks of the violations that are printed, each once."""
    shown = violations if everything or not violations else [simplest(violations)]
    return "\n\n".join(dict.fromkeys(violation.traceback for violation in shown if violation.traceback))


def _verified(target: Target, request: Verify, time_out: float) -> Verified:
    """Return what a worker finds. Raises WorkerFailed."""
    worker = WorkerProcess(1, places(cores(), 0), time_out)
    try:
        worker.ask(Start(target), Started)
        return worker.ask(request, Verified)
    finally:
        worker.close()


def _explored(programs: int, examples: int, seconds: float, seed: int) -> str:
    """Return in brackets what was run besides the checks."""
    if not programs:
        return ""
    ended = f" in {seconds:g} s" if programs < examples else ""
    return f" (all checks and {programs} random programs{ended}; --seed {seed} repeats them)"


def _lesson(name: str, violations: Sequence[Violation]) -> str:
    """Return the simplest failing case, with the likely mistake, and what else fails."""
    first = simplest(violations)
    lines = [f"{name}: {first.check}: {first.setting}"]
    lines += _entry("expected", first.promise)
    lines += _entry("found", first.found)
    for number, frame in enumerate(first.frames[-MOST_FRAMES:]):
        lines += _entry("" if number else "at", frame)
    lines += _entry("diagnosis", first.diagnosis)
    others = len(violations) - 1
    if others:
        checks = list(dict.fromkeys(violation.check for violation in violations if violation is not first))
        counted = f"{len(checks)} checks" if checks[1:] else "1 check"
        names = ", ".join(checks[:MOST_NAMES]) + (", …" if checks[MOST_NAMES:] else "")
        text = f"and {others} more in {counted}: {names} (--all shows them)"
        lines += textwrap.wrap(text, WIDTH, break_on_hyphens=False)
    return "\n".join(lines)


def _entry(key: str, text: str) -> list[str]:
    """Return a key and its text, wrapped and indented; nothing for no text."""
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"  {key:<11}",
        subsequent_indent=" " * 13,
        max_lines=MOST_LINES,
        placeholder=" …",
        break_on_hyphens=False,
    )
