"""Flamegraphs as a reader sees them, names of Rust, files read and written, and the target for other profilers."""

import importlib
import importlib.util
import io
import itertools
import json
import random
import re
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections import Counter
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pytest
from required import skip
from rich.console import Console

from impls.errors import UserError
from profiles import cli, flamegraph
from profiles.recording import Recording, read
from profiles.rust_names import demangle
from profiles.stacks import CATEGORIES, Stacks, category, clean, parse, shares
from profiles.tables import share_plot, share_table

RECORDINGS = Path(flamegraph.__file__).with_name("recordings")
SVG = "{http://www.w3.org/2000/svg}"
STEP = "InPlace.step (impls/in_place.py:51)"
GEMM = "dgemm_kernel_SKYLAKEX (libscipy_openblas64_.so)"
UMATH = "ufunc_generic_fastcall (numpy/_core/_multiarray_umath.so)"
SAMPLE = Stacks({(STEP, GEMM): 600, (STEP, UMATH): 300, (STEP,): 99, ("rare <&> frame",): 1}, 3)
ODD = "做$\\frac{$ \x07\u202e\ud800]]>&<b>\"'"  # what names may hold and XML may not
each_recording = pytest.mark.parametrize(
    "path", [pytest.param(path, id=path.name.removesuffix(".raw.txt")) for path in sorted(RECORDINGS.glob("*.raw.txt"))]
)


def recording(row: str = "in_place", workload: str = "book", threads: int = 1, stacks: Stacks = SAMPLE) -> Recording:
    return Recording(row, workload, threads, 5, 200, True, 1000.0, 1010.0, 0.0, "", stacks)


def profile(*arguments: object) -> object:
    """Run `backprop profile` in this process; errors of the user propagate."""
    return cli.profile.main([str(argument) for argument in arguments], standalone_mode=False)


def frames_of(svg: str) -> dict[str, ET.Element]:
    """Return the frames of a flamegraph by name."""
    groups = [group for group in ET.fromstring(svg).iter(f"{SVG}g") if group.get("class") == "frame"]
    return {(group.findtext(f"{SVG}title") or "").rpartition(": ")[0]: group for group in groups}


def fill(frame: ET.Element) -> str:
    rect = frame.find(f"{SVG}rect")
    assert rect is not None
    return rect.attrib["fill"]


# --- files -------------------------------------------------------------------------------------------------------


def test_a_picture_drawn_again_lies_beside_its_recording_and_no_recording_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`before.raw.txt` was written to profiles/in_place.book.1.raw.txt, over a newer recording of the same row."""
    monkeypatch.chdir(tmp_path)
    newer = tmp_path / "profiles" / "in_place.book.1.raw.txt"
    newer.parent.mkdir()
    newer.write_text("newer")
    before = tmp_path / "kept" / "before.raw.txt"
    before.parent.mkdir()
    before.write_text(recording().raw() + "\n")  # not byte by byte what would be written
    text = before.read_text()
    assert profile("kept/before.raw.txt") == 0
    assert newer.read_text() == "newer"
    assert before.read_text() == text
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} == {
        "in_place.book.1.raw.txt",
        "before.raw.txt",
        "before.svg",
    }
    assert (tmp_path / "kept" / "before.svg").is_file()


@pytest.mark.parametrize("form", ["flamegraph", "raw", "speedscope"])
def test_out_may_be_the_recordings_own_folder(tmp_path: Path, form: str) -> None:
    path = tmp_path / "in_place.book.1.raw.txt"
    path.write_text(recording().raw() + "\n")
    before = path.read_text()
    assert profile(path, "--out", tmp_path, "--format", form) == 0
    assert path.read_text() == before


@pytest.mark.parametrize(
    "evil", ["../../evil", "/../../../evil", "..", "/etc/evil", "a/b", "x" * 200_000, "\x00\n", ODD]
)
def test_names_inside_a_recording_lead_to_no_other_folder(
    tmp_path: Path, evil: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [tmp_path / "in" / f"{name}.raw.txt" for name in ("a", "b")]
    files[0].parent.mkdir()
    for path in files:
        facts = json.loads(recording().raw().partition("\n")[0].removeprefix("# "))
        header = json.dumps(facts | {"row": evil, "workload": evil, "unseen": evil}).replace("\\ud800", "")
        path.write_text(f"# {header}\n{STEP} 1000\n")
    out = tmp_path / "deep" / "er" / "out"
    assert profile(*files, "--out", out) == 0
    assert profile("diff", *files, "--out", out) == 0
    assert not [letter for letter in capsys.readouterr().out if not (letter.isprintable() or letter == "\n")]
    written = {path for path in tmp_path.rglob("*") if path.is_file()} - set(files)
    assert {path.parent for path in written} == {out}
    assert {"a.svg", "b.svg", "b.diff.svg", "a.diff-back.svg"} <= {path.name for path in written}
    assert "/" not in recording(evil, evil).stem
    assert len(recording(evil, evil).stem) <= 100
    for path in written:
        if path.suffix == ".svg":
            ET.parse(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"threads": "many"}, "threads"),
        ({"rate": 1.5}, "rate"),
        ({"row": 3}, "row"),
        ({"waiting": None}, "waiting"),
    ],
)
def test_a_recording_of_wrong_types_is_refused_in_one_line(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    facts = json.loads(recording().raw().partition("\n")[0].removeprefix("# "))
    path = tmp_path / "x.raw.txt"
    path.write_text(f"# {json.dumps(facts | changes)}\n{STEP} 1\n")
    with pytest.raises(UserError, match=f"not a recording.*{words}"):
        read(path)


@pytest.mark.parametrize("lines", ["", f"{STEP} 0\n", ";".join(["f"] * 100_000) + " 1\n", "f " + "9" * 5000])
def test_a_recording_without_usable_samples_is_refused(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "x.raw.txt"
    path.write_text(recording().raw().partition("\n")[0] + "\n" + lines)
    with pytest.raises(UserError, match=r"x\.raw\.txt: "):
        read(path)


def test_a_deep_stack_can_be_drawn() -> None:
    """Python's own recursion limit is 1,000."""
    svg = flamegraph.draw(Stacks({tuple(f"f{depth}" for depth in range(1500)): 10}, 0), "deep", [])
    assert len(frames_of(svg)) == 1501


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("in_place", "nosuch"), "nosuch"),
        (("in_place", "nosuch.raw.txt"), "nosuch.raw.txt: cannot be read"),
        (("in_place",), "expected two rows or recordings, found 1"),
        (("in_place", "batched_2d", "numba"), "expected two rows or recordings, found 3"),
    ],
)
def test_a_comparison_that_cannot_be_is_refused_before_anything_is_recorded(
    tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    with mock.patch.object(cli, "record", side_effect=AssertionError("recorded")), pytest.raises(UserError) as refused:
        profile("diff", *arguments, "--out", tmp_path)
    assert words in str(refused.value)


def test_a_missing_file_is_told_before_rows_are_recorded(tmp_path: Path) -> None:
    with (
        mock.patch.object(cli, "record", side_effect=AssertionError("recorded")),
        pytest.raises(UserError, match=r"nosuch\.raw\.txt: cannot be read"),
    ):
        profile("in_place", "nosuch.raw.txt", "--out", tmp_path)


# --- names and categories ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        (
            "_RNvNtNtNtCsgEmfK2I1SDS_4core9core_arch3x867avx512f15__mm512_fmadd_pd",
            "core::core_arch::x86::avx512f::_mm512_fmadd_pd",
        ),
        ("_RNvMNtCsjrHSEGnQ3l9_3std3f64d3exp", "<f64>::exp"),
        (
            "_RNvXs5G_NtNtCsgEmfK2I1SDS_4core3ops5arithdNtB6_9AddAssign10add_assign",
            "<f64 as core::ops::arith::AddAssign>::add_assign",
        ),
        (
            "_RINvNtCsgEmfK2I1SDS_4core3ptr13drop_in_placeINtNtCslNYArtu3iFV_5alloc3vec3VecdEEB4_",
            "core::ptr::drop_in_place::<alloc::vec::Vec<f64>>",
        ),
        ("_RNCNvC1a1b0", "a::b::{closure#0}"),
        ("_RNvYRShNtC1a1T1f", "<&[u8] as a::T>::f"),
        ("_RINvC1a1fKj10_TlQdEFUKCPhEuE", "a::f::<16, (i32, &mut f64), unsafe extern \"C\" fn(*const u8)>"),
        ("_RINvC1a1fDNtB2_1Tp1AhEL_Abja_E", "a::f::<dyn a::T<A = u8>, [bool; 10]>"),
        ("_RNvC1au8gdel_5qa", "a::gödel"),
        (
            "_$LT$a..Fused$LT$T$C$S$GT$$u20$as$u20$b..Network$GT$::step::h33eea104cc430387",
            "<a::Fused<T,S> as b::Network>::step",
        ),
        ("ndarray::zip::_$LT$impl$u20$b..C$GT$::f::_$u7b$$u7b$closure$u7d$$u7d$::h33eea104cc430387",
         "ndarray::zip::<impl b::C>::f::{{closure}}"),
        ("_ZN4core3ptr13drop_in_place17h33eea104cc430387E", "core::ptr::drop_in_place"),
    ],
)  # fmt: skip
def test_names_of_rust_are_demangled(mangled: str, name: str) -> None:
    """The v0 names' expected values are those of GNU c++filt."""
    assert demangle(mangled) == name


@pytest.mark.parametrize(
    "name",
    ["_Zeros_int", "_R", "_RNv", "_RNvC1a", "_RNvB_1a", "_R" + "B_" * 9, "_R" + "I" * 9000, "_ZN9aE",
     "_RNvC9999991a", "_RINvC1a1fKj99", "_RTMISC", "dgemm_kernel", "", "_ZNE", "_RNvCs_", "std::vector<int>::at"],
)  # fmt: skip
def test_what_is_no_name_of_rust_stays(name: str) -> None:
    assert demangle(name) == name


def test_a_name_that_unfolds_without_end_stays() -> None:
    """Each argument refers twice to the one before it: 2^40 parts."""
    name, places = "_RINvC1a1f", []
    for _ in range(40):
        places.append(len(name) - 2)
        back = f"B{_base_62(places[-2])}" if len(places) > 1 else "h"
        name += f"T{back}{back}E"
    start = time.perf_counter()
    assert demangle(name + "E") == name + "E"
    assert time.perf_counter() - start < 1


def _base_62(number: int) -> str:
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    text, number = "", number - 1
    while number >= 0:
        text, number = digits[number % 62] + text, number // 62 - (number < 62)
    return text + "_"


def test_raw_files_hold_readable_names_that_say_whose_method_it_is() -> None:
    kernel = (
        "_$LT$backprop_bench_rust..fused..products..Multiply$LT$T$C$S$GT$$u20$as$u20$backprop_bench_rust..fused..simd"
        "..Kernel$GT$::run::h003c0a776bebc245 (products.rs:106)"
    )
    dot = "f::_$LT$impl$u20$a..B$LT$$u5b$usize$u3b$$u20$2$u5d$$GT$$u20$for$u20$core..ops..range..Range$LT$A$GT$$GT$::n"
    found = clean(parse(f"{STEP};{kernel};{dot}::h003c0a776bebc245 (x.rs:1) 7\n"), "in_place.py")
    (stack,) = found.counts
    assert stack == (
        STEP,
        "<Multiply<T,S> as Kernel>::run (products.rs:106)",
        "f::<impl B<[usize, 2]> for Range<A>>::n (x.rs:1)",
    )
    assert read_back(found) == found.counts


def read_back(stacks: Stacks) -> dict[tuple[str, ...], int]:
    return dict(parse(recording(stacks=stacks).raw()))


@pytest.mark.parametrize(
    ("frames", "name"),
    [
        (("matrixmultiply::dgemm_kernel::kernel_target_fma (dgemm_kernel.rs:272)",), "Rust products"),
        (("matrixmultiply::packing::pack (packing.rs:126)", "core::ptr::copy (mod.rs:547)"), "Rust products"),
        (("<Avx512 as Simd<f64>>::run::compiled (simd.rs:224)", "<Dots<T,S> as Kernel>::run (products.rs:202)"),
         "Rust products"),
        (("backprop_bench_rust::fused::products::Dots<T,S>::tile (avx512f.rs)",), "Rust products"),
        (("<Avx512 as Simd<f64>>::run::compiled (simd.rs:224)", "<Activate<T,S> as Kernel>::run (elements.rs:61)"),
         "other Rust"),
        (("ndarray::zip::Zip<P,D>::inner (mod.rs:353)",), "other Rust"),
        (("backprop_bench_rust::blas::Blas<T>::dot (blas.rs:60)", GEMM), "BLAS"),
        (("<Linear as Module>::forward (linear.rs:54)", "atg_linear (backprop_bench_rust_tch.so)"), "other Rust"),
        (("<Linear as Module>::forward (linear.rs:54)", "at::_ops::linear::call (torch/lib/libtorch_cpu.so)",
          "malloc (libc.so.6)"), "other native"),
        (("tensorflow::session::Session::run (session.rs:160)", "TF_SessionRun (libtensorflow_cc.so)"), "other native"),
    ],
)  # fmt: skip
def test_products_of_rust_are_told_from_its_other_code(frames: tuple[str, ...], name: str) -> None:
    assert category((STEP, *frames)) == name


def test_recordings_of_rust_show_their_products() -> None:
    assert shares(read(RECORDINGS / "rust_fused.book.1.raw.txt").stacks)["Rust products"].value > 0.8
    assert set(flamegraph.COLOURS) == set(CATEGORIES)


# --- colours -----------------------------------------------------------------------------------------------------

Vector = npt.NDArray[np.float64]
DEUTERANOPIA = np.array(  # Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)


def lab(colour: str, seen_through: Vector) -> Vector:
    """Return an sRGB colour in CIE Lab (D65), after a matrix on linear RGB."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    ratios = TO_XYZ @ np.clip(seen_through @ linear, 0, 1) / np.array([0.95047, 1.0, 1.08883])
    x, y, z = np.where(ratios > 0.008856, np.cbrt(ratios), 7.787 * ratios + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("seen_through", [np.eye(3), DEUTERANOPIA], ids=["normal", "deuteranopia"])
@pytest.mark.parametrize(
    "colours",
    [flamegraph.COLOURS, {"grew": flamegraph.GREW, "shrank": flamegraph.SHRANK, "same": flamegraph.SAME}],
    ids=["categories", "difference"],
)
def test_colours_can_be_told_apart(seen_through: Vector, colours: dict[str, str]) -> None:
    for (one, a), (other, b) in itertools.combinations(colours.items(), 2):
        difference = lab(a, seen_through) - lab(b, seen_through)
        assert np.linalg.norm(difference) >= 15, (one, other)
        assert abs(difference[0]) >= 1.5, (one, other)  # lightness: in grey, too, no two are the same


def test_letters_can_be_read_on_every_colour() -> None:
    """WCAG asks for a contrast of 4.5."""

    def luminance(colour: str) -> float:
        channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
        linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
        return float(TO_XYZ[1] @ linear)

    for ground in (*flamegraph.COLOURS.values(), flamegraph.GREW, flamegraph.SHRANK, flamegraph.SAME):
        dark, light = sorted([luminance(ground), luminance(flamegraph.ink(ground))])
        assert (light + 0.05) / (dark + 0.05) >= 4.5, ground


# --- the picture -------------------------------------------------------------------------------------------------


@each_recording
def test_every_colour_of_a_picture_is_in_its_legend(path: Path) -> None:
    root = ET.fromstring(flamegraph.draw(read(path).stacks, "title", []))
    frames = frames_of(ET.tostring(root, encoding="unicode"))
    used = {fill(frame) for name, frame in frames.items() if name != "all"}
    legend = {rect.attrib["fill"] for rect in root.findall(f"{SVG}rect")}
    assert used <= legend
    keys = [text.text or "" for text in root.iter(f"{SVG}text") if text.get("class") == "key"]
    assert len(keys) == len(legend) - 1  # the ground is white
    assert {key.rstrip("%± <0123456789") for key in keys} <= set(CATEGORIES)


def test_a_picture_is_as_wide_as_its_place_and_can_be_read() -> None:
    root = ET.fromstring(flamegraph.draw(SAMPLE, "title", ["a note"]))
    assert root.attrib["width"] == "100%"
    assert "height" not in root.attrib  # the aspect is the view box's
    assert root.attrib["viewBox"].startswith("0 0 1200 ")
    for frame in frames_of(ET.tostring(root, encoding="unicode")).values():
        rect = frame.find(f"{SVG}rect")
        assert rect is not None
        assert float(rect.attrib["height"]) >= 18
        assert frame.attrib["tabindex"] == "0"
    sizes = [int(size) for size in re.findall(r"(?:font-size:|font:)(\d+)px", flamegraph.STYLE)]
    assert sizes
    assert min(sizes) >= 14


def test_odd_names_are_text_and_the_picture_stays_whole() -> None:
    stacks = Stacks({(f"{ODD} (x.py:1)", "層" * 90): 600, (STEP, "kernel\x00\r\n\t\x85\u2028"): 300}, 0)
    svg = flamegraph.draw(stacks, ODD * 9, [ODD])
    svg.encode()
    names = frames_of(svg)
    assert "做$\\frac{$ ���]]>&<b>\"' (x.py:1)" in names
    assert not any(ord(letter) < 32 for name in names for letter in name)
    assert "<b>" not in svg
    (chinese,) = (frame for name, frame in names.items() if name.startswith("層"))
    label, rect = chinese.findtext(f"{SVG}text") or "", chinese.find(f"{SVG}rect")
    assert rect is not None
    assert label.endswith("…")
    assert 14 * len(label) <= float(rect.attrib["width"])  # a Chinese letter is as wide as the font is high
    ET.fromstring(flamegraph.draw_difference(stacks, stacks, ODD, [ODD]))


def test_a_picture_asks_for_nothing_from_elsewhere() -> None:
    svg = flamegraph.draw(SAMPLE, "title", [])
    addresses = set(re.findall(r"https?://[^\s\"']+", svg))
    assert addresses == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xhtml"}  # names, which nobody fetches
    assert not re.search(r"\b(href|src|url|import|fetch|XMLHttpRequest)\b", svg)


# --- differences -------------------------------------------------------------------------------------------------


def coloured(svg: str) -> list[str]:
    return [name for name, frame in frames_of(svg).items() if fill(frame) in (flamegraph.GREW, flamegraph.SHRANK)]


@each_recording
def test_two_halves_of_a_recording_show_no_difference(path: Path) -> None:
    """By the correction one picture in 20 may have any colour: of a recording's 20, five or more have p = 0.003."""
    samples = [stack for stack, count in sorted(read(path).stacks.counts.items()) for _ in range(count)]
    pictures = 0
    for seed in range(20):
        random.Random(seed).shuffle(samples)
        half = len(samples) // 2
        before, after = (Stacks(Counter(part), 0) for part in (samples[:half], samples[half:]))
        pictures += bool(coloured(flamegraph.draw_difference(before, after, "title", [])))
    assert pictures <= 4


def test_a_difference_that_is_there_is_coloured_and_counted() -> None:
    after = Stacks({(STEP, GEMM): 300, (STEP, UMATH): 600, (STEP,): 100}, 0)
    svg = flamegraph.draw_difference(SAMPLE, after, "title", [])
    frames = {name.partition(": ")[0]: frame for name, frame in frames_of(svg).items()}
    assert fill(frames[GEMM]) == flamegraph.SHRANK
    assert fill(frames[UMATH]) == flamegraph.GREW
    assert fill(frames[STEP]) == flamegraph.SAME
    for words in ("grew: 1 frame<", "shrank: 1 frame<", "recordings can show: 1 frame<", "Bonferroni"):
        assert words in svg


def test_the_correction_is_for_the_number_of_frames() -> None:
    """A change of three points that shows where there are two frames does not among 600."""

    def of(changed: int, others: int) -> Stacks:
        return Stacks(Counter({("changed",): changed} | {(f"f{i}",): 1800 // others for i in range(others)}), 0)

    few = coloured(flamegraph.draw_difference(of(200, 1), of(270, 1), "title", []))
    assert any(name.startswith("changed") for name in few)
    many = coloured(flamegraph.draw_difference(of(200, 600), of(270, 600), "title", []))
    assert not any(name.startswith("changed") for name in many)


# --- shares ------------------------------------------------------------------------------------------------------


def all_rows() -> list[Recording]:
    counts = {(STEP, GEMM): 480, (STEP, UMATH): 300, (STEP,): 90, (STEP, "[?]"): 90, (STEP, "x (y.so)"): 20}
    rust = {(STEP, "matrixmultiply::a (b.rs:1)"): 80, (STEP, "c (d.rs:1)"): 130}
    rows = ("rust_per_example_blas", "in_place", "numba", "mine", "per_example")
    return [recording(row, stacks=Stacks(counts | rust, 0)) for row in rows]


@pytest.mark.parametrize("name", ["mine", "a_row_with_a_name_of_thirty_letters"])
def test_the_table_fits_into_100_columns(name: str) -> None:
    console = Console(width=100, file=io.StringIO(), record=True)
    console.print(share_table([*all_rows(), recording(name, stacks=all_rows()[0].stacks)]))
    text = console.export_text()
    assert max(map(len, text.splitlines())) <= 100
    assert "…" not in text
    assert text.count("1 thread") == text.count("book") == 1
    assert "40 ± 3" in text
    assert "2 ± 1" in text
    assert "1,190" in text


def test_the_plot_says_once_what_all_rows_share(tmp_path: Path) -> None:
    svg, png = share_plot(all_rows(), tmp_path / "shares.book")
    assert png.stat().st_size > 1000
    texts = [text.strip() for text in ET.parse(svg).getroot().itertext() if text.strip()]
    assert texts.count("Where the time goes · book · 1 thread") == 1
    assert sum("1 thread" in text for text in texts) == 1
    rows = [text for text in texts if text in {of.row for of in all_rows()}]
    assert rows == ["per_example", "in_place", "numba", "rust_per_example_blas", "mine"]  # the palette's order
    assert texts.count("1,190") == 5
    assert texts.count("40") == 5 + 1  # in each bar, and at the axis
    assert "2" not in texts  # too narrow for its number
    assert {"Rust products", "other Rust", "Python and NumPy"} <= set(texts)


def test_the_plot_names_what_differs(tmp_path: Path) -> None:
    svg, _ = share_plot([recording(), recording(workload="large"), recording("做$\\frac{$ \x07")], tmp_path / "shares")
    texts = [text.strip() for text in ET.parse(svg).getroot().itertext() if text.strip()]
    assert {"Where the time goes · 1 thread", "in_place · book", "in_place · large"} <= set(texts)


# --- the target --------------------------------------------------------------------------------------------------


def test_the_target_tells_its_process_in_a_file_that_is_whole_and_fresh(tmp_path: Path) -> None:
    ready = tmp_path / "ready.txt"
    ready.write_text("4000000")  # of an earlier run
    target = subprocess.Popen(
        [sys.executable, "-m", "profiles.target", "in_place", "--ready", ready], stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    try:
        while not ready.exists() or ready.read_text() == "4000000":
            assert target.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        pid = int(ready.read_text())
        assert Path(f"/proc/{pid}").exists() or sys.platform != "linux"
        assert pid != target.pid
    finally:
        target.send_signal(signal.SIGTERM)
        out, _ = target.communicate(timeout=30)
    assert out == ""
    assert not ready.exists()
    assert not Path(f"/proc/{pid}").exists()


def test_a_target_that_cannot_start_says_why_and_leaves_no_file(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "profiles.target", "in_plac", "--ready", str(tmp_path / "ready.txt")]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "did you mean in_place?" in done.stderr
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


# --- in a browser ------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("place", ["itself", "iframe", "object"])
def test_a_picture_is_fluid_and_works_by_keyboard(tmp_path: Path, place: str) -> None:
    if not importlib.util.find_spec("playwright"):
        skip("browser", "needs playwright: pip install 'backprop-bench[browser]'")
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if not chromium:
        skip("browser", "needs chromium")
    (tmp_path / "flame.svg").write_text(flamegraph.draw(SAMPLE, "title", []))
    pages = {
        "iframe": '<iframe src="flame.svg" style="width:100%;height:400px;border:0"></iframe>',
        "object": '<object data="flame.svg" type="image/svg+xml" style="width:100%"></object>',
    }
    (tmp_path / "page.html").write_text(f'<body style="margin:0">{pages.get(place, "")}</body>')
    start = tmp_path / ("flame.svg" if place == "itself" else "page.html")
    sync_api = importlib.import_module("playwright.sync_api")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        errors: list[str] = []
        requests: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(start.as_uri())
        _operate(page, page.frames[-1])
        browser.close()
    assert errors == []
    assert {Path(address).name for address in requests} <= {"flame.svg", "page.html"}


def _operate(page: Any, picture: Any) -> None:
    """Resize, tab to a frame, zoom, search and reset, as a reader without a mouse would."""

    def box(name: str) -> dict[str, float]:
        found = picture.locator(".frame", has=picture.locator("title", has_text=name)).locator("rect").first
        return dict(found.bounding_box())

    def letters() -> float:
        size = "text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a"
        return float(picture.locator(".frame text").first.evaluate(size))

    for width in (1920, 1200, 880):
        page.set_viewport_size({"width": width, "height": 800})
        picture.wait_for_function(f"Math.abs(document.documentElement.getBoundingClientRect().width - {width}) < 20")
        page.wait_for_timeout(100)
        everything = box("all: 1000 samples")
        assert everything["width"] > 0.95 * width
        assert everything["height"] >= 18
        assert letters() >= 14 * 0.98
        assert box("dgemm_kernel")["width"] == pytest.approx(0.6 * everything["width"], rel=0.02)
    whole = box("all: 1000 samples")["width"]
    focused = "() => (document.activeElement.querySelector('title') || {textContent: ''}).textContent"
    for _ in range(12):
        page.keyboard.press("Tab")
        if str(picture.evaluate(focused)).startswith("dgemm_kernel"):
            break
    assert "600 samples, 60.0 %" in picture.locator("#details").text_content()
    page.keyboard.press("Enter")
    assert box("dgemm_kernel")["width"] == pytest.approx(whole, abs=2)
    assert not picture.locator(".frame", has=picture.locator("title", has_text="ufunc_generic")).is_visible()
    page.keyboard.press("Escape")
    assert box("dgemm_kernel")["width"] == pytest.approx(0.6 * whole, rel=0.02)
    for key in ("/", "Control+f"):
        page.keyboard.press(key)
        page.keyboard.type("umath/?")
        assert picture.locator("#matched").text_content() == "matched: 30.0 %"
        assert picture.locator(".found").count() == 1
        page.keyboard.press("Escape")
        assert picture.locator("#matched").text_content() == ""
        assert picture.locator(".found").count() == 0
