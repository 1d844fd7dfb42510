"""The benchmark beside what else people have in pytest: their own tests, an editor's discovery, other plugins."""

import importlib.util
import json
import os
import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import pytest
from required import needs

from bench.analysis.results_files import read
from impls import ROOT

PLUGINS = (
    "anyio",
    "pytest_asyncio",
    "pytest_cov",
    "pytest_randomly",
    "pytest_repeat",
    "pytest_rerunfailures",
    "pytest_sugar",
    "pytest_timeout",
    "xdist",
)
MISSING = [plugin for plugin in PLUGINS if importlib.util.find_spec(plugin) is None]
beside_plugins = needs("plugins", f"not installed: {', '.join(MISSING)}" if MISSING else None)
TIMEOUT_SECONDS = 3  # of a test: shorter than the run, and much longer than a test that replays samples
LONGER_THAN_THE_TIMEOUT = ("--workload=book", "--impl=in_place", "--generations=1", f"--seconds={TIMEOUT_SECONDS}")


def run_pytest(*arguments: str, environment: dict[str, str] | None = None) -> "subprocess.CompletedProcess[str]":
    """Run pytest from the root of the checkout."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-c", "pyproject.toml", "-p", "no:cacheprovider", *arguments],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


# --- Tests of other people ---------------------------------------------------------------------------------------

OTHER_TEST = """
import pytest

@pytest.fixture
def subject(): ...

@pytest.mark.parametrize("number", [1, 2])
@pytest.mark.benchmark(group="mine")
def test_other(subject, number): ...

@pytest.mark.parametrize(("workload", "label"), [("book", "in_place")])
def test_with_our_names(subject, workload, label): ...
"""


@pytest.mark.parametrize("place", ["bench", "."])
def test_tests_with_our_fixtures_names_are_no_tests_of_ours(tmp_path: Path, place: str) -> None:
    """From the root, bench/conftest.py is loaded while pytest collects, after it has read the command line."""
    other = tmp_path / "test_other.py"
    other.write_text(OTHER_TEST)
    done = run_pytest(place, str(other), "--ignore=tests", "-v", "-rs")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "bench/test_speed.py::test_speed[book-in_place] SKIPPED" in done.stdout
    assert "::test_with_our_names[book-in_place] PASSED" in done.stdout
    assert " 3 passed, " in done.stdout
    assert (
        "implementations are not timed beside other tests; to time them: pytest bench/ --benchmark-only" in done.stdout
    )


# --- Warnings ----------------------------------------------------------------------------------------------------

NOISY_PLUGIN = """
import warnings

warnings.warn("while it is imported")

def pytest_configure(config):
    warnings.warn("while it is configured", DeprecationWarning)
    config.issue_config_time_warning(UserWarning("while it is configured, by pytest"), stacklevel=1)

def pytest_collection_modifyitems():
    warnings.warn("while tests are collected", PendingDeprecationWarning)

def pytest_runtest_setup():
    warnings.warn("before a test", FutureWarning)

def pytest_sessionfinish():
    warnings.warn("at the end")
"""


def test_a_plugin_that_warns_ends_nothing(tmp_path: Path) -> None:
    (tmp_path / "noisy_plugin.py").write_text(NOISY_PLUGIN)
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): ...")
    # names that NumPy does not know: it warns of them while it is imported
    environment = {"PYTHONPATH": str(tmp_path), "NPY_DISABLE_CPU_FEATURES": "SSE41 OLD_NAME"}
    selected = (str(tmp_path / "test_nothing.py"), "bench", "--workload=book", "--impl=in_place")
    done = run_pytest(*selected, "-p", "noisy_plugin", environment=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed, 3 skipped" in done.stdout


@pytest.mark.parametrize("module", ["bench", "impls.in_place", "profiles.recorder"])
def test_a_warning_of_our_own_modules_is_an_error(module: str) -> None:
    with pytest.raises(DeprecationWarning):
        warnings.warn_explicit("old", DeprecationWarning, "file.py", 1, module=module)


def test_a_warning_about_a_file_of_ours_is_an_error() -> None:
    with pytest.raises(UserWarning):
        warnings.warn_explicit("slow", UserWarning, str(ROOT / "impls" / "numba.py"), 1)


@pytest.mark.parametrize("module", ["benchmarks", "numpy.testing"])
def test_a_warning_of_another_module_is_none(module: str) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.warn_explicit("old", UserWarning, f"/home/me/bench/.venv/lib/site-packages/{module}.py", 1, module)
        warnings.warn_explicit("old", UserWarning, f"/home/me/bench/.venv/lib/site-packages/{module}.py", 2)
    assert len(caught) == 2


# --- Plugins -----------------------------------------------------------------------------------------------------


def assert_samples_were_taken_once(done: "subprocess.CompletedProcess[str]", folder: Path, times: int = 1) -> None:
    """Assert that one run was made and written, and that each test replayed the samples of its own row, so often."""
    assert done.stdout.count("process 1 of 1: book") == 1
    assert done.stdout.count(f"results: {folder}") == 1
    results = read(folder / "results.json")
    rows = {row.label: row for row in results.rows if row.outcome == "ok"}
    assert set(rows) == {"per_example", "control", "in_place"}
    replayed = json.loads((folder / "results.json").read_text())["benchmarks"]
    assert Counter(test["params"]["label"] for test in replayed) == dict.fromkeys(rows, times)
    for test in replayed:
        (samples,) = rows[test["params"]["label"]].samples
        assert test["stats"]["data"] == pytest.approx(list(samples.values()))


@beside_plugins
@pytest.mark.slow("runs benchmarks")
def test_a_timeout_is_for_tests_and_not_for_the_run(tmp_path: Path) -> None:
    """The other method ends the whole process, so nothing would be written."""
    timeout = {"PYTEST_ADDOPTS": f"--timeout={TIMEOUT_SECONDS} --timeout-method=thread"}
    options = ("bench/", "--benchmark-only", "--force-sugar", "--asyncio-mode=auto", f"--results={tmp_path / 'out'}")
    done = run_pytest(*options, *LONGER_THAN_THE_TIMEOUT, environment=timeout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_samples_were_taken_once(done, tmp_path / "out")


@beside_plugins
@pytest.mark.slow("runs benchmarks")
def test_repeated_shuffled_and_failed_tests_each_have_their_samples(tmp_path: Path) -> None:
    timeout = ("-o", f"timeout={TIMEOUT_SECONDS}", "--timeout-method=signal")
    plugins = ("--count=2", "--reruns=2", "-p", "randomly", "--randomly-seed=1", "--cov=bench", "--cov-report=")
    wrong = f"--impl={ROOT / 'tests' / 'support' / 'faulty_rows.py'}:Wrong"
    options = ("bench/", "--benchmark-only", wrong, *plugins, *timeout, f"--results={tmp_path / 'out'}")
    environment = {"COVERAGE_FILE": str(tmp_path / "coverage")}
    done = run_pytest(*options, *LONGER_THAN_THE_TIMEOUT, environment=environment)
    assert "2 failed, 6 passed, 4 rerun" in done.stdout, done.stdout + done.stderr
    assert_samples_were_taken_once(done, tmp_path / "out", times=2)
