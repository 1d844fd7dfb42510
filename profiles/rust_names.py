"""Rust's mangled names made readable: the legacy scheme (`_ZN…E`) and v0 (`_R…`), without hashes.

Formats: the legacy escapes as in rustc's symbol_names/legacy.rs, v0 as in
https://doc.rust-lang.org/rustc/symbol-mangling/v0.html. Written as rustc's own demangler writes them.
"""

import re
from collections.abc import Callable

_HASH = re.compile(r"(::|\b17)h[0-9a-f]{16}(?=E?$)")  # ends a legacy name, and changes with every build
_LENGTH = re.compile(r"[1-9]\d{0,3}")
_ESCAPE = re.compile(r"\$(LT|GT|LP|RP|RF|BP|C|SP|u[0-9a-f]{1,6})\$|\.\.")
_ESCAPED = {"LT": "<", "GT": ">", "LP": "(", "RP": ")", "RF": "&", "BP": "*", "C": ",", "SP": "@"}
_BASIC = {"a": "i8", "b": "bool", "c": "char", "d": "f64", "e": "str", "f": "f32", "h": "u8", "i": "isize",
          "j": "usize", "l": "i32", "m": "u32", "n": "i128", "o": "u128", "s": "i16", "t": "u16", "u": "()", "v": "...",
          "x": "i64", "y": "u64", "z": "!", "p": "_"}  # fmt: skip
_SIGNED, _UNSIGNED = "aslxni", "htmyoj"
_MAX_PARTS = 2_000  # of a v0 name: back references may unfold without end


def demangle(name: str) -> str:
    """Return a Rust name as it was written; a name that is mangled in no scheme of Rust's is returned as it is."""
    try:
        if name.startswith(("_R", "__R")):
            return _V0(name[name.index("R") + 1 :].partition(".")[0]).name()
    except (ValueError, IndexError, KeyError, OverflowError, RecursionError):
        return name
    if name.startswith("_ZN") and name.endswith("E"):
        parts = _parts(name[3:-1])
        name = "::".join(parts) if parts else name
    if not _HASH.search(name):
        return name
    name = _HASH.sub("", name)
    return _ESCAPE.sub(_escaped, re.sub(r"(^|::)_(?=\$)", r"\1", name))


def _parts(text: str) -> list[str]:
    """Return the parts of a legacy name, each of which its length precedes; none if it is something else."""
    parts = []
    while text:
        length = _LENGTH.match(text)
        if not length or len(text) < length.end() + int(length[0]):
            return []
        end = length.end() + int(length[0])
        parts.append(text[length.end() : end])
        text = text[end:]
    return parts


def _escaped(escape: re.Match[str]) -> str:
    code = escape[1]
    if code is None:
        return "::"
    if code in _ESCAPED:
        return _ESCAPED[code]
    return chr(int(code[1:], 16)) if int(code[1:], 16) <= 0x10FFFF else escape[0]


class _V0:
    """A reader of one v0 name; its methods read what the grammar calls so, and raise ValueError for what is no name."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.parts = 0

    def name(self) -> str:
        found = self.path(value=True)
        if self.at < len(self.text):
            self.path()  # the crate that made this instance
        if self.at < len(self.text):
            raise ValueError("expected the end of the name")
        return found

    def next(self) -> str:
        self.at += 1
        return self.text[self.at - 1]

    def eat(self, letter: str) -> bool:
        found = self.text.startswith(letter, self.at)
        self.at += found
        return found

    def base_62(self) -> int:
        if self.eat("_"):
            return 0
        value = 0
        while not self.eat("_"):
            digit = self.next()
            value = value * 62 + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ".index(digit)
        return value + 1

    def many(self, read: Callable[[], str]) -> list[str]:
        found = []
        while not self.eat("E"):
            found.append(read())
        return found

    def back(self, read: Callable[[], str]) -> str:
        """Read what stands at an earlier place."""
        place, here = self.base_62(), self.at
        if place >= here:
            raise ValueError("expected an earlier place")
        self.at = place
        found = read()
        self.at = here
        return found

    def identifier(self) -> tuple[str, int]:
        number = self.base_62() + 1 if self.eat("s") else 0
        encoded = self.eat("u")
        length = re.compile(r"0|[1-9]\d{0,5}").match(self.text, self.at)
        if not length:
            raise ValueError("expected a length")
        self.at = length.end()
        self.eat("_")
        text = self.text[self.at : self.at + int(length[0])]
        if len(text) < int(length[0]):
            raise ValueError("expected a longer name")
        self.at += len(text)
        if encoded:
            head, bar, tail = text.rpartition("_")
            text = f"{head}{'-' if bar else ''}{tail}".encode().decode("punycode")
        return text, number

    def path(self, value: bool = False) -> str:
        self.parts += 1
        if self.parts > _MAX_PARTS:
            raise ValueError("expected a shorter name")
        kind = self.next()
        if kind == "C":
            return self.identifier()[0]
        if kind == "N":
            return self.nested(value)
        if kind in "MX":  # of an implementation, whose own path nobody wants to read
            if self.eat("s"):
                self.base_62()
            self.path()
        if kind in "MXY":
            of = self.type()
            return f"<{of}>" if kind == "M" else f"<{of} as {self.path()}>"
        if kind == "I":
            return f"{self.path(value)}{'::' if value else ''}<{', '.join(self.many(self.argument))}>"
        if kind == "B":
            return self.back(lambda: self.path(value))
        raise ValueError("expected a path")

    def nested(self, value: bool) -> str:
        space = self.next()
        outer = self.path(value)
        name, number = self.identifier()
        if space.islower():
            return f"{outer}::{name}" if name else outer
        kind = {"C": "closure", "S": "shim"}.get(space, space)
        return f"{outer}::{{{kind}{f':{name}' if name else ''}#{number}}}"

    def argument(self) -> str:
        if self.eat("L"):
            return "'_" if self.base_62() == 0 else "'a"
        return self.constant() if self.eat("K") else self.type()

    def constant(self) -> str:
        kind = self.next()
        if kind == "p":
            return "_"
        if kind == "B":
            return self.back(self.constant)
        sign = "-" if kind in _SIGNED and self.eat("n") else ""
        digits = self.text[self.at : self.text.index("_", self.at)]
        self.at += len(digits) + 1
        number = int(digits or "0", 16)
        if kind == "b":
            return {0: "false", 1: "true"}[number]
        if kind == "c":
            return repr(chr(number))
        if kind not in _SIGNED + _UNSIGNED:
            raise ValueError("expected a number")
        return f"{sign}{number}"

    def type(self) -> str:
        kind = self.text[self.at]
        if kind not in _BASIC and kind not in "ASTRQPOFDB":
            return self.path()
        self.parts += 1
        if self.parts > _MAX_PARTS:
            raise ValueError("expected a shorter name")
        self.at += 1
        if kind in _BASIC:
            return _BASIC[kind]
        if kind == "B":
            return self.back(self.type)
        if kind == "A":
            return f"[{self.type()}; {self.constant()}]"
        if kind == "S":
            return f"[{self.type()}]"
        if kind == "T":
            types = self.many(self.type)
            return f"({', '.join(types)}{',' * (len(types) == 1)})"
        if kind in "RQ":
            if self.eat("L"):
                self.base_62()
            return f"&{'mut ' * (kind == 'Q')}{self.type()}"
        if kind in "PO":
            return f"*{'const' if kind == 'P' else 'mut'} {self.type()}"
        return self.function() if kind == "F" else self.dynamic()

    def binder(self) -> None:
        if self.eat("G"):
            self.base_62()

    def function(self) -> str:
        self.binder()
        unsafe = "unsafe " * self.eat("U")
        abi = ""
        if self.eat("K"):
            abi = f'extern "{"C" if self.eat("C") else self.identifier()[0].replace("_", "-")}" '
        arguments = ", ".join(self.many(self.type))
        result = self.type()
        return f"{unsafe}{abi}fn({arguments}){'' if result == '()' else f' -> {result}'}"

    def dynamic(self) -> str:
        self.binder()
        traits = self.many(self.trait)
        if not self.eat("L"):
            raise ValueError("expected a lifetime")
        self.base_62()
        return f"dyn {' + '.join(traits)}"

    def trait(self) -> str:
        path = self.path()
        bound = []
        while self.eat("p"):
            bound.append(f"{self.identifier()[0]} = {self.type()}")
        if not bound:
            return path
        return f"{path[:-1]}, {', '.join(bound)}>" if path.endswith(">") else f"{path}<{', '.join(bound)}>"
