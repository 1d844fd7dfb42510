"""Makes what `make reference` measured small enough to commit: python -m bench.pages.reference_runs."""

import json
import shutil
import statistics
from collections.abc import Sequence
from typing import Any

from PIL import Image

from bench.analysis.compare_implementations import compare_implementations
from bench.analysis.compare_runs import compare_runs
from bench.analysis.results_files import RESULTS, read
from bench.analysis.verdict import Limits
from bench.output.text import interval_text, number_text
from bench.pages.figures import REFERENCE, conditions
from bench.records import Estimate, Results
from bench.system.files import write_whole

COLOURS = 128
RATIOS = ("control", "per_example"), ("in_place", "per_example"), ("twin", "in_place"), ("slower", "in_place")


def main() -> None:
    """Put the repeated runs into one file, and make all other files smaller."""
    folders = [REFERENCE / name for name in ("control", "seven", "ten")]
    if folders[0].is_dir():
        tables = repeated(*([read(path) for path in sorted(folder.glob(f"*/{RESULTS}"))] for folder in folders))
        write_whole(REFERENCE / "repeated.json", json.dumps(tables, ensure_ascii=False, indent=1))
        for folder in folders:
            shutil.rmtree(folder)
    for path in REFERENCE.glob(f"*/{RESULTS}"):
        write_whole(path, json.dumps(compact(json.loads(path.read_bytes())), separators=(",", ":")))
    for path in REFERENCE.glob("*/*.png"):
        Image.open(path).convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


def compact(content: dict[str, Any]) -> dict[str, Any]:
    """Return a results file's content without pytest-benchmark's copy of the samples, which lose digits and CPU times.

    Sweeps lose what is the same at all of their points.
    """
    ours = content[Results.KEY]
    for result in ours["rows"]:
        for process in result["processes"]:
            process["samples"] = [[sample[0], float(f"{sample[1]:.6g}")] for sample in process["samples"]]
        if ours["workloads"][0]["workload"]["sweep"]:
            result["build"], result["thread_pools"] = {}, []
    return content | {"benchmarks": []}


def repeated(control: Sequence[Results], seven: Sequence[Results], ten: Sequence[Results]) -> dict[str, Any]:
    """Return the tables of A/A runs, and of gates on runs whose `twin` is 7 or 10 % slower."""
    columns = [[compare_implementations(run, over, label)["book"] for run in control] for label, over in RATIOS]
    return {
        "conditions": conditions(control[0]),
        "runs": [
            [f"{number_text(ratio.value, 4)} ({interval_text(ratio)})" for ratio in run]
            for run in zip(*columns, strict=True)
        ],
        "summary": [[*names, *summary(ratios)] for names, ratios in zip(RATIOS, columns, strict=True)],
        "gates": [gates_failed(control, control[1:]), gates_failed(control, seven), gates_failed(control, ten)],
    }


def summary(ratios: Sequence[Estimate]) -> list[str]:
    """Return how many intervals contain 1, how many lie below it, and the median half-width."""
    contain = sum(ratio.holds(1.0) for ratio in ratios)
    below = sum(ratio.high is not None and ratio.high < 1.0 for ratio in ratios)
    half_width = statistics.median(ratio.half_width or 0.0 for ratio in ratios)
    return [f"{contain} of {len(ratios)}", f"{below} of {len(ratios)}", f"± {number_text(100 * half_width, 2)} %"]


def gates_failed(before: Sequence[Results], after: Sequence[Results]) -> str:
    """Return how many gates at 5 % fail, of runs compared one by one."""
    limits = Limits(fail_on="5%")
    gates = [compare_runs(old, new, limits, gate=True) for old, new in zip(before, after, strict=False)]
    return f"{sum(bool(gate.failed) for gate in gates)} of {len(gates)}"


if __name__ == "__main__":
    main()
