"""`python -m tests.mutants`: judge the mutants of all sources, or of those named, and write the score and its page."""

import sys
import time
from typing import TextIO

import click
import msgspec

from bench.cpus import cores
from impls import ROOT

from . import score
from .page import PAGE, page, percent
from .sources import MODULES, ROWS, SOURCES, Source
from .trials import Court, Verdict, verdicts

SMALLEST_SCORE_PERCENT = 98.0  # of all rows
SMALLEST_OF_A_MODULE_PERCENT = 90.0


@click.command()
@click.argument("sources", nargs=-1, type=click.Choice(list(SOURCES)))
@click.option("--processes", default=cores(), show_default=True, help="How many mutants are judged at a time.")
@click.option("--verdicts", "file", type=click.File("w"), help="Write each verdict to this file, as JSON.")
@click.option("--page-only", is_flag=True, help="Judge nothing; explain anew what is known to survive.")
def main(sources: tuple[str, ...], processes: int, file: TextIO | None, page_only: bool) -> None:
    """Judge the mutants of SOURCES, by default of all; fail if one survives without an explanation."""
    for name in () if page_only else sources or SOURCES:
        found = _judge(SOURCES[name], processes, file)
        scores = score.read_scores() | {name: score.scored(list(SOURCES[name].mutants()), found)}
        score.write_scores({known: scores[known] for known in SOURCES if known in scores})
    sys.exit(_report(score.read_scores()))


def _judge(source: Source, processes: int, file: TextIO | None) -> list[Verdict]:
    """Judge all mutants of a source, after the source itself; write each verdict to `file` if there is one."""
    start = time.monotonic()
    with Court(source.cpu_seconds, source.judges) as court:
        reason = court.rejected_by(source.control(), source.class_name)
    if reason:
        raise click.ClickException(f"{source.name} itself is rejected by {reason}: its mutants would tell nothing")
    found = []
    for verdict in verdicts(source, list(source.mutants()), processes):
        found.append(verdict)
        if file:
            print(msgspec.json.encode(verdict).decode(), file=file, flush=True)
    rejected = sum(bool(verdict.rejected_by) for verdict in found)
    click.echo(f"{source.name}: {rejected} of {len(found)} rejected, {time.monotonic() - start:.0f} s")
    return found


def _report(scores: dict[str, score.SourceScore]) -> int:
    """Write the page and print what is wrong with the score; return the exit status."""
    explanations = score.read_explanations()
    PAGE.write_text(page(scores, explanations))
    total = percent([of for name, of in scores.items() if name in ROWS], explanations)
    click.echo(f"score: {total:.1f} % of the rows' mutants that are not equivalent; see {PAGE.relative_to(ROOT)}")
    problems = [f"survives without an explanation: {words}" for words in score.unexplained(scores, explanations)]
    problems += [f"is explained and does not survive: {words}" for words in score.idle(scores, explanations)]
    if total < SMALLEST_SCORE_PERCENT:
        problems.append(f"score: expected at least {SMALLEST_SCORE_PERCENT:.0f} %, got {total:.1f} %")
    for name in MODULES.keys() & scores.keys():
        of_module = percent([scores[name]], explanations)
        if of_module < SMALLEST_OF_A_MODULE_PERCENT:
            problems.append(f"{name}: expected at least {SMALLEST_OF_A_MODULE_PERCENT:.0f} %, got {of_module:.1f} %")
    for problem in problems:
        click.echo(problem, err=True)
    return 1 if problems else 0


if __name__ == "__main__":
    main()
