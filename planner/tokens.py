"""The tokens of a statement, as DuckDB's own tokenizer cuts them."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import duckdb

from starling_py.planner.errors import Unsupported

__all__ = ["Token", "Tokens", "unquoted_name"]


@dataclass(frozen=True, slots=True)
class Token:
    """A token at bytes ``start`` to ``end`` of a text. ``word`` is its text in capitals."""

    text: str
    start: int
    end: int
    quoted: bool

    @property
    def word(self) -> str:
        return self.text if self.quoted else self.text.upper()

    @property
    def is_name(self) -> bool:
        return self.text[:1] == '"' or self.text.replace("_", "a").isalnum()


class Tokens:
    """The tokens of a text, without comments, read from the first to the last."""

    def __init__(self, text: str) -> None:
        self._data = text.encode()
        self._tokens: list[Token] = []
        found = [*duckdb.tokenize(text), (len(self._data), duckdb.token_type.comment)]
        for (start, kind), (stop, _) in pairwise(found):
            if kind == duckdb.token_type.comment:
                continue
            piece = self._data[start:stop].rstrip()
            quoted = piece[:1] in (b"'", b'"')
            self._tokens.append(Token(piece.decode(), start, start + len(piece), quoted))
        self._at = 0

    @property
    def start(self) -> int:
        """The byte where the next token begins."""
        return self._tokens[self._at].start if self._at < len(self._tokens) else len(self._data)

    @property
    def end_of_last(self) -> int:
        """The byte behind the token that was read last."""
        return self._tokens[self._at - 1].end if self._at else 0

    def rest(self) -> list[Token]:
        """Return the tokens that have not been read."""
        return self._tokens[self._at :]

    def peek(self, further: int = 0) -> str:
        """Return the word of a token that has not been read, or nothing behind the last."""
        at = self._at + further
        return self._tokens[at].word if at < len(self._tokens) else ""

    def skip(self) -> None:
        self._at += 1

    def take(self, word: str) -> bool:
        """Read the next token if it is this word; return whether it was."""
        found = self.peek() == word
        self._at += found
        return found

    def name(self) -> str:
        """Read a name and return what it stands for."""
        if self._at >= len(self._tokens) or not self._tokens[self._at].is_name:
            raise Unsupported(f"a name is expected instead of {self.peek() or 'the end'}")
        self._at += 1
        return unquoted_name(self._tokens[self._at - 1].text)

    def string(self) -> str | None:
        """Read a string in plain quotes and return its value, or ``None`` for anything else."""
        word = self.peek()
        if word[:1] != "'":
            return None
        self._at += 1
        return word[1:-1].replace("''", "'")

    def group(self) -> list[Token]:
        """Read parentheses and return what is inside them."""
        first = self._at + 1
        self.span_of_group()
        return self._tokens[first : self._at - 1]

    def span_of_group(self) -> tuple[int, int]:
        """Read parentheses and return the bytes where their inside begins and ends."""
        start = self._tokens[self._at].end
        depth = 0
        while self._at < len(self._tokens):
            word = self.peek()
            depth += (word == "(") - (word == ")")
            self._at += 1
            if depth == 0:
                break
        return start, self._tokens[self._at - 1].start

    def ends_with(self, *words: str) -> bool:
        return tuple(token.word for token in self.rest()[-len(words) :]) == words

    def drop(self, count: int) -> None:
        """Forget the last tokens."""
        del self._tokens[-count:]

    def drop_semicolons(self) -> None:
        while self._tokens and self._tokens[-1].text == ";":
            self.drop(1)

    def text(self, start: int, end: int) -> str:
        """Return the text between two bytes."""
        return self._data[start:end].decode()

    def source(self) -> str:
        """Return the text from the next token to the last."""
        return self.text(self.start, self._tokens[-1].end if self.rest() else self.start)


def unquoted_name(text: str) -> str:
    """Return the name that a plain or quoted identifier stands for."""
    return text[1:-1].replace('""', '"') if text[:1] == '"' else text
