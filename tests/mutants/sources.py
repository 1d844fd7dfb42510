"""What is mutated, and the mutants of it: every function of a row, of the contract or of a module, with one mutation.

A mutant of a row is a row in a file of its own, and may be given to `backprop verify` and `backprop bench` as any
other. For a mutant of the contract, that row is `batched_2d`, which relies on all its default methods. A mutant of a
module of `bench/results` is that module.
"""

import ast
import textwrap
import zlib
from collections.abc import Iterator
from copy import deepcopy
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
    text: str  # of the row or the module

    @property
    def key(self) -> tuple[str, str, str, str, str]:
        """Return what tells mutants apart, however lines are numbered; mutants of repeated lines have the same key."""
        return self.source, self.function, self.operator, self.original, self.mutated


@dataclass(frozen=True)
class Source:
    """A file whose functions are mutated."""

    name: str
    path: Path
    class_name: str  # of the row; of a module, its name
    cpu_seconds: int = 20  # several times as many as the kit needs for the source itself: after these, a mutant hangs
    one_in: int = 1  # of its mutants is judged, chosen by what they mutate
    judges: str = "judges"  # the program that judges them, in this folder

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
                            line, text = place.statement.lineno, self._with(function, with_it)
                            yield Mutant(self.name, function.name, line, operator, original, shown, text)
                        seen.add(with_it)

    def control(self) -> str:
        """Return the text without a mutation, which must not be rejected."""
        function = self._functions[0]
        return self._with(function, ast.unparse(function))

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

    def _with(self, function: Function, mutated: str) -> str:
        """Return the text in which a function is replaced."""
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
ROWS = {
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


MODULES = {
    name: Source(name, ROOT / "bench" / "results" / f"{name}.py", name, judges="module_judges")
    for name in (
        *("controls", "estimates", "precision", "summary"),  # statistics
        *("before", "compare_rows", "compare_runs", "fingerprint", "history", "limits", "verdict"),  # comparison
        *("files", "kernels", "notes"),  # results
    )
}
SOURCES = ROWS | MODULES


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
    """Return a statement's first line, without what it writes: Python's versions spell texts in texts differently."""
    match statement:
        case ast.Raise(ast.Call(error, [ast.JoinedStr()])):
            return f"raise {ast.unparse(error)}(…)"
    shown = _WithoutTexts().visit(deepcopy(statement))
    return ast.unparse(ast.fix_missing_locations(shown)).partition("\n")[0]


class _WithoutTexts(ast.NodeTransformer):
    """Replaces formatted texts, which are not mutated."""

    def visit_JoinedStr(self, _: ast.JoinedStr) -> ast.expr:
        return ast.Constant("…")
