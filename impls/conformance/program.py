"""Programs over the contract: operations as data, written as the plain Python that `model` describes.

An operation names what it works on by a number, `pick`, which counts around whatever is there by then. So every list
of operations makes a program, and so does every part of it: whoever shrinks a program may leave out any operation.
What an operation needs and does not find, a mini-batch, say, is made first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

Thing = TypeVar("Thing")


@dataclass
class Row:
    """An instance that a program has made: its number in names, and the arguments of the constructor."""

    number: int
    sizes: tuple[int, ...]
    batch_size: int


@dataclass
class Examples:
    """Examples that a program has prepared: their number in names, whose they are, and how many."""

    number: int
    row: Row
    count: int
    kind: str  # "batch" or "data"

    @property
    def arrays(self) -> str:
        return f"x{self.number}, y{self.number}"

    @property
    def prepare(self) -> str:
        """Return the line that prepares them."""
        method = "prepare" if self.kind == "batch" else "prepare_data"
        return f"{self.name} = row{self.row.number}.{method}({self.arrays})"

    @property
    def name(self) -> str:
        return f"{self.kind}{self.number}"


@dataclass
class Writer:
    """Writes a program: its lines so far, and what they leave behind."""

    dtype: str  # of rows that nobody opened
    pooled: bool = False  # whether to keep to few shapes, for rows that compile for each
    lines: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)  # that are open
    examples: list[Examples] = field(default_factory=list)  # of those
    made: int = 0  # rows, closed ones included
    prepared: int = 0

    def row(self, pick: int) -> Row:
        """Return one of the open rows."""
        if not self.rows:
            Open((1, 1), 1, self.dtype, 1, 0, 1.0).write(self)
        return _picked(self.rows, pick)

    def of_kind(self, kind: str, pick: int) -> Examples:
        """Return one of the mini-batches, or one of the data sets."""
        if not any(examples.kind == kind for examples in self.examples):
            self.row(pick)
            (Prepare if kind == "batch" else PrepareData)(pick, 0, 0, 1.0, 1.0).write(self)
        return _picked([examples for examples in self.examples if examples.kind == kind], pick)


def _picked(things: Sequence[Thing], pick: int) -> Thing:
    return things[pick % len(things)]


def _scales(x_scale: float, y_scale: float) -> str:
    """Return the arguments that are not 1."""
    named = (("x_scale", x_scale), ("y_scale", y_scale))
    return "".join(f", {name}={scale:g}" for name, scale in named if scale != 1.0)


# --- The operations --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Open:
    """Construct an instance and load it."""

    sizes: tuple[int, ...]
    batch_size: int
    dtype: str
    threads: int
    seed: int
    scale: float

    def write(self, writer: Writer) -> None:
        writer.made += 1
        number = writer.made
        arguments = f'{self.sizes}, {self.batch_size}, "{self.dtype}", {self.threads}'
        writer.lines += [f"model{number} = Model({arguments}, Row.cost)", f"row{number} = Row({arguments})"]
        writer.rows.append(Row(number, self.sizes, self.batch_size))
        Load(len(writer.rows) - 1, self.seed, self.scale).write(writer)


@dataclass(frozen=True)
class Load:
    """Load an instance."""

    pick: int
    seed: int
    scale: float

    def write(self, writer: Writer) -> None:
        number = writer.row(self.pick).number
        scale = f", scale={self.scale:g}" if self.scale != 1.0 else ""
        writer.lines += [
            f"p = model{number}.draw_parameters(seed={self.seed}{scale})",
            f"model{number}.load(p)",
            f"row{number}.load(p)",
        ]


@dataclass(frozen=True)
class Prepare:
    """Prepare a mini-batch, of which the size counts around the batch size."""

    pick: int
    more: int
    seed: int
    x_scale: float
    y_scale: float

    kind = "batch"

    def count(self, row: Row, *, pooled: bool) -> int:
        """Return the number of examples."""
        if pooled:
            return row.batch_size if self.more % 2 else 1
        return 1 + self.more % row.batch_size

    def write(self, writer: Writer) -> None:
        row = writer.row(self.pick)
        writer.prepared += 1
        examples = Examples(writer.prepared, row, self.count(row, pooled=writer.pooled), self.kind)
        numbers = f"{examples.count}, seed={self.seed}{_scales(self.x_scale, self.y_scale)}"
        writer.lines += [f"{examples.arrays} = model{row.number}.draw_examples({numbers})", examples.prepare]
        writer.examples.append(examples)


@dataclass(frozen=True)
class PrepareData(Prepare):
    """Prepare a data set."""

    kind = "data"

    def count(self, row: Row, *, pooled: bool) -> int:
        return 2 * row.batch_size + 1 if pooled else 1 + self.more


@dataclass(frozen=True)
class Redraw:
    """Draw other examples in the memory of those of a mini-batch or data set, and prepare them again."""

    pick: int
    seed: int
    x_scale: float
    y_scale: float

    def write(self, writer: Writer) -> None:
        examples = _picked(writer.examples, self.pick) if writer.examples else writer.of_kind("batch", self.pick)
        scales = _scales(self.x_scale, self.y_scale)
        model = f"model{examples.row.number}"
        writer.lines += [f"{model}.redraw_examples({examples.arrays}, seed={self.seed}{scales})", examples.prepare]


@dataclass(frozen=True)
class Gradients:
    """Ask for the gradient of a mini-batch."""

    pick: int

    def write(self, writer: Writer) -> None:
        batch = writer.of_kind("batch", self.pick)
        number = batch.row.number
        writer.lines.append(f"model{number}.gradient(row{number}.gradients({batch.name}), {batch.arrays})")


@dataclass(frozen=True)
class Step:
    """Take one or many steps with a mini-batch."""

    pick: int
    rate: float
    times: int

    def write(self, writer: Writer) -> None:
        batch = writer.of_kind("batch", self.pick)
        number = batch.row.number
        lines = [
            f"model{number}.step({batch.arrays}, {self.rate})",
            f"row{number}.step({batch.name}, {self.rate})",
        ]
        if self.times > 1:
            lines = [f"for _ in range({self.times}):", *(f"    {line}" for line in lines)]
        writer.lines += lines


@dataclass(frozen=True)
class Epoch:
    """Go through a data set in some order: a permutation, a part of one, or any examples any number of times."""

    pick: int
    rate: float
    more: int  # than one example
    seed: int
    repeats: bool

    def write(self, writer: Writer) -> None:
        data = writer.of_kind("data", self.pick)
        number, length = data.row.number, 1 + self.more
        if writer.pooled:
            length = data.count
        rng = f"np.random.default_rng({self.seed})"
        if self.repeats:
            order = f"{rng}.integers(0, {data.count}, {length})"
        else:
            order = f"{rng}.permutation({data.count})" + (f"[:{length}]" if length < data.count else "")
        writer.lines += [
            f"order = {order}",
            f"model{number}.epoch({data.arrays}, order, {self.rate})",
            f"row{number}.epoch({data.name}, order, {self.rate})",
        ]


@dataclass(frozen=True)
class Read:
    """Ask for the parameters."""

    pick: int

    def write(self, writer: Writer) -> None:
        number = writer.row(self.pick).number
        writer.lines.append(f"model{number}.parameters(row{number}.parameters())")


@dataclass(frozen=True)
class Overwrite:
    """Overwrite all results, and all parameters and orders that were given: they belong to the caller."""

    pick: int

    def write(self, writer: Writer) -> None:
        writer.lines.append(f"model{writer.row(self.pick).number}.overwrite()")


@dataclass(frozen=True)
class Close:
    """Close an instance."""

    pick: int

    def write(self, writer: Writer) -> None:
        row = writer.row(self.pick)
        writer.lines.append(f"row{row.number}.close()")
        writer.rows.remove(row)
        writer.examples = [examples for examples in writer.examples if examples.row is not row]


Operation = Open | Load | Prepare | Redraw | Gradients | Step | Epoch | Read | Overwrite | Close


def lines(operations: Sequence[Operation], dtype: str, *, pooled: bool = False) -> list[str]:
    """Return the program of these operations; it ends with a look at everything there is."""
    writer = Writer(dtype, pooled)
    for operation in operations:
        operation.write(writer)
    for pick in range(len(writer.rows)):
        Read(pick).write(writer)
    return writer.lines + [f"model{number}.unchanged()" for number in range(1, writer.made + 1)]


def script(body: Sequence[str], target: str) -> str:
    """Return a program that can be run by itself."""
    numpy = ["import numpy as np", ""] if any("np." in line for line in body) else []
    imports = ["from impls.conformance.model import Model", "from impls.loading import Target, load_target", ""]
    return "\n".join([*numpy, *imports, f'Row = load_target(Target.parse("{target}"))', *body])
