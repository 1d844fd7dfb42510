"""`backprop compare`: two runs, or two implementations of one run."""

import sys
from pathlib import Path

import click
import msgspec

from bench.analysis.compare_implementations import compare_implementations, compare_with_before
from bench.analysis.compare_runs import Comparison, compare_runs
from bench.analysis.results_files import LATEST, RESULTS, file_of, read
from bench.analysis.verdict import FLOOR, Limits, percent, read_limits
from bench.output.changes import lines, markdown, side_by_side
from bench.output.text import interval_text, number_text
from bench.records import Results
from bench.run import RUNS
from impls.support.errors import UserError
from impls.support.needs import backprop_command

PASSED, FAILED, UNCLEAR, INCOMPARABLE = 0, 3, 4, 5  # exit statuses; 1 is a fault, 2 a mistake in what was asked for


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path), metavar="[RUN]...")
@click.option("--between", metavar="A,B", help="Compare two implementations of one run.")
@click.option("--fail-on", metavar="5%", help="Exit with 3 if an implementation slows down by more than this.")
@click.option(
    "--limits", type=click.Path(path_type=Path), help="TOML file with limits by implementation and by workload."
)
@click.option("--strict", is_flag=True, help="Exit with 4 if a comparison is inconclusive.")
@click.option("--floor", metavar="0.4%", help="What runs of unchanged code differ by.")
@click.option("--all", "everything", is_flag=True, help="Show results that stayed the same, too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--markdown", "as_markdown", is_flag=True, help="Print Markdown, for a pull request.")
@click.pass_context
def compare(
    context: click.Context,
    runs: tuple[Path, ...],
    between: str | None,
    fail_on: str | None,
    limits: Path | None,
    strict: bool,
    floor: str | None,
    everything: bool,
    as_json: bool,
    as_markdown: bool,
) -> None:
    """Compare two runs, OLD and NEW, or with --between two implementations of one run.

    A RUN is a results file or the folder of a run. For each implementation: how many times as long it takes as before,
    with a 95 % interval, and one word: faster, slower, same (within 3 %, or --fail-on) or inconclusive. Without a RUN,
    the latest one is compared with the one before. More than two are shown side by side. One alone is compared with the
    latest, unless it was made with `backprop bench --against=…`: then with the other revision that it has.

    With --between=A,B: how many times as fast B is as A, from their paired samples, in the latest run or in RUN.

    \b
    backprop compare
    backprop compare results/runs/2026-11-24-101500 results/latest.json --fail-on=5%
    backprop compare --between=per_example,in_place

    Exit status: 0 passed, 3 something is slower or broke, 4 a comparison is inconclusive (with --strict), 5 the runs
    cannot be compared.
    """
    gated = any((fail_on, limits, strict))
    if between is not None:
        if gated or floor or everything or as_json or as_markdown:
            raise click.UsageError("--between takes no other option: those are for two runs")
        _print_between(between, runs)
        return
    results = [read(file_of(run)) for run in runs or _latest_two()]
    if len(results) > 2:
        click.echo("\n".join(side_by_side(results)))
        return
    comparison = _compared(results, _limits(fail_on, limits), floor, gate=gated)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(comparison)).decode())
    elif as_markdown:
        click.echo(markdown(comparison), nl=False)
    else:
        click.echo("\n".join(lines(comparison, everything=everything, styled=sys.stdout.isatty())))
        if comparison.incomparable:
            click.echo("\n".join(side_by_side(results)))
    context.exit(_status(comparison, gated=gated, strict=strict))


def _limits(fail_on: str | None, file: Path | None) -> Limits | None:
    """Return the limits of a gate, from a file and from --fail-on; None where neither is given."""
    if fail_on is None:
        return read_limits(file) if file else None
    percent(fail_on, "--fail-on")
    return msgspec.structs.replace(read_limits(file) if file else Limits(), fail_on=fail_on)


def _compared(results: list[Results], limits: Limits | None, floor: str | None, *, gate: bool) -> Comparison:
    """Compare two runs; one alone with the other revision that it has, or with the latest run."""
    if len(results) == 1:
        if results[0].against:
            return compare_with_before(results[0], limits, gate=gate)
        results.append(read(LATEST))
    old, new = results
    return compare_runs(old, new, limits, FLOOR if floor is None else percent(floor, "--floor"), gate=gate)


def _status(comparison: Comparison, *, gated: bool, strict: bool) -> int:
    if comparison.incomparable or (gated and not comparison.changes and not comparison.broken):
        return INCOMPARABLE
    if gated and comparison.failed:
        return FAILED
    return UNCLEAR if strict and comparison.unclear else PASSED


def _latest_two() -> list[Path]:
    """Return the results of the run before the latest one, and of that. Raises UserError if there are not two."""
    files = sorted(RUNS.glob(f"*/{RESULTS}"))
    if len(files) < 2:
        hint = backprop_command("bench")
        raise UserError(f"{RUNS}: expected two runs to compare, found {len(files)}; make one with: {hint}")
    return files[-2:]


def _print_between(between: str, runs: tuple[Path, ...]) -> None:
    """Compare two implementations of a run, "A,B"."""
    slow, comma, fast = between.partition(",")
    if not (slow and comma and fast) or "," in fast:
        raise click.UsageError(f"--between: expected two implementations as A,B, found {between!r}")
    if len(runs) > 1:
        raise click.UsageError(f"--between: expected one run, found {len(runs)}")
    results = read(file_of(runs[0]) if runs else LATEST)
    for workload, ratio in compare_implementations(results, slow, fast).items():
        interval = f" ({interval_text(ratio)})" if ratio.low is not None else "; one process gives no interval"
        click.echo(f"{workload}: {fast} is {number_text(ratio.value)} times as fast as {slow}{interval}")
