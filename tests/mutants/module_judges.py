"""Who rejects a mutant of a module: its tests. `python -m tests.mutants.module_judges CPU_SECONDS`, as `judges` does.

One process imports everything and collects the tests; in a fork of it, the functions of a module get the code of the
mutant, and its tests run until one fails. So only what is within functions may be mutated, and only tests that call
them in their own process count. Those that measure, draw plots or take seconds are left out.
"""

import importlib
import tempfile
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from types import FunctionType, ModuleType
from typing import Any

import pytest
import scipy.special  # noqa: F401 (imported once, before the forks)

from impls import ROOT

from . import judges

TESTS = {  # of a module in bench/results: the files that concern it, the likeliest to reject first
    "before": ["before"],
    "compare_rows": ["compare_rows"],
    "compare_runs": ["compare_runs", "compare"],
    "controls": ["summary", "statistics"],
    "estimates": ["statistics", "summary", "precision"],
    "files": ["records"],
    "fingerprint": ["fingerprint", "compare"],
    "history": ["history"],
    "kernels": ["kernels"],
    "limits": ["compare"],
    "notes": ["summary", "notes"],
    "precision": ["precision", "summary"],
    "summary": ["summary"],
    "verdict": ["verdict", "compare"],
}
LEFT_OUT = {  # tests of these files that measure, draw, simulate many runs or start other processes
    "test_a_gate_lets_unchanged_code_pass_and_finds_what_is_slower",
    "test_a_run_of_unchanged_code_raises_the_alarm_in_one_case_of_twenty",
    "test_an_interval_from_the_rounds_alone_would_not_cover_the_truth",
    "test_intervals_of_a_gate_hold_together",
    "test_jitter_of_a_rows_own_is_found_and_noise_that_hits_all_is_not",
    "test_noise_that_hits_one_row_harder_is_not_covered",
    "test_plain_intervals_under_the_same_rule_would_not",
    "test_the_interval_covers_the_truth_in_about_95_of_100_runs",
    "test_the_interval_of_a_change_holds_the_truth",
    "test_the_reference_runs_have_hardly_any_jitter_on_one_thread",
    "test_what_is_quoted_holds_the_truth_in_94_to_96_of_100_runs",
    "test_a_generation_of_a_thousand_million_does_not_take_all_memory",
    "test_each_row_and_workload_has_a_chart_with_its_intervals",
    "test_rows_are_measured_again_as_they_were",
    "test_schema_1_gives_the_stored_ratios_again",
    "test_schema_1_is_drawn",
    "test_the_command_prints_a_line_a_row_and_draws_it",
    "test_whatever_stands_in_a_file_is_read_or_refused",
}


class Judge:
    """pytest's plugin that runs the collected tests on one mutant after another."""

    def __init__(self) -> None:
        self.items: list[pytest.Item] = []
        self.failed = ""

    def pytest_configure(self) -> None:
        """Have hypothesis try the same examples each time, however long they take."""
        from hypothesis import settings  # pytest's plugin of it comes first

        settings.register_profile("mutants", deadline=None, derandomize=True, database=None)
        settings.load_profile("mutants")

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Judge mutants in the place of the tests' usual loop."""
        self.items = [item for item in session.items if item.originalname not in LEFT_OUT]  # type: ignore[attr-defined]
        judges.main({"tests": self.first_failure}, attempts=1)
        return True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep which test failed."""
        if report.failed:
            self.failed = report.nodeid

    def first_failure(self, target: str) -> str:
        """Return the file of the first test that fails with the mutant FILE:MODULE, "" if none does."""
        path, _, name = target.rpartition(":")
        replace_functions(importlib.import_module(f"bench.results.{name}"), path)
        files = [f"test_{file}.py" for file in TESTS[name]]
        items = [item for file in files for item in self.items if item.path.name == file]
        for item, after in zip(items, [*items[1:], None], strict=True):
            item.config.hook.pytest_runtest_protocol(item=item, nextitem=after)
            if self.failed:
                return item.path.name
        return ""


def replace_functions(module: ModuleType, path: str) -> None:
    """Give the functions of a module the code that they have in a file: whoever has imported them calls that."""
    spec = spec_from_file_location(module.__name__, path)
    assert spec is not None
    assert spec.loader is not None
    mutant = module_from_spec(spec)
    spec.loader.exec_module(mutant)
    functions = dict(_functions(mutant, mutant))
    for name, function in _functions(module, module):
        function.__code__ = functions[name].__code__


def _functions(of: Any, module: ModuleType, prefix: str = "") -> Iterator[tuple[str, FunctionType]]:
    """Yield the functions and methods that the file of a module defines, by their names."""
    for name, value in list(vars(of).items()):
        value = value.fget if isinstance(value, property) else value
        if isinstance(value, FunctionType) and value.__code__.co_filename == module.__file__:
            yield f"{prefix}{name}", value
        elif isinstance(value, type) and value.__module__ == module.__name__:
            yield from _functions(value, module, f"{name}.")


def main() -> None:
    """Collect the tests; the plugin does the rest."""
    files = sorted({str(ROOT / "tests" / f"test_{file}.py") for found in TESTS.values() for file in found})
    quiet = [f"-p no:{plugin}" for plugin in ("terminal", "cacheprovider", "xdist", "benchmark")]
    with tempfile.TemporaryDirectory() as folder:
        pytest.main(["-s", *" ".join(quiet).split(), f"--basetemp={folder}/tests", *files], plugins=[Judge()])


if __name__ == "__main__":
    main()
