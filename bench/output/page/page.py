"""The page as a whole: facts into a template, with styles and script in it and a policy that allows nothing else."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import jinja2
import msgspec
from markupsafe import Markup
from matplotlib.figure import Figure

from bench.analysis.history import history
from bench.analysis.scaling import Scaling
from bench.conditions import threads_text
from bench.output import scaling_table
from bench.output.findings import findings
from bench.output.page.facts import PageRow, PageWorkload, Recorded, hosts, strip, workload_facts
from bench.output.page.ladder import ladder
from bench.output.page.model import fits, models, start_ups
from bench.output.page.roofline import fastest_results, memory_rates, roofline
from bench.output.page.statements import statements
from bench.output.plots.curves import history_plot, scaling_beyond, scaling_here
from bench.output.plots.drawing import picture, style
from bench.output.text import cpus_text, estimate_text, number_text, seconds_text
from bench.records import Results

FOLDER = Path(__file__).with_name("html")
CATEGORIES = {  # as in the flamegraphs: colour and colour of the text on it
    "BLAS": ("#d55e00", "#ffffff"),
    "Rust products": ("#f0e442", "#111111"),
    "other Rust": ("#009e73", "#111111"),
    "NumPy C": ("#56b4e9", "#111111"),
    "JIT": ("#cc79a7", "#111111"),
    "Python": ("#0072b2", "#ffffff"),
    "other native": ("#c6c6c6", "#111111"),
}


def page(
    results: Results,
    recordings: Sequence[Recorded],
    runs: Sequence[Results] = (),
    scaling: Scaling | None = None,
) -> str:
    """Return the page as HTML; of several runs, with their history and with their machines side by side.

    `scaling` is shown if it was measured on the run's machine. Names of third parties stay text.
    """
    styles = (FOLDER / "report.css").read_text(encoding="utf-8")
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    shown = [each for each in results.workloads if not each.workload.sweep] or results.workloads
    workloads = [workload_facts(results, workload_result) for workload_result in shown]
    recorded = [recording for recording in recordings if results.row(recording.workload, recording.row)]
    return (
        _environment()
        .get_template("report.html")
        .render(
            policy=f"default-src 'none'; style-src '{_hash(styles)}'; script-src '{_hash(script)}'; img-src data:; "
            "base-uri 'none'; form-action 'none'",
            style=styles,
            script=script,
            results=results,
            date=results.date[:10],
            found=findings(results),
            workloads=workloads,
            ladder=ladder(results, recorded),
            hosts=hosts(runs),
            fits=fits(results),
            models=models(results),
            start_ups=start_ups(results),
            statements=statements(results, recorded),
            recordings=recorded,
            categories=CATEGORIES,
            data=_data(workloads, recorded),
            **_figures(results, runs, scaling),
        )
    )


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals.update(strip=strip, scaling_table=scaling_table)
    environment.filters.update(
        cpus=cpus_text, estimate=estimate_text, number=number_text, seconds=seconds_text, threads=threads_text
    )
    return environment


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _figures(results: Results, runs: Sequence[Results], scaling: Scaling | None) -> dict[str, object]:
    """Return the facts that are drawn, with their pictures; None or nothing for what was not measured."""
    fastest = fastest_results(results)
    courses = history(runs) if len(runs) > 1 else None
    if scaling and scaling.machine.kind != results.machine.kind:
        scaling = None
    with style():
        return {
            "fastest": fastest,
            "memory": memory_rates(results, fastest),
            "roofline": _address(roofline(results, fastest)) if fastest else "",
            "history": courses,
            "history_picture": _address(history_plot(courses)) if courses else "",
            "scaling": scaling,
            "scaling_pictures": {
                "Measured here": _address(scaling_here(scaling)),
                "Predicted weak efficiency": _address(scaling_beyond(scaling)),
            }
            if scaling
            else {},
        }


def _address(figure: Figure) -> str:
    """Return an address that holds the figure itself."""
    return f"data:image/svg+xml;base64,{base64.b64encode(picture(figure, 'svg')).decode()}"


def _data(workloads: Sequence[PageWorkload], recordings: Sequence[Recorded]) -> Markup:
    """Return what the script reads, as JSON that cannot end the element that it stands in."""
    content = {
        "workloads": {
            facts.workload.name: {
                "baseline": facts.workload.baseline_label,
                "ratios": {
                    slow: {fast: msgspec.structs.astuple(ratio) for fast, ratio in ratios.items()}
                    for slow, ratios in facts.ratios.items()
                },
                "rows": {row.result.label: _cells(row) for row in facts.rows},
            }
            for facts in workloads
        },
        "recordings": [
            {"frames": recording.frames, "tree": recording.tree, "title": recording.title} for recording in recordings
        ],
        "categories": [[name, *colours] for name, colours in CATEGORIES.items()],
    }
    text = json.dumps(content, ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _cells(row: PageRow) -> dict[str, str | float | None]:
    """Return a row as the file of a table has it."""
    result = row.result
    return {
        "label": result.label,
        "rank": row.rank,
        "seconds": result.seconds,
        "percent": result.percent_of_peak.value if result.percent_of_peak else None,
        "cores": result.cores_used,
        "reason": "" if result.timed else f"{result.outcome_text}: {result.reason}",
    }
