"""A violation of the contract as a record: what was checked on which network, what is wrong, and the likely mistake."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from impls.support.tracebacks import frames, in_words, whole


@dataclass(frozen=True)
class Network:
    """A network's layer sizes, the batch size it is constructed for, and the number of examples it is given."""

    sizes: tuple[int, ...]  # n_0, …, n_L
    batch_size: int
    examples: int  # N

    @property
    def work(self) -> int:
        """Return the number of weights times the number of examples."""
        return self.examples * sum(n_in * n_out for n_in, n_out in pairwise(self.sizes))


@dataclass(frozen=True)
class Violation:
    """One way in which an implementation breaks the contract."""

    check: str  # a stable name in kebab-case, such as "short-last-batch"
    error: str  # in one line
    diagnosis: str = ""  # the likely mistake, in one sentence
    promise: str = ""  # what the check checks, in one sentence
    setting: str = ""  # the network, dtype and number of threads, in words
    extent: str = ""  # how many other settings fail, in words
    frames: tuple[str, ...] = ()  # of an exception: the implementation's lines, innermost last
    rank: tuple[int, int, int] = (0, 0, 0)  # the lower, the simpler is the case that failed
    program: str = ""  # that shows it, in Python
    traceback: str = ""  # of an exception, as lines

    @property
    def detail(self) -> str:
        """Return where, what was expected and what was found, in one line."""
        return (f"{self.setting}: " if self.setting else "") + self.error + self.extent

    def __str__(self) -> str:
        return f"{self.check}: {self.detail}"


def raised(error: BaseException) -> dict[str, Any]:
    """Return the fields of a violation that tell of an exception."""
    return {"error": f"raised {in_words(error)}", "frames": frames(error), "traceback": whole(error)}


def simplest(violations: Iterable[Violation]) -> Violation:
    """Return the violation of the simplest case, of several the first."""
    return min(violations, key=lambda violation: violation.rank)


def summary(violations: Sequence[Violation]) -> str:
    """Return all violations in one line, the first diagnosis first; of each only the first error."""
    brief = []
    for violation in violations:
        first, *more = violation.detail.split("; ")
        brief.append(f"{violation.check}: {first}" + (f" and {len(more)} more" if more else ""))
    diagnosis = next((violation.diagnosis for violation in violations if violation.diagnosis), "")
    return f"{diagnosis} ({'; '.join(brief)})" if diagnosis else "; ".join(brief)
