"""How code is mutated: each operator takes a node of the syntax tree and yields what may stand in its place.

The operators make the mistakes that people make in code like this: a wrong sign, a transposition forgotten, a buffer
that is not zeroed, a rebinding where an update in place was meant. What changes no result is not made at all: texts,
`strict=True`, annotations, decorators.
"""

import ast
from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import pairwise

Function = ast.FunctionDef
Operator = Callable[[ast.AST, Function], Iterator[ast.AST]]  # of a node and the function that it stands in

ARITHMETIC: dict[type[ast.operator], ast.operator] = {
    ast.Add: ast.Sub(),
    ast.Sub: ast.Add(),
    ast.Mult: ast.Div(),
    ast.Div: ast.Mult(),
    ast.FloorDiv: ast.Mod(),
}
ORDERED = (ast.Sub, ast.Div, ast.FloorDiv, ast.MatMult)  # whose operands cannot be swapped
COMPARISONS: dict[type[ast.cmpop], tuple[ast.cmpop, ...]] = {
    ast.Lt: (ast.LtE(), ast.GtE()),
    ast.LtE: (ast.Lt(), ast.Gt()),
    ast.Gt: (ast.GtE(), ast.LtE()),
    ast.GtE: (ast.Gt(), ast.Lt()),
    ast.Eq: (ast.NotEq(),),
    ast.NotEq: (ast.Eq(),),
    ast.Is: (ast.IsNot(),),
    ast.IsNot: (ast.Is(),),
    ast.In: (ast.NotIn(),),
    ast.NotIn: (ast.In(),),
}
BUILTINS = {"all": "any", "any": "all", "max": "min", "min": "max"}
FUNCTIONS = {  # of NumPy
    "add": "subtract",
    "exp": "expm1",
    "maximum": "minimum",
    "minimum": "maximum",
    "multiply": "divide",
    "reciprocal": "negative",
    "subtract": "add",
    "sum": "mean",
}
COMMUTATIVE = {"add", "maximum", "minimum", "multiply"}  # of NumPy: their arguments are not swapped
CONVERSIONS = {  # of their first argument
    *("abs", "array", "ascontiguousarray", "float", "int"),
    *("require", "sorted", "tuple", "type"),
}
TWINS = {
    one: other
    for pair in (
        ("W", "b"),
        ("_x", "_y"),
        ("a", "delta"),
        ("activations", "deltas"),
        ("columns", "rows"),
        ("dW", "db"),
        ("delta_W", "delta_b"),
        ("n_in", "n_out"),
        ("nabla_W", "nabla_b"),
        ("start", "stop"),
        ("weights", "biases"),
        ("x", "y"),
    )
    for one, other in (pair, pair[::-1])
}


def arithmetic(node: ast.AST, _: Function) -> Iterator[ast.AST]:
    """Another operator, operands swapped, or no sign."""
    match node:
        case ast.BinOp(left, op, right):
            if type(op) in ARITHMETIC:
                yield ast.BinOp(left, ARITHMETIC[type(op)], right)
            if isinstance(op, ORDERED):
                yield ast.BinOp(right, op, left)
        case ast.AugAssign(target, op, value) if type(op) in ARITHMETIC:
            yield ast.AugAssign(target, ARITHMETIC[type(op)], value)
        case ast.UnaryOp(ast.USub(), operand):
            yield operand


def in_place(node: ast.AST, _: Function) -> Iterator[ast.AST]:
    """`a += b` becomes `a = b` and `a = a + b`, which binds another array to the name."""
    if isinstance(node, ast.AugAssign):
        loaded = deepcopy(node.target)
        loaded.ctx = ast.Load()
        yield ast.Assign([node.target], node.value)
        yield ast.Assign([node.target], ast.BinOp(loaded, node.op, node.value))


def comparison(node: ast.AST, _: Function) -> Iterator[ast.AST]:
    """The boundary is moved, the comparison negated."""
    if isinstance(node, ast.Compare):
        for n, op in enumerate(node.ops):
            for other in COMPARISONS[type(op)]:
                yield ast.Compare(node.left, [*node.ops[:n], other, *node.ops[n + 1 :]], node.comparators)


def condition(node: ast.AST, _: Function) -> Iterator[ast.AST]:
    """A condition is negated, or part of it dropped; one of two values is always taken."""
    match node:
        case ast.BoolOp(op, values):
            yield ast.BoolOp(ast.Or() if isinstance(op, ast.And) else ast.And(), values)
            for value in values:
                yield ast.BoolOp(op, [other for other in values if other is not value])
        case ast.UnaryOp(ast.Not(), operand):
            yield operand
        case ast.comprehension(target, iterable, ifs):
            for one in ifs:
                yield ast.comprehension(target, iterable, [other for other in ifs if other is not one], 0)
        case ast.IfExp(_, body, orelse):
            yield body
            yield orelse
        case ast.If(test, body, orelse) if not isinstance(test, ast.Compare | ast.BoolOp):
            yield ast.If(ast.UnaryOp(ast.Not(), test), body, orelse)


def constant(node: ast.AST, _: Function) -> Iterator[ast.AST]:
    """A number is one more or one less, a truth value the other one: also an axis, a bound, a layer."""
    if isinstance(node, ast.Constant):
        if isinstance(node.value, bool):
            yield ast.Constant(not node.value)
        elif isinstance(node.value, int | float):
            yield ast.Constant(node.value + 1)
            yield ast.Constant(node.value - 1)


def bounds(node: ast.AST, _: Function) -> Iterator[ast.AST]:
    """A slice loses a bound or its step; a bound of a slice or of a range is one off. `constant` moves numbers."""
    match node:
        case ast.Slice(lower, upper, step):
            if lower:
                yield ast.Slice(None, upper, step)
                yield from (ast.Slice(moved, upper, step) for moved in _moved(lower, ast.Add()))
            if upper:
                yield ast.Slice(lower, None, step)
                yield from (ast.Slice(lower, moved, step) for moved in _moved(upper, ast.Sub()))
            if step:
                yield ast.Slice(lower, upper, None)
        case ast.Call(ast.Name("range" | "prange"), args):
            for n, argument in enumerate(args):
                for op in (ast.Add(), ast.Sub()):
                    for moved in _moved(argument, op):
                        yield ast.Call(node.func, [*args[:n], moved, *args[n + 1 :]], [])


def _moved(bound: ast.expr, op: ast.operator) -> Iterator[ast.expr]:
    if not any(isinstance(part, ast.Constant) for part in ast.walk(bound)):
        yield ast.BinOp(bound, op, ast.Constant(1))


def transposition(node: ast.AST, _: Function) -> Iterator[ast.AST]:
    """`.T` is forgotten."""
    if isinstance(node, ast.Attribute) and node.attr == "T":
        yield node.value


def conversion(node: ast.AST, _: Function) -> Iterator[ast.AST]:
    """A copy, a conversion or a sorting is forgotten."""
    match node:
        case ast.Call(ast.Attribute(value, "copy"), []):
            yield value
        case ast.Call(func, [argument, *_]) if _name(func) in CONVERSIONS:
            yield argument


def not_zeroed(node: ast.AST, _: Function) -> Iterator[ast.AST]:
    """A new array holds NaN instead of numbers, as memory that was not zeroed may."""
    match node:
        case ast.Call(ast.Attribute(module, "zeros" | "ones"), [shape, *dtype]):
            nan = ast.Attribute(module, "nan", ast.Load())
            yield ast.Call(ast.Attribute(module, "full", ast.Load()), [shape, nan, *dtype], [])
        case ast.Call(ast.Attribute(module, "zeros_like"), [like]):
            nan = ast.Attribute(module, "nan", ast.Load())
            yield ast.Call(ast.Attribute(module, "full_like", ast.Load()), [like, nan], [])


def function(node: ast.AST, _: Function) -> Iterator[ast.AST]:
    """A related function is called."""
    match node:
        case ast.Call(ast.Attribute(value, name), args, keywords) if name in FUNCTIONS:
            yield ast.Call(ast.Attribute(value, FUNCTIONS[name], ast.Load()), args, keywords)
        case ast.Call(ast.Name(name), args, keywords) if name in BUILTINS:
            yield ast.Call(ast.Name(BUILTINS[name], ast.Load()), args, keywords)


def arguments(node: ast.AST, _: Function) -> Iterator[ast.AST]:
    """Two neighbours among arguments or in a tuple are swapped; a keyword is left out, such as `out` or `axis`."""
    match node:
        case ast.Call(func, args, keywords):
            commutes = isinstance(func, ast.Attribute) and func.attr in COMMUTATIVE
            for swapped in [] if commutes else _swapped(args):
                yield ast.Call(func, swapped, keywords)
            for keyword in keywords:
                if keyword.arg not in (None, "strict"):
                    yield ast.Call(func, args, [other for other in keywords if other is not keyword])
        case ast.Tuple(elts, ast.Load()):
            for swapped in _swapped(elts):
                yield ast.Tuple(swapped, ast.Load())


def _swapped(nodes: list[ast.expr]) -> Iterator[list[ast.expr]]:
    for n, (one, other) in enumerate(pairwise(nodes)):
        if not isinstance(one, ast.Starred) and not isinstance(other, ast.Starred):
            yield [*nodes[:n], other, one, *nodes[n + 2 :]]


def twin(node: ast.AST, inside: Function) -> Iterator[ast.AST]:
    """The variable or attribute that stands beside the one that is meant: biases for weights, y for x."""
    match node:
        case ast.Name(name, ast.Load()) if name in TWINS and _assignments(inside, TWINS[name]):
            yield ast.Name(TWINS[name], ast.Load())
        case ast.Attribute(value, name, ast.Load()) if name in TWINS:
            yield ast.Attribute(value, TWINS[name], ast.Load())


def statement(node: ast.AST, inside: Function) -> Iterator[ast.AST]:
    """A statement is forgotten, or what guards other statements; a loop ends after its first turn."""
    match node:
        case ast.Expr() | ast.AugAssign() | ast.Raise() | ast.Return(None) | ast.If(orelse=[]):
            yield ast.Pass()
        case ast.Assign([target]) if all(_assignments(inside, name) > 1 for name in _names(target)):
            yield ast.Pass()
        case ast.With(_, body) | ast.Try(body):
            yield ast.If(ast.Constant(True), body, [])
        case ast.For(target, iterable, body):
            yield ast.For(target, iterable, [*body, ast.Break()], [])


def _names(target: ast.expr) -> list[str]:
    """Return the variables that an assignment binds: without its value, they must have another one."""
    parts = target.elts if isinstance(target, ast.Tuple) else [target]
    return [part.id for part in parts if isinstance(part, ast.Name)]


def _assignments(inside: Function, name: str) -> int:
    """Return how often a name is assigned in a function, which includes its parameters."""
    parameters = sum(isinstance(part, ast.arg) and part.arg == name for part in ast.walk(inside))
    stores = (part for part in ast.walk(inside) if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store))
    return parameters + sum(part.id == name for part in stores)


def _name(called: ast.expr) -> str:
    return getattr(called, "id", "") or getattr(called, "attr", "")


OPERATORS: dict[str, Operator] = {
    "arithmetic": arithmetic,
    "in place": in_place,
    "comparison": comparison,
    "condition": condition,
    "constant": constant,
    "bounds": bounds,
    "transposition": transposition,
    "conversion": conversion,
    "not zeroed": not_zeroed,
    "function": function,
    "arguments": arguments,
    "twin": twin,
    "statement": statement,
}
