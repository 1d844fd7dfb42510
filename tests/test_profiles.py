"""The flamegraph recorder: stacks, shares, pictures, and every way in which py-spy can fail."""

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import NoReturn
from unittest import mock

import numpy as np
import pytest

from bench.cli import main
from impls import ROOT as CHECKOUT
from impls.errors import UserError
from impls.needs import pip_command
from impls.registry import ENTRIES
from profiles import flamegraph, stacks
from profiles.py_spy import py_spy
from profiles.recording import Recording, read
from profiles.speedscope import speedscope
from profiles.stacks import CATEGORIES, Stacks, category, clean, difference, parse, shares, wilson
from profiles.unseen import ROWS, unseen

BACKPROP = Path(sys.executable).with_name("backprop")
README = Path(stacks.__file__).with_name("README.md")
ROOT = "0x7f14ebe4524a (libc.so.6);_run_module_as_main (<frozen runpy>:198);main (bench/measurement/worker.py:225)"
LOOP = f"{ROOT};Worker._loop (bench/measurement/worker.py:175);time_calls (bench/measurement/timing.py:19)"
STEP = "InPlace.step (impls/in_place.py:51)"
GEMM = "dgemm_kernel_SKYLAKEX (libscipy_openblas64_-32a4b2a6.so)"
UMATH = "ufunc_generic_fastcall (numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so)"


# --- stacks ------------------------------------------------------------------------------------------------------


def test_parse_splits_the_count_from_the_right() -> None:
    assert parse("# a comment\na b (x.py:1);c 3\na b (x.py:1);c 4\n\n") == {("a b (x.py:1)", "c"): 7}


@pytest.mark.parametrize("text", ["no count", "a;b -3", "a;b 1.5", "12"])
def test_parse_refuses_what_is_no_stack(text: str) -> None:
    with pytest.raises(UserError, match="line 1: expected collapsed stacks"):
        parse(text)


def test_clean_keeps_the_rows_own_frames() -> None:
    helper = "0x7f931dd278ec (libc.so.6);Thread.run (threading.py:982);Team._help (/home/me/impls/in_place.py:139)"
    text = f"{LOOP};{STEP};{GEMM} 5\n{LOOP} 2\n{ROOT} 1\n{helper} 3\n{LOOP};{STEP};0x7f14ebf85158 (/lib/libc.so.6) 4\n"
    found = clean(parse(text), "in_place.py")
    assert found.counts == {
        (STEP, "dgemm_kernel_SKYLAKEX (libscipy_openblas64_.so)"): 5,
        ("Team._help (in_place.py:139)",): 3,
        (STEP, "[libc.so.6]"): 4,
    }
    assert (found.samples, found.outside) == (12, 3)


@pytest.mark.parametrize(
    "leaves",
    [
        "std::condition_variable::wait (libstdc++.so.6.0.30);pthread_cond_wait (libc.so.6);0x7fba746a3f16 (libc.so.6)",
        "PyThread_acquire_lock_timed (libpython3.11.so.1.0);0x7fedfb0aed90 (libc.so.6);0x7fedfb0a3f16 (libc.so.6)",
        "absl::synchronization_internal::FutexWaiter::WaitUntil (libjax_common.so);syscall (libc.so.6)",
        "std::sys::sync::thread_parking::futex::futex_wait::h15fc30e0e89ffd57 (futex.rs:67);syscall (libc.so.6)",
    ],
)
def test_a_thread_that_waits_is_not_at_work(leaves: str) -> None:
    """What py-spy samples of threads in a wait, in the row's own thread, in its helpers and in a library's."""
    text = f"{LOOP};{STEP};{leaves} 5\nTeam._help (impls/in_place.py:139);{leaves} 2\n{leaves} 3\n{LOOP};{STEP} 1\n"
    assert clean(parse(text), "in_place.py") == Stacks({(STEP,): 1}, 0, 10)


@pytest.mark.parametrize(
    "leaf", ["free (libc.so.6)", "memcpy (libc.so.6);0x7fba746a3f16 (libc.so.6)", "Condition.wait (threading.py:3)"]
)
def test_what_only_resembles_a_wait_counts(leaf: str) -> None:
    found = clean(parse(f"{LOOP};{STEP};pthread_cond_wait (libc.so.6);{leaf} 5\n"), "in_place.py")
    assert (found.samples, found.waiting) == (5, 0)


@pytest.mark.parametrize(
    ("frame", "readable"),
    [
        (
            "ndarray::zip::Zip$LT$P$C$D$GT$::inner::hba9821f493d74546 (mod.rs:353)",
            "ndarray::zip::Zip<P,D>::inner (mod.rs:353)",
        ),
        (
            "_$LT$a..Fma$u20$as$u20$b..Add$GT$::add::h33eea104cc430387 (mod.rs:51)",
            "<a::Fma as b::Add>::add (mod.rs:51)",
        ),
        ("sum<[T; 4]> (sum.rs:1)", "sum<[T, 4]> (sum.rs:1)"),
        (
            "f<std::vector<double, std::allocator<double> > >(std::pair<int, unsigned long> const&) (a.so)",
            "f<std::vector<…> >(…) (a.so)",
        ),
        ("dgemm_otcopy (libscipy_openblas64_-32a4b2a6.so)", "dgemm_otcopy (libscipy_openblas64_.so)"),
        (
            "array_add (numpy/_core/_multiarray_umath.cpython-311-x86_64-linux-gnu.so)",
            "array_add (numpy/_core/_multiarray_umath.so)",
        ),
        ("0x7f14ebf85158 (/home/me/lib/b.abi3.so)", "[b.so]"),
        ("f (/home/me/impls/mine.py:3)", "f (mine.py:3)"),
        ("kernel", "kernel"),
    ],
)
def test_names_hold_nothing_that_changes_with_the_build(frame: str, readable: str) -> None:
    assert clean(parse(f"{LOOP};{STEP};{frame} 1"), "in_place.py").counts == {(STEP, readable): 1}


def test_addresses_that_change_do_not_split_a_function() -> None:
    text = (
        f"{LOOP};{STEP};0x7f14ebf85158 (libc.so.6) 1\n{LOOP.replace('0x7f14', '0x7a00')};{STEP};0x7a1234 (libc.so.6) 1"
    )
    assert clean(parse(text), "in_place.py").counts == {(STEP, "[libc.so.6]"): 2}


@pytest.mark.parametrize(
    ("stack", "name"),
    [
        ((STEP,), "Python"),
        ((STEP, UMATH), "NumPy C"),
        ((STEP, UMATH, "[libc.so.6]"), "NumPy C"),  # memcpy on NumPy's behalf
        ((STEP, GEMM), "BLAS"),
        ((STEP, "dgemm_beta (libscipy_openblas.so)", "[libc.so.6]"), "BLAS"),  # memset under BLAS
        ((STEP, UMATH, GEMM), "BLAS"),
        ((STEP, "backprop_bench_rust::fused::step (backprop_bench_rust.abi3.so)", "[libc.so.6]"), "other Rust"),
        ((STEP, "rust_step (backprop_bench_rust.so)", GEMM), "BLAS"),
        ((STEP, "matrixmultiply::packing::pack_avx2 (packing.rs:78)"), "Rust products"),
        ((STEP, "gemm_common::gemm::gemm_basic_generic (gemm.rs:400)"), "Rust products"),
        ((STEP, "gemm_f64::gemm::f64::avx512f::x3x8 (gemm.rs:40)"), "Rust products"),
        ((STEP, "at::native::addmm (libtorch_cpu.so)"), "other native"),  # C++, though its names look like Rust's
        ((STEP, "at::native::addmm (libtorch_cpu.so)", "mkl_blas_dgemm (libtorch_cpu.so)"), "BLAS"),
        ((STEP, "kernel (cd5a.main.cpp:15)", "_mm512_sub_pd (avx512fintrin.h:1)"), "JIT"),
        ((STEP, "[?]", "[?]"), "JIT"),
        ((STEP, "[?]", "exp (libm.so.6)", "[libm.so.6]"), "JIT"),
        ((STEP, "[?]", "jax::PyArray::BlockUntilReady (jaxlib/libjax_common.so)"), "other native"),
        ((STEP, "[libc.so.6]"), "other native"),
        ((STEP, "f2py_rout__fblas_dgemm (scipy/linalg/_fblas.so)"), "other native"),
    ],
)
def test_categories(stack: tuple[str, ...], name: str) -> None:
    assert category(stack) == name


def test_shares_add_up_and_their_intervals_cover() -> None:
    """Known shares, drawn 400 times: Wilson's interval covers each in about 95 of 100."""
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(400):
        blas, numpy_c, python = rng.multinomial(1000, [0.5, 0.3, 0.2])
        found = shares(Stacks(Counter({(STEP, GEMM): int(blas), (STEP, UMATH): int(numpy_c), (STEP,): int(python)}), 0))
        assert sum(share.value for share in found.values()) == pytest.approx(1.0)
        covered += found["BLAS"].low <= 0.5 <= found["BLAS"].high
        assert found["BLAS"].margin < 0.032
    assert 0.92 <= covered / 400 <= 0.98


def test_wilson_at_the_ends() -> None:
    assert wilson(0, 100).low == 0.0
    assert wilson(0, 100).high == pytest.approx(0.037, abs=1e-3)
    assert wilson(100, 100).high == pytest.approx(1.0)
    with pytest.raises(ValueError, match="at least one sample"):
        wilson(0, 0)


def test_a_difference_of_nothing_contains_zero() -> None:
    change, low, high = difference(wilson(300, 1000), wilson(310, 1000))
    assert low < 0 < change < high
    assert difference(wilson(300, 1000), wilson(600, 1000))[1] > 0.2


# --- pictures ----------------------------------------------------------------------------------------------------

SAMPLE = Stacks(Counter({(STEP, GEMM): 600, (STEP, UMATH): 300, (STEP,): 99, ("rare <&> frame",): 1}), 3)


def frames_of(svg: str) -> dict[str, float]:
    """Return the frames of a flamegraph with their widths as fractions."""
    root = ET.fromstring(svg)
    space = "{http://www.w3.org/2000/svg}"
    return {
        (group.findtext(f"{space}title") or "").rpartition(": ")[0]: float(group.attrib["data-w"])
        for group in root.iter(f"{space}g")
        if group.get("class") == "frame"
    }


def test_a_flamegraph_is_valid_self_contained_and_to_scale() -> None:
    svg = flamegraph.draw(SAMPLE, "in_place · book · 1 thread", ["a note"])
    frames = frames_of(svg)
    assert frames[GEMM] == pytest.approx(0.6)
    assert frames[STEP] == pytest.approx(0.999)
    assert frames["all"] == 1.0
    assert "in_place · book · 1 thread" in svg
    assert "a note" in svg
    assert "BLAS 60 ± 3 %" in svg
    assert "href" not in svg
    assert svg == flamegraph.draw(SAMPLE, "in_place · book · 1 thread", ["a note"])


def test_a_differential_flamegraph_is_red_where_it_grew_and_blue_where_it_shrank() -> None:
    after = Stacks(Counter({(STEP, GEMM): 300, (STEP, UMATH): 600, (STEP,): 100}), 0)
    forth = flamegraph.draw_difference(SAMPLE, after, "forth", [])
    back = flamegraph.draw_difference(after, SAMPLE, "back", [])
    for svg, grown, shrunk in ((forth, UMATH, GEMM), (back, GEMM, UMATH)):
        fill = dict(re.findall(r"<title>(.*?): [^<]*</title><rect [^>]*fill=\"(#[0-9a-f]{6})\"", svg.replace("\n", "")))
        assert fill[grown].startswith("#ff")
        assert fill[shrunk].endswith("ff")
        assert not fill[shrunk].startswith("#ff")
    assert frames_of(forth)[UMATH] == pytest.approx(0.6)
    assert frames_of(back)[UMATH] == pytest.approx(0.3)


def test_speedscope_holds_the_same_samples() -> None:
    document = json.loads(speedscope(SAMPLE, "title"))
    profile = document["profiles"][0]
    names = [frame["name"] for frame in document["shared"]["frames"]]
    found = {
        tuple(names[index] for index in stack): weight
        for stack, weight in zip(profile["samples"], profile["weights"], strict=True)
    }
    assert found == SAMPLE.counts


def recording(**changes: object) -> Recording:
    facts: dict[str, object] = {
        "row": "in_place",
        "workload": "book",
        "threads": 1,
        "seconds": 5,
        "rate": 200,
        "native": True,
        "steps_per_second": 1000.0,
        "steps_per_second_alone": 1010.0,
        "behind_seconds": 0.0,
        "unseen": "",
        "stacks": SAMPLE,
    }
    return Recording(**facts | changes)  # type: ignore[arg-type]


def test_a_good_recording_needs_no_words() -> None:
    assert recording().notes() == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stacks": Stacks(Counter({(STEP,): 999}), 0)}, "Only 999 samples"),
        ({"stacks": Stacks(Counter({(STEP,): 2000}), 100)}, "Only 95.2 % of the samples were within the row"),
        ({"stacks": Stacks(Counter({(STEP,): 2000}), 0, 500)}, "Left out: 500 of 2500 samples, of threads that only"),
        ({"native": False}, "what C, BLAS and Rust do counts as the Python line that called them"),
        ({"behind_seconds": 1.4}, "py-spy was 1.4 s behind"),
        ({"steps_per_second": 500.0}, "slowed the row to 50 % of its speed"),
        ({"unseen": "BLAS's other threads"}, "Not in the picture: BLAS's other threads."),
    ],
)
def test_what_makes_a_recording_doubtful_is_said(changes: dict[str, object], words: str) -> None:
    assert words in " ".join(recording(**changes).notes())


def test_a_recording_survives_its_file(tmp_path: Path) -> None:
    path = tmp_path / "in_place.raw.txt"
    path.write_text(recording().raw())
    assert read(path) == recording(stacks=Stacks(dict(SAMPLE.counts), 3))


@pytest.mark.parametrize("content", ["a;b 3\n", "# {}\na;b 3\n", '# {"row": "x"}\na;b 3\n', "", "# []\n"])
def test_what_is_no_recording_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "foreign.txt"
    path.write_text(content)
    with pytest.raises(UserError, match="not a recording"):
        read(path)


def test_stacks_of_another_profiler_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "in_place.folded"
    path.write_text("main;f (a.py:3) 12\n")
    with pytest.raises(
        UserError, match="not a recording of backprop profile, but collapsed stacks without a first line"
    ):
        read(path)


def test_each_row_says_what_cannot_be_seen_of_it() -> None:
    assert (unseen("in_place", 1), unseen("in_place", 2)) == ("", "BLAS's other threads")
    assert unseen("multithreaded", 2) == unseen("pure_python", 2) == ""
    numba = "names of Numba's compiled functions"
    assert (unseen("numba", 1), unseen("numba", 2)) == (numba, f"{numba}; Numba's other threads")
    assert unseen("rust_rayon", 2) == "rayon's threads"
    assert unseen("somebody_elses", 2) == "BLAS's other threads"


def test_every_row_with_threads_of_its_own_is_described() -> None:
    """Those that compute in BLAS alone, or in scikit-learn, which does, need no words of their own."""
    assert ROWS.keys() <= ENTRIES.keys()
    blas = {"per_example", "batched_3d", "batched_2d", "in_place", "rust_per_example_blas", "rust_batched_blas"}
    assert ENTRIES.keys() - ROWS.keys() == blas | {"scikit_learn"}
    on_a_gpu = {name for name in ENTRIES if name.endswith("_cuda")}
    assert {unseen(name, 1) for name in on_a_gpu} == {"the GPU, which computes"}


# --- the command, with a stand-in for py-spy ---------------------------------------------------------------------


def stand_in(folder: Path, body: str) -> Path:
    """Write a py-spy that does what `body` says; `out` is where the stacks go and `pid` the process."""
    path = folder / "py-spy"
    head = f"#!{sys.executable}\nimport os, signal, sys, time\n"
    head += "arguments = sys.argv\nout = arguments[arguments.index('--output') + 1]\n"
    head += "pid = int(arguments[arguments.index('--pid') + 1])\n"
    path.write_text(head + textwrap.dedent(body))
    path.chmod(0o755)
    return path


def profile(folder: Path, spy: Path | None, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Run `backprop profile` in this process: its imports are there already."""
    command = ["backprop", "profile", *map(str, arguments), "--out", str(folder / "out")]
    environment = {"BACKPROP_PY_SPY": str(spy)} if spy else {}
    status: object = 0
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(sys, "argv", command),
        contextlib.redirect_stdout(io.StringIO()) as out,
        contextlib.redirect_stderr(io.StringIO()) as err,
    ):
        try:
            main()
        except SystemExit as ending:
            status = ending.code
    return subprocess.CompletedProcess(command, int(str(status)), out.getvalue(), err.getvalue())


def pictures(folder: Path) -> list[Path]:
    return sorted((folder / "out").glob("*.svg"))


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("Permission Denied: Try running again with elevated permissions by going 'sudo env'", "run it with sudo"),
        ("Error: Failed to suspend process\\nReason: EPERM: Operation not permitted", "--cap-add SYS_PTRACE"),
        ("Error: Failed to get process executable name\\nReason: Permission denied (os error 13)", "CAP_SYS_PTRACE"),
        ("This program requires root on OSX.", "macOS lets only root attach"),
        ("--native is not supported on your platform", "add --no-native"),
    ],
)
def test_profiling_that_is_not_permitted_is_told_apart_from_a_failure(tmp_path: Path, message: str, words: str) -> None:
    spy = stand_in(tmp_path, f"print('{message}')\nsys.exit(1)")
    done = profile(tmp_path, spy, "in_place", "batched_2d", "--seconds", 1)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("in_place: skipped: ")
    assert words in done.stderr
    assert pictures(tmp_path) == []


def test_a_missing_py_spy(tmp_path: Path) -> None:
    done = profile(tmp_path, tmp_path / "no" / "py-spy", "in_place")
    assert done.returncode == 3
    assert pip_command("py-spy") in done.stderr


def test_py_spy_is_found_beside_python() -> None:
    assert Path(py_spy()).exists()


def test_a_recording_without_samples_leaves_no_picture(tmp_path: Path) -> None:
    spy = stand_in(tmp_path, "open(out, 'w').close()\nprint('Error: No stack counts found')\nsys.exit(1)")
    done = profile(tmp_path, spy, "in_place", "--seconds", 1)
    assert done.returncode == 1
    assert "py-spy took no sample" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_native_code_that_cannot_be_walked_is_told_in_words(tmp_path: Path) -> None:
    said = "Error: failed to get frames\\nStack backtrace: 3: py_spy::python_spy::PythonSpy::retry_new"
    spy = stand_in(tmp_path, f"open(out, 'w').close()\nprint('{said}')\nsys.exit(1)")
    done = profile(tmp_path, spy, "in_place", "--seconds", 1)
    assert done.returncode == 1
    assert "py-spy cannot walk the stacks of this row's native code: try again, or add --no-native" in done.stderr


def test_samples_of_something_else_leave_no_picture(tmp_path: Path) -> None:
    spy = stand_in(tmp_path, "open(out, 'w').write('main (other.py:1) 500\\n')")
    done = profile(tmp_path, spy, "in_place", "--seconds", 1)
    assert done.returncode == 1
    assert "no sample was within the row, 500 were of the loop around it" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_a_worker_that_dies_under_the_profiler_costs_its_own_row(tmp_path: Path) -> None:
    body = f"""
        if not os.path.exists({str(tmp_path / "once")!r}):
            open({str(tmp_path / "once")!r}, "w").close()
            os.kill(pid, signal.SIGKILL)
            time.sleep(1)
            sys.exit(1)
        open(out, "w").write({f"{LOOP};Batched2D.step (impls/batched_2d.py:1) 1200"!r} + "\\n")
    """
    done = profile(tmp_path, stand_in(tmp_path, body), "in_place", "batched_2d", "--seconds", 1)
    assert done.returncode == 1
    assert "in_place: crashed: the worker ended with SIGKILL" in done.stderr
    assert [path.name for path in pictures(tmp_path)] == ["batched_2d.book.1.svg", "shares.book.svg"]


@pytest.mark.parametrize(("names", "status"), [(("in_place",), 1), ((), 0)])
def test_a_row_too_slow_to_record_is_left_out(tmp_path: Path, names: tuple[str, ...], status: int) -> None:
    """It is a failure only where it was asked for by name."""
    with (
        mock.patch("profiles.recorder.BUDGET_SECONDS", 1e-9),
        mock.patch("profiles.cli.entries", return_value={"in_place": ENTRIES["in_place"]}),
    ):
        done = profile(tmp_path, None, *names)
    assert done.returncode == status
    assert re.fullmatch(r"in_place: left out: at least \S+ s per call, over the budget of 1e-09 s\n", done.stderr)


def test_two_rows_are_recorded_and_compared(tmp_path: Path) -> None:
    """The stand-in finds the one half in BLAS and the other all in Python."""
    body = f"""
        stacks = [{f"{LOOP};{STEP};{GEMM} 600"!r}, {f"{LOOP};{STEP} 600"!r}]
        once = {str(tmp_path / "once")!r}
        open(out, "w").write("\\n".join(stacks[os.path.exists(once):] + [""]))
        open(once, "w").close()
    """
    done = profile(tmp_path, stand_in(tmp_path, body), "diff", "in_place", "batched_2d", "--seconds", 1)
    assert done.returncode == 0, done.stderr
    assert re.search(r"BLAS +50.0 ± 2.8 +– +-50.0 +-52.8 to -47.1", done.stdout)
    assert re.search(r"Python +50.0 ± 2.8 +100.0 ± 0.3 +\+50.0 +", done.stdout)
    assert "no differential flamegraph" in done.stdout
    assert pictures(tmp_path) == []


def test_being_behind_is_said(tmp_path: Path) -> None:
    body = f"""
        print("py-spy> 2.51s behind in sampling, results may be inaccurate. Try reducing the sampling rate")
        open(out, "w").write({f"{LOOP};{STEP} 1200"!r} + "\\n")
    """
    done = profile(tmp_path, stand_in(tmp_path, body), "in_place", "--seconds", 1)
    assert done.returncode == 0, done.stderr
    assert "py-spy was 2.5 s behind" in done.stdout


@pytest.mark.slow("records a row")
def test_ctrl_c_leaves_nothing_running_and_no_half_file(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    spy = stand_in(tmp_path, f"open({str(marker)!r}, 'w').write(f'{{pid}} {{os.getpid()}}')\ntime.sleep(60)")
    process = subprocess.Popen(
        [BACKPROP, "profile", "in_place", "--out", tmp_path / "out"],
        env=os.environ | {"BACKPROP_PY_SPY": str(spy)},
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not (marker.exists() and marker.read_text().count(" ") == 1):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in err
    for pid in map(int, marker.read_text().split()):
        assert not Path(f"/proc/{pid}").exists()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("in_place", "--seconds", "0"), "0 is not in the range"),
        (("in_place", "--seconds", "-1"), "-1 is not in the range"),
        (("in_place", "--seconds", "0.5"), "'0.5' is not a valid integer"),
        (("in_place", "--rate", "0"), "0 is not in the range"),
        (("in_place", "--rate", "1.5"), "'1.5' is not a valid integer"),
        (("in_place", "--workload", "bok"), "did you mean book?"),
        (("in_plac",), "did you mean in_place?"),
        (("diff", "in_place"), "expected two rows or recordings, found 1"),
        (("diff", "a.raw.txt", "b.raw.txt"), "a.raw.txt: cannot be read"),
        (("in_place", "--format", "png"), "'png' is not one of"),
        (("nosuch.folded",), "nosuch.folded: cannot be read"),
        ((CHECKOUT / "README.md",), "README.md: not a recording"),
        ((CHECKOUT / "results/reference/default/results.json",), "but a run of backprop bench: backprop report shows"),
    ],
)
def test_a_mistake_is_told_in_one_line(tmp_path: Path, arguments: tuple[object, ...], words: str) -> None:
    done = profile(tmp_path, None, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_unwritable_folder(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file, not a folder")
    done = profile(tmp_path, None, "in_place")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr


def test_an_unavailable_row_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    missing = [name for name, entry in ENTRIES.items() if entry.unavailable()]
    if not missing:
        pytest.skip("every row is available here")
    done = profile(tmp_path, stand_in(tmp_path, "sys.exit(1)"), missing[0])
    assert done.returncode == 1
    assert f"{missing[0]} is unavailable: it needs" in done.stderr


def skip(what: str, reason: str) -> NoReturn:
    """Skip a test for want of something, or fail if BACKPROP_REQUIRE names it: CI must not pass without."""
    if what in os.environ.get("BACKPROP_REQUIRE", "").split(","):
        pytest.fail(reason)
    pytest.skip(reason)


# --- real py-spy -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with real recordings of every NumPy row; skip where profiling is not permitted."""
    folder = tmp_path_factory.mktemp("recorded")
    names = ("pure_python", "per_example", "batched_3d", "batched_2d", "in_place", "multithreaded")
    done = profile(folder, None, *names, "--seconds", 2, "--rate", 250)
    if done.returncode == 3:
        skip("profile", done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return folder / "out"


@pytest.mark.slow("records a row")
def test_the_picture_holds_the_step_and_nothing_else(recorded: Path) -> None:
    paths = sorted(recorded.glob("*.raw.txt"))
    assert len(paths) == 6
    found = [read(path).stacks for path in paths]
    assert sum(of.outside for of in found) / sum(of.samples + of.outside for of in found) <= 0.02
    for path, of in zip(paths, found, strict=True):
        assert wilson(of.outside, of.samples + of.outside).low <= 0.02, path.name  # 500 samples tell no more
        assert of.samples > 200
        text = path.read_text()
        for foreign in ("worker.py", "timing.py", "importlib", "pytest", "0x7f", str(Path.home()), str(recorded)):
            assert foreign not in text, path.name


def test_the_shares_are_what_the_rows_are(recorded: Path) -> None:
    found = {path.name.split(".")[0]: shares(read(path).stacks) for path in recorded.glob("*.raw.txt")}
    assert found["pure_python"]["Python"].value > 0.8
    assert found["pure_python"]["BLAS"].value == 0
    assert found["in_place"]["BLAS"].value > found["per_example"]["BLAS"].value
    assert found["batched_3d"]["NumPy C"].value > 0.4
    assert all(set(row) == set(CATEGORIES) for row in found.values())


def test_files_are_small_and_named_after_what_they_show(recorded: Path) -> None:
    names = {path.name for path in recorded.iterdir()}
    assert {"in_place.book.1.svg", "in_place.book.1.raw.txt", "shares.book.svg", "shares.book.png"} <= names
    assert all(path.stat().st_size < 300_000 for path in recorded.iterdir())
    assert "in_place · book · 1 thread" in (recorded / "in_place.book.1.svg").read_text()


def test_pictures_can_be_drawn_again_without_recording(recorded: Path, tmp_path: Path) -> None:
    rows = ("in_place.book.1", "batched_2d.book.1")
    done = profile(tmp_path, tmp_path / "no py-spy", *(recorded / f"{row}.raw.txt" for row in rows))
    assert done.returncode == 0, done.stderr
    for row in rows:
        assert (tmp_path / "out" / f"{row}.svg").read_text() == (recorded / f"{row}.svg").read_text()
    assert not list((tmp_path / "out").glob("*.raw.txt"))  # what is only read is written nowhere
    assert (tmp_path / "out" / "shares.book.png").exists()


def test_two_recordings_of_one_row_can_be_compared(recorded: Path, tmp_path: Path) -> None:
    path = recorded / "in_place.book.1.raw.txt"
    done = profile(tmp_path, None, "diff", path, path)
    assert done.returncode == 0, done.stderr
    assert [drawn.name for drawn in pictures(tmp_path)] == ["in_place.book.1.diff-back.svg", "in_place.book.1.diff.svg"]
    other = profile(tmp_path, None, "diff", path, recorded / "batched_2d.book.1.raw.txt")
    assert "no differential flamegraph" in other.stdout


@pytest.mark.slow("records a row")
def test_the_recipe_of_the_readme_works_as_written(recorded: Path, tmp_path: Path) -> None:
    """Start the target, attach plain py-spy to the process that it names, end it; only the duration is shortened."""
    (recipe,) = re.findall(r"```sh\n(.*?)```", README.read_text(), re.DOTALL)
    assert "--duration 6" in recipe
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    command = ["bash", "-eu", "-c", recipe.replace("--duration 6", "--duration 1") + "\necho target: $pid"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, check=True, timeout=60, text=True
    )
    assert "InPlace.step" in (tmp_path / "in_place.svg").read_text()
    pid = int(done.stdout.partition("target: ")[2])
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}").exists() or (tmp_path / "ready.txt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_committed_recordings_are_whole_and_small() -> None:
    folder = README.parent / "recordings"
    committed = sorted(folder.glob("*.raw.txt"))
    assert committed
    for picture in re.findall(r"\]\((recordings/[^)]*)\)", README.read_text()):
        assert (README.parent / picture).exists()
    for path in committed:
        found = read(path)
        picture = path.with_name(path.name.replace(".raw.txt", ".svg"))
        assert picture.read_text() == flamegraph.draw(found.stacks, found.title, found.notes())
        assert max(path.stat().st_size, picture.stat().st_size) < 300_000
