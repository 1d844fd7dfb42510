"""What is mutated, and the mutants of it: every function of a row or of the contract, with one mutation each.

A mutant is a row in a file of its own, and may be given to `backprop verify` and `backprop bench` as any other. For a
mutant of the contract, that row is `batched_2d`, which relies on all its default methods.
"""

import ast
import textwrap
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from impls import ROOT

from .operators import OPERATORS, Function

IMPLS = ROOT / "impls"
LEFT_OUT = {  # of the contract: what has no effect on results that `batched_2d` could show
    "build": "for the record",
    "close": "empty",
    "compilations": "for the record",
    "__enter__": "Python's own protocol",
    "__exit__": "Python's own protocol",
}


@dataclass(frozen=True)
class Mutant:
    """A source with one mutation."""

    source: str  # its name
    function: str
    line: int  # where the mutated statement begins
    operator: str
    original: str  # the statement, of a compound one the first line, in Python's own spelling
    mutated: str
    row: str  # the text of the row

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """Return what tells mutants apart, however lines are numbered; mutants of repeated lines have the same key."""
        return self.source, self.function, self.operator, self.original, self.mutated


@dataclass(frozen=True)
class Source:
    """A file whose functions are mutated."""

    name: str
    path: Path
    class_name: str  # of the row
    cpu_seconds: int = 20  # several times as many as the kit needs for the source itself: after these, a mutant hangs
    one_in: int = 1  # of its mutants is judged, chosen by what they mutate

    def mutants(self) -> Iterator[Mutant]:
        """Yield all mutants, in the order of the source, no two of them alike."""
        for function in self._functions:
            seen = {ast.unparse(function)}
            for place in _places(function, function):
                for operator, replacements in OPERATORS.items():
                    for replacement in replacements(place.node, function):
                        original = _first_line(place.statement)
                        with_it, mutated = place.replaced(replacement, function)
                        shown = mutated if mutated != original else f"{mutated} … break"
                        if with_it not in seen and zlib.crc32(f"{original} {shown}".encode()) % self.one_in == 0:
                            line, row = place.statement.lineno, self._row(function, with_it)
                            yield Mutant(self.name, function.name, line, operator, original, shown, row)
                        seen.add(with_it)

    def control(self) -> str:
        """Return the row without a mutation, which must not be rejected."""
        function = self._functions[0]
        return self._row(function, ast.unparse(function))

    @cached_property
    def _text(self) -> str:
        return self.path.read_text()

    @cached_property
    def _functions(self) -> list[Function]:
        """Return the outermost functions: methods, and functions of the module."""
        tree = ast.parse(self._text)
        bodies = [tree.body, *(node.body for node in tree.body if isinstance(node, ast.ClassDef))]
        found = [node for body in bodies for node in body if isinstance(node, ast.FunctionDef)]
        return [node for node in found if self.name != CONTRACT or node.name not in LEFT_OUT]

    def _row(self, function: Function, mutated: str) -> str:
        """Return the text of the row in which a function is replaced."""
        lines = self._text.splitlines()
        start = min([function.lineno, *(decorator.lineno for decorator in function.decorator_list)]) - 1
        indented = textwrap.indent(mutated, " " * function.col_offset).splitlines()
        return self._as_row("\n".join([*lines[:start], *indented, *lines[function.end_lineno :]]) + "\n")

    def _as_row(self, text: str) -> str:
        return text


class Contract(Source):
    """The contract's own class: its row is `batched_2d` on a subclass that defines all methods anew."""

    def _as_row(self, text: str) -> str:
        declaration = "class Implementation(ABC):"
        assert text.count(declaration) == 1
        contract = text.replace(declaration, "class Implementation(impls.interface.Implementation):")
        row = (
            (IMPLS / "batched_2d.py")
            .read_text()
            .replace("from impls.interface import", "# from impls.interface import")
        )
        return f"import impls.interface\n{contract}\n\n{row}"


CONTRACT = "interface"
SOURCES = {
    source.name: source
    for source in (
        Contract(CONTRACT, IMPLS / "interface.py", "Batched2D"),
        Source("per_example", IMPLS / "per_example.py", "PerExample"),
        Source("batched_2d", IMPLS / "batched_2d.py", "Batched2D"),
        Source("in_place", IMPLS / "in_place.py", "InPlace"),
        Source("multithreaded", IMPLS / "multithreaded.py", "Multithreaded"),
        Source(
            "numba", IMPLS / "numba_jit.py", "NumbaJit", cpu_seconds=150, one_in=24
        ),  # each of them compiles for seconds
    )
}


class _Place(NamedTuple):
    """Where a node stands in its tree, and the innermost statement around it."""

    parent: ast.AST
    field: str
    position: int | None  # in a list
    node: ast.AST
    statement: ast.stmt

    def replaced(self, replacement: ast.AST, function: Function) -> tuple[str, str]:
        """Return the function, and the first line of the statement, with the node replaced."""
        is_statement = self.node is self.statement
        self._put(replacement)
        try:
            mutated = replacement if is_statement else self.statement
            return ast.unparse(ast.fix_missing_locations(function)), _first_line(mutated)
        finally:
            self._put(self.node)

    def _put(self, node: ast.AST) -> None:
        if self.position is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.position] = node


def _places(node: ast.AST, statement: ast.stmt) -> Iterator[_Place]:
    """Yield all places below a node where a mutation may change results, from the outside in."""
    for field, value in ast.iter_fields(node):
        if field in ("annotation", "decorator_list", "returns") or isinstance(value, ast.arguments):
            continue
        for position, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and not _is_text(child):
                around = child if isinstance(child, ast.stmt) else statement
                yield _Place(node, field, position, child, around)
                if not isinstance(child, ast.Raise):  # its text is for people
                    yield from _places(child, around)


def _is_text(node: Any) -> bool:
    """Return whether a node is a docstring or a message, or says that `zip` is strict."""
    match node:
        case ast.Expr(ast.Constant(str())) | ast.JoinedStr() | ast.keyword("strict"):
            return True
    return False


def _first_line(statement: ast.AST) -> str:
    """Return a statement's first line, without a message: Python's versions spell those differently."""
    match statement:
        case ast.Raise(ast.Call(error, [ast.JoinedStr()])):
            return f"raise {ast.unparse(error)}(…)"
    return ast.unparse(ast.fix_missing_locations(statement)).partition("\n")[0]
