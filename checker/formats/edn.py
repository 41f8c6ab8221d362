"""Reads and writes EDN, the notation in which Jepsen, Knossos and Elle keep their histories.

Written here although `edn_format` is well kept: it reads 8,000 events a second where a published history has 18,000 and a
long run a million, its errors carry no line number, and it gives up at tags that it does not know. Nothing is
evaluated, a tag is passed over, and what it marked is kept.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

_TOKEN = re.compile(
    r"""(?>[\s,]+|;[^\n]*)*+                    # space, commas and comments
    (?P<token>
        \#_ | \#\{ | \#\#-?\w+ | \#[A-Za-z][\w.\-/]* | [\[\]{}()]
      | "(?:\\.|[^"\\])*"                       # a string
      | \\(?:newline|space|tab|return|u[0-9a-fA-F]{4}|.)
      | [^\s,\[\]{}()";]+                       # a number, a keyword or a symbol
      | "                                       # a string that never ends
    )""",
    re.VERBOSE | re.DOTALL,
)
_INTEGER = re.compile(r"[+-]?\d+N?\Z")
_FLOAT = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?M?\Z")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_WORDS = {"nil": None, "true": True, "false": False}
_CHARACTERS = {"newline": "\n", "space": " ", "tab": "\t", "return": "\r"}
_CLOSING = {"(": ")", "[": "]", "{": "}", "#{": "}"}


class EdnError(ValueError):
    """Text that is no EDN; `line` counts from 1, `at_end` says that the text stops in the middle of a form."""

    def __init__(self, problem: str, line: int, *, at_end: bool) -> None:
        super().__init__(problem)
        self.line = line
        self.at_end = at_end


class _Reader:
    """The tokens of a text, one after the other, with the line of the last one."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._counted = 0
        self._line = 1
        self._start = 0

    def word(self) -> str | None:
        match = _TOKEN.match(self._text, self._position)
        if match is None:
            return None  # nothing is left but space and comments
        self._start, self._position = match.span("token")
        return match["token"]

    def line(self) -> int:
        self._line += self._text.count("\n", self._counted, self._start)
        self._counted = self._start
        return self._line

    def value(self, word: str) -> Any:
        """The value that begins with this word."""
        if word in _CLOSING:
            return self._collection(word)
        first = word[0]
        if first == ":":
            return word
        if first == '"':
            return self._string(word)
        if first == "#":
            # Numbers that are none stay words: NaN would differ from itself, and nil is another value.
            return word if word.startswith("##") else self._next_form(word)
        if word in _WORDS:
            return _WORDS[word]
        if _INTEGER.match(word):
            return int(word.rstrip("N"))
        if first == "\\":
            return _CHARACTERS.get(word[1:], word[1:])
        if word in ")]}":
            raise EdnError(f"a {word!r} that closes nothing", self.line(), at_end=False)
        return float(word.rstrip("M")) if _FLOAT.match(word) else word

    def _collection(self, opening: str) -> Any:
        closing = _CLOSING[opening]
        items = list(self._items(opening, closing))
        if opening == "{":
            if len(items) % 2:
                raise EdnError("a map with a key that has no value", self.line(), at_end=False)
            return {_hashable(key): value for key, value in zip(items[::2], items[1::2], strict=True)}
        return {_hashable(item) for item in items} if opening == "#{" else items

    def _items(self, opening: str, closing: str) -> Iterator[Any]:
        """The items of a collection up to its end."""
        line = self.line() if opening in "([" else 0
        while (word := self.word()) != closing:
            if word is None:
                begun = f" that begins in line {line}" if line else ""
                raise EdnError(
                    f"the text ends inside a {opening!r}{begun}: expected {closing!r}", self.line(), at_end=True
                )
            if word == "#_":
                self._next_form(word)
            else:
                yield self.value(word)

    def _next_form(self, before: str) -> Any:
        word = self.word()
        if word is None:
            raise EdnError(f"the text ends after {before!r}: expected a value", self.line(), at_end=True)
        return self.value(word)

    def _string(self, word: str) -> str:
        if len(word) == 1:
            raise EdnError("the text ends inside a string: expected '\"'", self.line(), at_end=True)
        return re.sub(r"\\(u[0-9a-fA-F]{4}|.)", _unescape, word[1:-1], flags=re.DOTALL) if "\\" in word else word[1:-1]


def read_forms(text: str) -> Iterator[tuple[int, Any]]:
    """The values of a text, each with the line in which it begins; a text that is one list or vector gives its items.

    Keywords are strings that begin with a colon. Raises `EdnError`.
    """
    reader = _Reader(text)
    opened = ""
    while (word := reader.word()) is not None:
        if not opened and word in {"(", "["}:
            opened = _CLOSING[word]
            continue
        if word == "#_":
            reader.value(reader.word() or "nil")
            continue
        if opened and word == opened:
            opened = "done"
            continue
        line = reader.line()
        if opened == "done":
            raise EdnError("text after the end of the history", line, at_end=False)
        yield line, reader.value(word)
    if opened not in {"", "done"}:
        raise EdnError(f"the text ends inside the history: expected {opened!r}", reader.line(), at_end=True)


_KEYWORD = re.compile(r""":[^\s,\[\]{}()";\\#]+""")
_ESCAPED = {"\n": "\\n", "\t": "\\t", "\r": "\\r", '"': '\\"', "\\": "\\\\"}
_TO_ESCAPE = re.compile(r'["\\\x00-\x1f\x7f]')


def written(value: Any) -> str:
    """A value as EDN; a string that begins with a colon is a keyword, as `read_forms` gives them. Raises `TypeError`."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "##NaN" if math.isnan(value) else f"##{'-' * (value < 0)}Inf"
    if isinstance(value, str):
        return value if _KEYWORD.fullmatch(value) else f'"{_TO_ESCAPE.sub(_escape, value)}"'
    if isinstance(value, list | tuple):
        return f"[{' '.join(map(written, value))}]"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{written(key)} {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, set | frozenset):
        return "#{" + " ".join(sorted(map(written, value))) + "}"
    raise TypeError(f"EDN has no form for {value!r}")


def _escape(match: re.Match[str]) -> str:
    return _ESCAPED.get(match[0]) or f"\\u{ord(match[0]):04x}"


def _unescape(match: re.Match[str]) -> str:
    code = match[1]
    return chr(int(code[1:], 16)) if len(code) == 5 else _ESCAPES.get(code, code)


def _hashable(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(_hashable(item) for item in value)
    if isinstance(value, dict):
        return tuple((key, _hashable(item)) for key, item in value.items())
    return frozenset(value) if isinstance(value, set) else value
