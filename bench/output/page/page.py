"""The page as a whole: facts into a template, with styles and script in it and a policy that allows nothing else."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from bench.analysis.history import history
from bench.analysis.scaling import Scaling
from bench.output.findings import findings
from bench.output.page.facts import PageRow, PageWorkload, Recorded, course, hosts, scale, strip, workload_facts
from bench.output.page.ladder import ladder
from bench.output.page.model import fits, models, start_ups
from bench.output.page.roofline import roofline
from bench.output.page.scaling import is_of, scaling_facts
from bench.output.page.statements import statements
from bench.output.plots.palette import look
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
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.globals |= {"scale": scale, "strip": strip, "course": course}
    environment.filters |= {"estimate": estimate_text, "number": number_text, "seconds": seconds_text}
    environment.filters["colour"] = lambda label: look(label).colour
    style = (FOLDER / "report.css").read_text(encoding="utf-8")
    script = (FOLDER / "report.js").read_text(encoding="utf-8")
    shown = [each for each in results.workloads if not each.workload.sweep] or results.workloads
    workloads = [workload_facts(results, each) for each in shown]
    recorded = [each for each in recordings if results.row(each.workload, each.row)]
    return environment.get_template("report.html").render(
        policy=f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
        style=style,
        script=script,
        results=results,
        date=results.date[:10],
        cpus=cpus_text(results.machine),
        minutes=number_text(results.duration_seconds / 60, 2),
        found=findings(results),
        workloads=workloads,
        ladder=ladder(results, recorded),
        history=history(runs) if len(runs) > 1 else None,
        hosts=hosts(runs),
        scaling=scaling_facts(scaling) if scaling and is_of(scaling, results) else None,
        fits=fits(results),
        models=models(results),
        start_ups=start_ups(results),
        roofline=roofline(results),
        statements=statements(results, recorded),
        recordings=recorded,
        categories=CATEGORIES,
        data=_data(workloads, recorded),
    )


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _data(workloads: Sequence[PageWorkload], recordings: Sequence[Recorded]) -> Markup:
    """Return what the script reads, as JSON that cannot end the element that it stands in."""
    content = {
        "workloads": {
            facts.workload.name: {
                "baseline": facts.workload.baseline_label,
                "ratios": facts.ratios,
                "rows": {row.result.label: {"seconds": row.result.seconds} for row in facts.timed},
            }
            for facts in workloads
        },
        "recordings": [{"frames": each.frames, "tree": each.tree, "title": each.title} for each in recordings],
        "categories": [[name, *colours] for name, colours in CATEGORIES.items()],
        "csv": {facts.workload.name: list(map(_cells, facts.rows)) for facts in workloads},
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
