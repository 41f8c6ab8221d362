"""Where the bytes of a history come from: a file or memory, read in blocks of whole lines."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, TypeAlias

from checker.history import HistoryError

Progress: TypeAlias = Callable[[int, int], None]
"""Called with the bytes that are read and the bytes that there are."""

BLOCK_BYTES = 1 << 20
HEAD_BYTES = 1 << 16
_MARK = b"\xef\xbb\xbf"


class Source:
    """Bytes that can be read from their beginning as often as somebody needs them."""

    def __init__(self, data: str | Path | bytes, progress: Progress | None = None) -> None:
        """`data` is the path of a file, or the bytes themselves. Raises `OSError` where there is no such file."""
        self._data = data
        self._progress = progress
        self.size = len(data) if isinstance(data, bytes) else Path(data).stat().st_size

    def open(self) -> BinaryIO:
        """The bytes from their beginning on."""
        return io.BytesIO(self._data) if isinstance(self._data, bytes) else open(self._data, "rb")

    def head(self) -> bytes:
        """The first bytes: enough to see which format this is."""
        with self.open() as file:
            return file.read(HEAD_BYTES).removeprefix(_MARK)

    def whole(self) -> bytes:
        """All bytes at once, as they are."""
        with self.open() as file:
            return file.read()

    def blocks(self) -> Iterator[bytes]:
        """Blocks of whole lines, without a byte order mark; the last line may lack its end."""
        done = 0
        rest = b""
        with self.open() as file:
            while block := file.read(BLOCK_BYTES):
                if not done:
                    block = block.removeprefix(_MARK)
                done += len(block)
                cut = block.rfind(b"\n") + 1
                if cut:
                    yield rest + block[:cut]
                    rest = block[cut:]
                else:
                    rest += block
                if self._progress is not None:
                    self._progress(done, self.size)
        if rest:
            yield rest

    def text(self, *, allow_torn_tail: bool = False) -> str:
        """All of it as text; a torn tail may end inside a character. Raises `HistoryError` for what is no text."""
        data = self.whole()
        try:
            text = data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if not (allow_torn_tail and error.reason == "unexpected end of data"):
                line = data.count(b"\n", 0, error.start) + 1
                raise HistoryError(
                    f"not text: byte {data[error.start]:#04x} is no UTF-8, expected a text file", line
                ) from None
            text = data[: error.start].decode("utf-8-sig")
        if "\0" in text:
            raise HistoryError("not text: a zero byte, expected a text file", text.count("\n", 0, text.index("\0")) + 1)
        return text
