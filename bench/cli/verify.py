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
    "The results are correct. scipy.special.expit avoids the warning,\n"
    "or np.errstate(over='ignore', invalid='ignore') around that line."
)
EXAMPLES, SECONDS = 300, 8.0  # enough for an implementation in NumPy to run all of them, within 15 s with the checks


@click.command()
@click.argument("implementation", metavar="[LABEL=]NAME|PATH:CLASS", shell_complete=complete_implementations)
@click.option(
    "--examples",
    type=click.IntRange(0, 1_000_000),
    default=EXAMPLES,
    show_default=True,
    help="Random call sequences to run.",
)
@click.option("--seed", type=click.IntRange(0, 2**32 - 1), help="Run the call sequences of an earlier run again.")
@click.option(
    "--seconds",
    type=Seconds(),
    default=SECONDS,
    show_default=True,
    help="For the call sequences, and again to shrink one that fails.",
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
    repeat = f"backprop verify {shlex.quote(implementation)} --seed {seed} --examples {examples}"
    with temporary_folder() as folder:
        try:
            verified = _verified(entry.target, Verify(examples, seed, seconds, str(folder)), time_out)
        except WorkerFailed as failure:
            _print(f"{entry.name}: {failure.outcome}: {failure}")
            _print_details(failure.details, verbose)
            program = folder / Verify.PROGRAM
            if program.is_file():
                text = program.read_text(encoding="utf-8", errors="replace")
                _print(f"\nIt was running this program ({repeat}):\n\n{text}")
            return 1
    if not verified.violations:
        ended = f" in {seconds:g} s" if verified.programs < examples else ""
        explored = f" (all checks and {verified.programs} random programs{ended}; --seed {seed} repeats them)"
        _print(f"{entry.name}: conforms{explored if verified.programs else ''}")
        for warning in verified.warnings:
            _print(f"  remark   {warning}")
        if verified.warnings:
            _print(textwrap.indent(QUIET, "           "))
        return 0
    _print_violations(entry.name, verified.violations, everything, verbose)
    for violation in verified.violations:
        if violation.program:
            _print(f"\nThis program shows it; {repeat} finds it again.\n\n{violation.program}")
    return 1


def _print(text: str) -> None:
    """Print a text that may hold an implementation's own words."""
    click.echo(printable_lines(text))


def _print_details(details: str, verbose: bool) -> None:
    """Print details such as a traceback, if there are any, or how to see them."""
    if details:
        _print(f"\n{details}" if verbose else "(-v shows the details)")


def _print_violations(name: str, violations: Sequence[Violation], everything: bool, verbose: bool) -> None:
    """Print all violations or the simplest one, and the tracebacks of those, each once."""
    shown = violations if everything else [simplest(violations)]
    _print("\n".join(f"{name}: {violation}" for violation in shown) if everything else _lesson(name, violations))
    tracebacks = dict.fromkeys(violation.traceback for violation in shown if violation.traceback)
    _print_details("\n\n".join(tracebacks), verbose)


def _verified(target: Target, request: Verify, time_out: float) -> Verified:
    """Return what a worker finds. Raises WorkerFailed."""
    worker = WorkerProcess(1, places(cores(), 0), time_out)
    try:
        worker.ask(Start(target), Started)
        return worker.ask(request, Verified)
    finally:
        worker.close()


def _lesson(name: str, violations: Sequence[Violation]) -> str:
    """Return the simplest failing case, with the likely mistake, and what else fails."""
    first = simplest(violations)
    lines = [f"{name}: {first.check}: {first.setting}"]
    lines += _entry("expected", first.promise)
    lines += _entry("found", first.error)
    for number, frame in enumerate(first.frames[-MOST_FRAMES:]):
        lines += _entry("" if number else "at", frame)
    lines += _entry("diagnosis", first.diagnosis)
    checks = list(dict.fromkeys(violation.check for violation in violations if violation is not first))
    if checks:
        names = ", ".join(checks[:MOST_NAMES]) + (", …" if checks[MOST_NAMES:] else "")
        text = f"and {len(violations) - 1} more violations of: {names} (--all shows them)"
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
