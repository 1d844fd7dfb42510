"""Stacks and their categories, names of functions, and the pictures and tables that are made of them."""

import importlib
import importlib.util
import io
import itertools
import random
import re
import shutil
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from contrast import contrast
from required import skip
from rich.console import Console

from impls.support.errors import UserError
from profiles import flamegraph
from profiles.recording import Recording, read
from profiles.stacks import CATEGORIES, Stacks, category, clean, difference, parse, shares, wilson
from profiles.tables import ordered, share_plot, share_table

RECORDINGS = Path(flamegraph.__file__).with_name("recordings")
SVG = "{http://www.w3.org/2000/svg}"
ROOT = "0x7f14ebe4524a (libc.so.6);_run_module_as_main (<frozen runpy>:198);main (bench/worker/main.py:225)"
LOOP = f"{ROOT};Worker._loop (bench/worker/main.py:175);time_calls (bench/worker/timing.py:19)"
STEP = "InPlace.step (impls/in_place.py:51)"
GEMM = "dgemm_kernel_SKYLAKEX (libscipy_openblas64_.so)"
UMATH = "ufunc_generic_fastcall (numpy/_core/_multiarray_umath.so)"
SAMPLE: Stacks = Counter({(STEP, GEMM): 600, (STEP, UMATH): 300, (STEP,): 99, ("rare <&> frame",): 1})


def recording(stacks: Stacks = SAMPLE, **changes: object) -> Recording:
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
        "outside": 3,
        "waiting": 0,
    }
    return Recording(**facts | changes, stacks=stacks)  # type: ignore[arg-type]


def frames_of(svg: str) -> dict[str, ET.Element]:
    """Return the frames of a flamegraph by name."""
    groups = [group for group in ET.fromstring(svg).iter(f"{SVG}g") if group.get("class") == "frame"]
    return {(group.findtext(f"{SVG}title") or "").partition(": ")[0]: group for group in groups}


def rect_of(frame: ET.Element) -> dict[str, str]:
    rect = frame.find(f"{SVG}rect")
    assert rect is not None
    return rect.attrib


# --- stacks ------------------------------------------------------------------------------------------------------


def test_parse_splits_the_count_from_the_right_and_joins_equal_stacks() -> None:
    assert parse("# a comment\na b (x.py:1);[T; 4] 3\na b (x.py:1);[T; 4] 4\n\n") == {("a b (x.py:1)", "[T; 4]"): 7}


@pytest.mark.parametrize("text", ["no count", "a;b 1.5", f"f {'9' * 5000}"])
def test_parse_refuses_what_is_no_stack(text: str) -> None:
    with pytest.raises(UserError, match="line 1: expected collapsed stacks"):
        parse(text)


def test_clean_keeps_the_frames_of_the_implementation() -> None:
    helper = "0x7f931dd278ec (libc.so.6);Thread.run (threading.py:982);Team._help (/home/me/impls/in_place.py:139)"
    text = f"{LOOP};{STEP};{GEMM} 5\n{LOOP} 2\n{ROOT} 1\n{helper} 3\n"
    kept = {(STEP, GEMM): 5, ("Team._help (in_place.py:139)",): 3}
    assert clean(parse(text), "in_place.py") == (kept, 3, 0)


@pytest.mark.parametrize(
    ("leaves", "waits"),
    [
        ("PyThread_acquire_lock_timed (libpython3.11.so.1.0);0x7fedfb0aed90 (libc.so.6)", True),
        ("absl::synchronization_internal::FutexWaiter::WaitUntil (libjax_common.so);syscall (libc.so.6)", True),
        ("pthread_cond_wait (libc.so.6);free (libc.so.6)", False),
        ("Condition.wait (threading.py:3)", False),
    ],
)
def test_a_thread_that_waits_is_not_at_work(leaves: str, waits: bool) -> None:
    stacks, outside, waiting = clean(parse(f"{LOOP};{STEP};{leaves} 5\n"), "in_place.py")
    assert (stacks.total(), outside, waiting) == ((0, 0, 5) if waits else (5, 0, 0))


@pytest.mark.parametrize(
    ("frame", "readable"),
    [
        ("_RNvMNtCsjrHSEGnQ3l9_3std3f64d3exp (f64.rs:724)", "<f64>::exp (f64.rs:724)"),
        ("_RNv (a.so)", "_RNv (a.so)"),
        ("_$LT$a..Fma$u20$as$u20$b..Add$GT$::add::h33eea104cc430387 (mod.rs:51)", "<Fma as Add>::add (mod.rs:51)"),
        ("f::_$u7b$$u7b$closure$u7d$$u7d$::h33eea104cc430387 (a.rs:1)", "f::{{closure}} (a.rs:1)"),
        (f"f<std::pair<int, {'long ' * 30}>>(std::vector<double>) (a.so)", "f<pair…>(vector…) (a.so)"),
        ("dgemm_otcopy (libscipy_openblas64_-32a4b2a6.so)", "dgemm_otcopy (libscipy_openblas64_.so)"),
        ("add (numpy/_umath.cpython-311-x86_64-linux-gnu.so)", "add (numpy/_umath.so)"),
        ("0x7f14ebf85158 (/home/me/lib/b.abi3.so)", "[b.so]"),
        ("f (/home/me/impls/mine.py:3)", "f (mine.py:3)"),
    ],
)
def test_names_are_readable_and_the_same_in_every_build(frame: str, readable: str) -> None:
    stacks, _, _ = clean(parse(f"{LOOP};{STEP};{frame} 1"), "in_place.py")
    assert stacks == {(STEP, readable): 1}


@pytest.mark.parametrize(
    ("frames", "name"),
    [
        ((), "Python"),
        ((UMATH,), "NumPy C"),
        ((UMATH, "[libc.so.6]"), "NumPy C"),  # memcpy on NumPy's behalf
        ((UMATH, GEMM, "[libc.so.6]"), "BLAS"),
        (("backprop_bench_rust::fused::step (backprop_bench_rust.so)", "[libc.so.6]"), "other Rust"),
        (("rust_step (backprop_bench_rust.so)", GEMM), "BLAS"),
        (("matrixmultiply::packing::pack (packing.rs:78)", "core::ptr::copy (mod.rs:547)"), "Rust products"),
        (("gemm_f64::gemm::f64::avx512f::x3x8 (gemm.rs:40)",), "Rust products"),
        (("<Avx512 as Simd>::run (simd.rs:224)", "<Dots<T,S> as Kernel>::run (products.rs:202)"), "Rust products"),
        (("<Avx512 as Simd>::run (simd.rs:224)", "<Activate<T,S> as Kernel>::run (elements.rs:61)"), "other Rust"),
        (("<Linear as Module>::forward (linear.rs:54)", "at::linear (torch/lib/libtorch_cpu.so)"), "other native"),
        (("at::native::addmm (libtorch_cpu.so)", "mkl_blas_dgemm (libtorch_cpu.so)"), "BLAS"),
        (("kernel (cd5a.main.cpp:15)", "_mm512_sub_pd (avx512fintrin.h:1)"), "JIT"),
        (("[?]", "exp (libm.so.6)", "[libm.so.6]"), "JIT"),
        (("[?]", "jax::PyArray::BlockUntilReady (jaxlib/libjax_common.so)"), "other native"),
        (("f2py_rout__fblas_dgemm (scipy/linalg/_fblas.so)",), "other native"),
    ],
)
def test_categories(frames: tuple[str, ...], name: str) -> None:
    assert category((STEP, *frames)) == name


def test_intervals_cover() -> None:
    """Of 400 intervals of known shares (Wilson's) and differences (Newcombe's), about 95 % hold the true value."""
    drawn = np.random.default_rng(0).binomial(1000, 0.5, size=401)
    blas = [shares(Counter({(STEP, GEMM): int(count), (STEP,): 1000 - int(count)}))["BLAS"] for count in drawn]
    covered = np.mean([share.low <= 0.5 <= share.high for share in blas])
    changes = [difference(before, after) for before, after in itertools.pairwise(blas)]
    covered_change = np.mean([low <= 0 <= high for _, low, high in changes])
    assert 0.92 <= covered <= 0.98
    assert 0.92 <= covered_change <= 0.98
    assert difference(wilson(300, 1000), wilson(600, 1000))[1] > 0.2
    assert wilson(0, 100).low == 0.0
    assert wilson(100, 100).high == pytest.approx(1.0)


@pytest.mark.parametrize("ground", [*flamegraph.COLOURS.values(), flamegraph.GREW, flamegraph.SHRANK, flamegraph.SAME])
def test_letters_can_be_read_on_every_colour(ground: str) -> None:
    assert contrast(ground, flamegraph.ink(ground)) >= 4.5


# --- pictures ----------------------------------------------------------------------------------------------------


def test_a_flamegraph_is_to_scale_readable_and_self_contained() -> None:
    svg = flamegraph.draw(recording(behind_seconds=2.0))
    frames = frames_of(svg)
    assert {name: float(frame.attrib["data-w"]) for name, frame in frames.items()} == {
        "all": 1.0,
        STEP: 0.999,
        GEMM: 0.6,
        UMATH: 0.3,
        "rare <&> frame": 0.001,
    }
    assert all(float(rect_of(frame)["height"]) >= 18 for frame in frames.values())
    assert float(rect_of(frames[GEMM])["width"]) == pytest.approx(0.6 * 1180, abs=0.5)
    assert ET.fromstring(svg).attrib["width"] == "100%"
    for words in ("in_place · book · 1 thread", "py-spy was 2.0 s behind", "BLAS 60 ± 3 %"):
        assert f">{words}" in svg
    assert min(map(int, re.findall(r"(?:font-size:|font:)(\d+)px", svg))) >= 14
    addresses = set(re.findall(r"https?://[^\s\"']+", svg))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}  # names, which nobody fetches
    assert not re.search(r"\b(href|src|url|import|fetch|XMLHttpRequest)\b", svg)


def test_every_colour_of_a_picture_is_in_its_legend() -> None:
    svg = flamegraph.draw(read(RECORDINGS / "numba.book.1.raw.txt"))
    used = {rect_of(frame)["fill"] for name, frame in frames_of(svg).items() if name != "all"}
    legend = {rect.attrib["fill"] for rect in ET.fromstring(svg).findall(f"{SVG}rect")}
    assert legend == used | {"#ffffff"}


def test_text_fits_and_odd_names_stay_text() -> None:
    name = "f\x00<b>\r\u2028]]>&\"'" + "x" * 300
    svg = flamegraph.draw(recording(parse(f"{name} 600\nshort 300\n"), row=name))
    (frame,) = (frame for shown, frame in frames_of(svg).items() if shown.startswith("f\ufffd<b> ]]>&\"'"))
    label = frame.findtext(f"{SVG}text") or ""
    assert label.endswith("x…")
    assert flamegraph.LETTER * len(label) < float(rect_of(frame)["width"])
    title = ET.fromstring(svg).findtext(f"{SVG}title") or ""
    assert len(title) * flamegraph.TITLE_LETTER <= 800
    assert "<b>" not in svg


def coloured(before: Stacks, after: Stacks) -> dict[str, str]:
    """Return the frames of a differential flamegraph that are coloured, and how."""
    frames = frames_of(flamegraph.draw_difference(recording(before), recording(after)))
    names = {flamegraph.GREW: "grew", flamegraph.SHRANK: "shrank"}
    return {name: names[rect_of(frame)["fill"]] for name, frame in frames.items() if rect_of(frame)["fill"] in names}


def test_a_difference_that_is_there_is_coloured() -> None:
    after: Stacks = Counter({(STEP, GEMM): 300, (STEP, UMATH): 600, (STEP,): 100})
    assert coloured(SAMPLE, after) == {GEMM: "shrank", UMATH: "grew"}


def test_two_halves_of_a_recording_show_no_difference() -> None:
    """By the correction one picture in 20 may have any colour: of 20 pictures, five or more have p = 0.003."""
    stacks = read(RECORDINGS / "in_place.book.1.raw.txt").stacks
    samples = sorted(stacks.elements())
    pictures = 0
    for seed in range(20):
        random.Random(seed).shuffle(samples)
        half = len(samples) // 2
        pictures += bool(coloured(Counter(samples[:half]), Counter(samples[half:])))
    assert pictures <= 4


# --- shares of several -------------------------------------------------------------------------------------------


ALL_CATEGORIES: Stacks = Counter(
    {
        (STEP, GEMM): 480,
        (STEP, UMATH): 300,
        (STEP,): 90,
        (STEP, "[?]"): 90,
        (STEP, "x (y.so)"): 20,
        (STEP, "matrixmultiply::a (b.rs:1)"): 80,
        (STEP, "c (d.rs:1)"): 130,
    }
)
ORDER = ["per_example", "in_place", "numba", "rust_per_example_blas", "mine"]  # of all plots and tables
SEVERAL = ordered([recording(ALL_CATEGORIES, row=row) for row in reversed(ORDER)])


def test_the_table_fits_into_100_columns() -> None:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(share_table([*SEVERAL, recording(ALL_CATEGORIES, row="a_row_with_a_name_of_thirty_letters")]))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert re.findall(r"^ (?:per_|in_|numba|rust_|mine)\w*", text, re.MULTILINE) == [f" {name}" for name in ORDER]
    for words in ("book · 1 thread", "40 ± 3", "2 ± 1", "1,190"):
        assert words in text


def test_the_plot_shows_the_shares(tmp_path: Path) -> None:
    svg = share_plot(SEVERAL, tmp_path / "shares.book.svg")
    texts = [text.strip() for text in ET.parse(svg).getroot().itertext() if text.strip()]
    assert {"Where the time goes · book · 1 thread", *CATEGORIES} <= set(texts)
    assert [text for text in texts if text in ORDER] == ORDER
    assert texts.count("40") == 5 + 1  # in each bar, and at the axis
    assert "2" not in texts  # too narrow for its number


# --- in a browser ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")
def test_a_picture_is_fluid_and_works_by_keyboard(tmp_path: Path) -> None:
    if not importlib.util.find_spec("playwright"):
        skip("browser", "needs playwright: pip install 'backprop-bench[browser]'")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        skip("browser", "needs chromium")
    path = tmp_path / "flame.svg"
    path.write_text(flamegraph.draw(recording()), encoding="utf-8")
    sync_api = importlib.import_module("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(path.as_uri())
        _operate(page)
        browser.close()
    assert errors == []


def _operate(page: Any) -> None:
    """Resize, tab to a frame, zoom, search and reset, as a reader without a mouse would."""

    def box(name: str) -> dict[str, float]:
        frame = page.locator(".frame", has=page.locator("title", has_text=name))
        return dict(frame.locator("rect").first.bounding_box())

    for width in (1920, 880):
        page.set_viewport_size({"width": width, "height": 800})
        page.wait_for_timeout(200)
        everything = box("all: 1000 samples")
        assert everything["width"] > 0.95 * width
        assert everything["height"] >= 18
        assert box("dgemm_kernel")["width"] == pytest.approx(0.6 * everything["width"], rel=0.02)
    page.locator(".frame", has=page.locator("title", has_text="dgemm_kernel")).focus()
    assert "600 samples, 60.0 %" in page.locator("#details").text_content()
    page.keyboard.press("Enter")
    assert box("dgemm_kernel")["width"] == pytest.approx(everything["width"], abs=2)
    assert not page.locator(".frame", has=page.locator("title", has_text="ufunc_generic")).is_visible()
    page.keyboard.press("Escape")
    assert box("dgemm_kernel")["width"] == pytest.approx(0.6 * everything["width"], rel=0.02)
    page.keyboard.press("/")
    page.keyboard.type("umath/?")
    assert page.locator("#matched").text_content() == "matched: 30.0 %"
    page.keyboard.press("Escape")
    assert page.locator(".found").count() == 0
