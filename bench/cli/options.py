"""Options: the numbers that they give, those without effect, and what the shell completes."""

import math
import secrets
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click
import msgspec
from click.shell_completion import CompletionItem

from bench.conditions import Settings
from impls.registry import entries
from impls.support.errors import UserError

if TYPE_CHECKING:
    import pytest  # a command that needs none of it starts sooner

MAX_NUMBER = 1e6  # of anything that is counted or timed: 11 days in seconds
WITHOUT_EFFECT = (  # how options of pytest-benchmark begin that are about sampling, which is not its part here
    "--benchmark-calibration",
    "--benchmark-disable-gc",
    "--benchmark-m",  # --benchmark-max-time, --benchmark-min-rounds, --benchmark-min-time
    "--benchmark-timer",
    "--benchmark-warmup",
)

NUMBERS = {  # of the settings: option, placeholder, help
    "generations": ("--generations", "N", "processes per implementation"),
    "workload_seconds": ("--seconds", "S", "sampling time per workload"),
    "budget_seconds": ("--budget", "S", "longest call that an implementation may take"),
    "time_out": ("--time-out", "S", "longest wait for a worker"),
    "most_seconds": ("--most-seconds", "S", "longest time that --precision may take"),
}
SWEEPS = "batch, batch-grid, width, width-grid, depth, threads, strong, weak, data or dtype"


def add_options(parser: "pytest.Parser") -> None:
    """Add the options of `pytest bench/`."""
    add = parser.getgroup("backprop-bench").addoption
    named = "time this implementation, under the label if one is given; repeatable"
    add("--impl", action="append", default=[], metavar="[LABEL=]NAME|PATH:CLASS", help=named)
    every = "the frameworks' implementations, too, and those that cannot run here"
    add("--all", dest="all_rows", action="store_true", help=every)
    add("--workload", action="append", default=[], metavar="NAME|SPEC", help="workload; repeatable")
    add("--sweep", action="append", default=[], metavar="NAME", help=SWEEPS)
    against = "time the implementations of another revision or folder, too, in the same rounds"
    add("--against", metavar="REV|DIR", help=against)
    add("--brief", action="store_true", help="print little; what `backprop bench` does without -v")
    data = "data set (default: mnist if BACKPROP_MNIST is set, else digits)"
    add("--data", metavar="digits|mnist|DIR", help=data)
    for name, (option, metavar, words) in NUMBERS.items():
        default = f"{getattr(Settings(), name):g}"
        add(option, default=default, metavar=metavar, help=f"{words} (default: {default})")
    precision = "go on until every speed-up's 95 %% interval is within so many per cent of its value"
    add("--precision", metavar="P%", help=precision)
    results = "where JSON and plots go (default: results/runs/DATE-TIME, the latest in results)"
    add("--results", metavar="DIR", help=results)


def settings_given(config: "pytest.Config") -> Settings:
    """Return the settings that the options of `pytest bench/` give. Raises UserError."""
    precision = config.getoption("precision")
    settings = Settings(seed=secrets.randbits(32), precision=per_cent("--precision", precision) if precision else None)
    numbers = {
        name: positive(option, config.getoption(option), whole=name == "generations")
        for name, (option, _, _) in NUMBERS.items()
    }
    return msgspec.structs.replace(settings, **numbers)


def positive(option: str, text: str, whole: bool = False) -> float:
    """Return the number that an option gives, up to a million. Raises UserError."""
    try:
        number = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        number = math.nan
    if not 0 < number <= MAX_NUMBER or (whole and number != int(number)):
        kind = "a whole number of at least 1" if whole else "a positive number"
        raise UserError(f"{option}: expected {kind} and at most {MAX_NUMBER:.0f}, found {text[:40]!r}")
    return int(number) if whole else number


def per_cent(option: str, text: str) -> float:
    """Return the share that an option gives as "1%" or "1 %". Raises UserError."""
    number = text.removesuffix("%").strip()
    share = positive(option, number) / 100
    if number == text or share >= 1:
        raise UserError(f"{option}: expected per cent such as 1% or 0.5%, found {text[:40]!r}")
    return share


def note_without_effect(arguments: Iterable[str]) -> str:
    """Return a note if there are options of pytest-benchmark among the arguments that have no effect; or ""."""
    options = ", ".join(argument.partition("=")[0] for argument in arguments if argument.startswith(WITHOUT_EFFECT))
    return options and f"note: {options}: no effect here; --seconds and --generations say how much is sampled"


class Seconds(click.FloatRange):
    """A time that an option of click gives, in seconds."""

    name = "seconds"

    def convert(self, value: Any, parameter: click.Parameter | None, _context: click.Context | None) -> float:
        """Return the seconds. Raises UserError."""
        return positive(parameter.opts[0] if parameter else self.name, str(value))


def complete_implementations(
    _context: click.Context, _parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Return the implementations whose names begin like that; if none does, the shell completes a file's name."""
    known = [(name, entry.summary) for name, entry in entries().items() if name.startswith(incomplete)]
    return [CompletionItem(name, help=summary) for name, summary in known] or [CompletionItem(incomplete, type="file")]
