"""`backprop compare`: two rows of a run, or two runs row by row."""

import sys
from pathlib import Path

import click
import msgspec

from bench.options import complete_implementations
from bench.report.changes import lines, markdown, side_by_side
from bench.report.text import interval_text, number_text
from bench.results.before import compare_with_before
from bench.results.compare_rows import Comparison as RowComparison
from bench.results.compare_rows import compare_rows
from bench.results.compare_runs import Comparison, compare_runs
from bench.results.estimates import FEW_ROUNDS
from bench.results.files import LATEST, RESULTS, read
from bench.results.limits import Limits, percent
from bench.results.limits import read as read_limits
from bench.results.notes import MIN_PROCESSES, few_processes_text, few_rounds_text
from bench.results.verdict import FLOOR
from bench.run import RUNS
from impls.errors import UserError
from impls.needs import backprop_command

PASSED, FAILED, UNCLEAR, INCOMPARABLE = 0, 3, 4, 5  # exit statuses; 1 is a fault, 2 a mistake in what was asked for


@click.command()
@click.argument(
    "arguments", nargs=-1, metavar="[OLD NEW | RESULTS | [RESULTS] ROW ROW]", shell_complete=complete_implementations
)
@click.option("--fail-on", metavar="5%", help="Exit with 3 if a row takes so much longer than before.")
@click.option("--limits", type=click.Path(path_type=Path), help="TOML file with limits by row and by workload.")
@click.option("--strict", is_flag=True, help="Exit with 4 if it cannot be told of a row.")
@click.option("--floor", metavar="0.4%", help="What runs of unchanged code differ by.")
@click.option("--all", "everything", is_flag=True, help="Show rows that stayed the same, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a pull request.")
@click.pass_context
def compare(
    context: click.Context,
    arguments: tuple[str, ...],
    fail_on: str | None,
    limits: Path | None,
    strict: bool,
    floor: str | None,
    everything: bool,
    as_json: bool,
    as_markdown: bool,
) -> None:
    """Compare two runs row by row, or two rows of a run.

    Two results files, or the folders of two runs: for each row, how many times as long it takes as before, with a 95 %
    interval, and one word: faster, slower, same (within 3 %, or --fail-on) or can't tell. Without arguments, the latest
    run is compared with the one before. More than two files are shown side by side.
    One file of a run that was made with `backprop bench --against=…`: its rows are compared with those of the other
    revision.

    Two rows: how many times as fast the second one is as the first, from their paired samples, in the latest run or in
    the file before them.

    \b
    backprop compare
    backprop compare results/runs/2026-11-24-101500 results/latest.json --fail-on=5%
    backprop compare per_example in_place

    Exit status: 0 passed, 3 a row is slower or broke, 4 it cannot be told of a row (with --strict), 5 the runs cannot
    be compared.
    """
    paths = [_path(argument) for argument in arguments]
    gated = any((fail_on, limits, strict))
    if arguments and not (len(arguments) > 1 and all(paths)) and not (len(arguments) == 1 and paths[0]):
        if gated or floor or everything or as_json or as_markdown:
            raise click.UsageError("the options of compare are for two runs; two rows of a run take none")
        _rows(arguments)
        return
    files = [path for path in paths if path] or _latest_two()
    runs = [read(path) for path in files]
    if len(runs) > 2:
        click.echo("\n".join(side_by_side(runs)))
        return
    if len(runs) == 1 and not runs[0].against:
        runs.append(read(LATEST))
    chosen = read_limits(limits) if limits else Limits() if fail_on else None
    if fail_on and chosen:
        percent(fail_on, "--fail-on")
        chosen = msgspec.structs.replace(chosen, fail_on=fail_on)
    if len(runs) == 1:
        found = compare_with_before(runs[0], chosen, gate=gated)
    else:
        old, new = runs
        found = compare_runs(old, new, chosen, FLOOR if floor is None else percent(floor, "--floor"), gate=gated)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    elif as_markdown:
        click.echo(markdown(found), nl=False)
    else:
        click.echo("\n".join(lines(found, everything=everything, styled=sys.stdout.isatty())))
        if found.incomparable:
            click.echo("\n".join(side_by_side(runs)))
    context.exit(_status(found, gated=gated, strict=strict))


def _status(found: Comparison, *, gated: bool, strict: bool) -> int:
    if found.incomparable or (gated and not found.changes and not found.broken):
        return INCOMPARABLE
    if gated and found.failed:
        return FAILED
    return UNCLEAR if strict and found.unclear else PASSED


def _path(argument: str) -> Path | None:
    """Return the results file that an argument names, itself or as the folder of a run; None if there is none."""
    path = Path(argument)
    if path.is_dir() and (path / RESULTS).is_file():
        return path / RESULTS
    return path if path.is_file() or path.suffix == ".json" else None


def _latest_two() -> list[Path]:
    """Return the results of the run before the latest one, and of that. Raises UserError if there are not two."""
    found = sorted(RUNS.glob(f"*/{RESULTS}"))
    if len(found) < 2:
        hint = backprop_command("bench")
        raise UserError(f"{RUNS}: expected two runs to compare, found {len(found)}; make one with: {hint}")
    return found[-2:]


def _rows(arguments: tuple[str, ...]) -> None:
    """Compare two rows of a run."""
    if len(arguments) not in (2, 3):
        raise click.UsageError(f"expected two rows, and a results file before them if need be, found {len(arguments)}")
    slow, fast = arguments[-2:]
    path = (_path(arguments[0]) or Path(arguments[0])) if len(arguments) == 3 else LATEST
    for workload, found in compare_rows(read(path), slow, fast).items():
        interval = f" ({interval_text(found.ratio)})" if found.ratio.low is not None else ""
        click.echo(f"{workload}: {fast} is {number_text(found.ratio.value)} times as fast as {slow}{interval}")
        for note in _notes(found):
            click.echo(f"note: {workload}: {note}")


def _notes(found: RowComparison) -> list[str]:
    """Return what a comparison that rests on little has against it."""
    notes = [few_processes_text(found.processes)] if found.processes < MIN_PROCESSES else []
    return notes + ([few_rounds_text(found.rounds, found.rounds)] if found.rounds < FEW_ROUNDS else [])
