"""The tables on the terminal and in Markdown, and their numbers, as a reader sees them."""

import msgspec
import pytest
from made_up_results import BOOK, made_up_results, row, workload_result

from bench.analysis.notes import failure_note
from bench.output.findings import findings
from bench.output.table import markdown, summary_lines
from bench.output.text import estimate_text, flops_text, interval_text, margin_text, number_text, seconds_text
from bench.records import CONTROL, Estimate, Note, Outcome, Result, Results, Sample

JITTER = "~ jitter: a quarter of the samples took clearly longer than the time says"


@pytest.fixture
def results() -> Results:
    return made_up_results()


def add_workloads(results: Results, *names: str) -> None:
    """Add workloads, each with the baseline and its control: of four and more there is one table."""
    for name in names:
        results.workloads.append(workload_result(msgspec.structs.replace(BOOK, name=name)))
        results.rows += [row("per_example", 4e-4, workload=name), row(CONTROL, 4e-4, 1.0, workload=name)]


def line_with(results: Results, label: str) -> str:
    """Return the line of an implementation in the summary."""
    return next(line for line in map(str.strip, summary_lines(results, whole=True)) if line.startswith(f"{label} "))


def test_the_whole_table_says_it_all(results: Results) -> None:
    lines = [line.strip() for line in summary_lines(results, whole=True)]
    assert (
        "book: 784-30-10, batch 10, float64, 1 thread, step; speed-ups over per_example; "
        "peak 20.0 µs at 47.9 Gflop/s; NumPy's product reaches 80 %"
    ) in lines
    in_place = line_with(results, "in_place  ")
    for words in ("40.0 µs", "10.0", "9.80 to 10.2", "50.0", "1.00", "30", "100 ms", "1.00 ms", "100 µs"):
        assert words in in_place
    assert any("torch: unavailable: needs torch" in line for line in lines)
    assert lines[-1] == "note: book: a note"
    labels = [line.split("  ")[0] for line in lines]
    slowest_first = ["control", "per_example", "batched_2d", "in_place"]
    assert [label for label in labels if label in slowest_first] == slowest_first


def test_why_implementations_failed_is_said_however_many_notes_there_are(results: Results) -> None:
    for label, workload in (("first", "book"), ("second", "book"), ("second", "deep"), ("second", "large")):
        results.rows.append(Result(workload, label, label, 1, Outcome.CRASHED, f"it is the {label}"))
    results.notes = [Note(f"note {number}") for number in range(9)]
    results.notes[7:7] = [failure_note(result) for result in results.rows[-4:]]
    lines = summary_lines(results)
    assert [line for line in lines if line.startswith("note: ")] == [
        "note: book, first: crashed: it is the first",
        "note: book, second: crashed: it is the second (and on 2 more)",
        *(f"note: note {number}" for number in range(6)),
    ]
    assert lines[-1] == "3 more in the results; -v prints all notes"
    whole = [line for line in summary_lines(results, whole=True) if line.startswith("note: ")]
    assert whole == [f"note: {note}" for note in results.notes]


def test_more_cores_than_were_given_are_marked(results: Results) -> None:
    for cores, text in ((1.04, "1.04 "), (1.9, "1.90!")):
        results.rows[3].cores_used = cores
        assert text in " ".join(summary_lines(results))


def test_jitter_is_marked_and_explained_in_every_table(results: Results) -> None:
    assert "~" not in "".join([*summary_lines(results), markdown(results)])
    for process in results.rows[3].processes:
        process.samples = [Sample(number, 4e-5 * (1.4 if number > 2 else 1.0), 1.0) for number in range(5)]
    assert "40.0 µs~" in " ".join(summary_lines(results))
    assert "| `in_place` | 10.0 ± 0.2 ~ |" in markdown(results)
    assert markdown(results).endswith(f"{JITTER}\n")
    add_workloads(results, "deep", "large", "other")
    lines = summary_lines(results)
    assert next(line for line in lines if line.startswith("in_place")).split() == ["in_place", "10.0~"]
    assert JITTER in lines


def test_the_table_of_all_workloads_has_short_outcomes(results: Results) -> None:
    results.rows[3] = Result("book", "in_place", "in_place", 1, Outcome.INCONSISTENT_TIMING, "for some reason")
    add_workloads(results, "deep", "large", "other")
    assert next(line for line in summary_lines(results) if line.startswith("in_place")).split() == [
        "in_place",
        "incons.",
    ]


def test_the_markdown_table_has_a_column_for_each_workload(results: Results) -> None:
    assert markdown(results).splitlines() == [
        "|  | book |",
        "| --- | ---: |",
        "| `per_example` | **400 µs** |",
        "| `control` | 0.995 ± 0.02 |",
        "| `batched_2d` | 8.00 ± 0.2 |",
        "| `in_place` | 10.0 ± 0.2 |",
        "| peak | 20.0 |",
        "| reference rate | 16.0 |",
    ]


@pytest.mark.parametrize("name", ["bell\aand\x1b[31mred", "a|b", "two\nlines", ""])
def test_any_name_fits_into_the_tables(results: Results, name: str) -> None:
    results.rows[3] = msgspec.structs.replace(results.rows[3], label=name, implementation=name)
    lines = markdown(results).splitlines()
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1
    assert not set(map(chr, range(32))) - {"\n"} & set("\n".join(summary_lines(results)))


# --- The A/A controls --------------------------------------------------------------------------------------------


def test_two_processes_say_nothing_of_noise(results: Results) -> None:
    """Their intervals reach over orders of magnitude."""
    del results.rows[1].processes[2:]
    assert not any("noise" in sentence for sentence in findings(results))


def test_controls_are_checked_together(results: Results) -> None:
    def sentence() -> str:
        return next(sentence for sentence in findings(results) if "control" in sentence)

    add_workloads(results, *(f"other{number}" for number in range(8)))
    results.rows[1].speed_up = Estimate(1.02, 1.0005, 1.04)
    assert sentence() == (
        "All 9 A/A controls passed (that the interval of book excludes 1 can be chance); "
        "differences below 4.0 % are noise."
    )
    results.rows[-1].speed_up = Estimate(0.98, 0.96, 0.9995)
    assert "that the interval of book, other7 excludes 1 can be chance" in sentence()
    results.rows[1].speed_up = Estimate(1.2, 1.18, 1.22)
    assert sentence().startswith("The A/A control failed on book, where identical code seemed")


# --- Numbers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.99951, "1.00 s"), (31.42e-6, "31.4 µs"), (99.96e-6, "100 µs"), (9.996e-6, "10.0 µs"), (65.0, "65.0 s")],
)
def test_times_have_three_digits(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.01962, "0.0196"), (9.999, "10.0"), (22.74, "22.7"), (1190.4, "1190"), (0.0, "0"), (1, "1.00")],
)
def test_numbers_have_three_digits_and_no_exponent(value: float, text: str) -> None:
    assert number_text(value) == text


def test_intervals_in_words() -> None:
    estimate, without_interval = Estimate(7.651, 7.571, 7.731), Estimate(7.651)
    texts = estimate_text(estimate), interval_text(estimate), margin_text(estimate)
    assert texts == ("7.65 (7.57 to 7.73)", "7.57 to 7.73", "7.65 ± 0.08")
    assert {estimate_text(without_interval), margin_text(without_interval)} == {"7.65"}
    assert interval_text(without_interval) == ""


def test_operations_have_units() -> None:
    texts = [flops_text(flops) for flops in (120, 958_800, 4.7e6, 2.2e9)]
    assert texts == ["120 flop", "959 kflop", "4.70 Mflop", "2.20 Gflop"]
