"""Converts histories from one format into another, and says what the other one can't hold.

`python -m checker.formats.convert SOURCE TARGET` does so without the rest of the product.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import msgspec

from checker.formats import files
from checker.formats.files import FORMATS
from checker.formats.source import Progress, Source
from checker.history import HistoryError


class Conversion(msgspec.Struct, frozen=True):
    """What was converted: the formats by name, how many operations, and what was lost, in sentences."""

    source_format: str
    target_format: str
    operations: int
    lost: list[str]
    warnings: list[str]


def convert(
    source: str | Path,
    target: str | Path,
    source_format: str | None = None,
    target_format: str | None = None,
    *,
    allow_torn_tail: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Writes the history in a file into another file, which it makes or replaces; on an error that stays as it was.

    A link is followed: what it names is replaced, the link stays. Formats are names of `FORMATS`; None finds the source's by content and the target's by the end of its name.

    Raises `HistoryError` for what is no history, for a target format that is unknown or can't be written, for a target that is
    no regular file (a folder, a pipe, a device), and for what the target can't hold at all; `OSError` where a file can't be read or written.
    """
    name = target_format or format_for(target)
    writer = FORMATS[name].write if name in FORMATS else None
    if writer is None:
        raise HistoryError(f"can't write the format {name!r}, expected one of {', '.join(writable())}")
    place = _place_of(Path(target))
    data = Source(source, progress)
    found = source_format or files.format_of(data)
    history = files.read(data, found, allow_torn_tail=allow_torn_tail)
    draft = place.with_name(f".{place.name}.new")
    try:
        with open(draft, "wb") as file:
            lost = writer(history, file)
        draft.replace(place)
    finally:
        draft.unlink(missing_ok=True)
    return Conversion(found, name, len(history), lost, history.warnings)


def _place_of(target: Path) -> Path:
    """Where the target's bytes belong. A rename would put a file in the place of a device or of a link."""
    if target.exists() and not target.is_file():
        raise HistoryError(
            f"the target {target} is no regular file: expected a name that is free, or a file to replace"
        )
    try:
        return target.resolve()
    except RuntimeError:  # so Python 3.11 says it
        raise HistoryError(f"the target {target} is a link that leads back to itself") from None


def writable() -> list[str]:
    """The names of the formats that can be written."""
    return [name for name, each in FORMATS.items() if each.write is not None]


def format_for(path: str | Path) -> str:
    """The format that the end of a file's name asks for. Raises `HistoryError` if it asks for none."""
    suffixes = {each.suffix: name for name, each in FORMATS.items()}
    fitting = [suffix for suffix in suffixes if str(path).endswith(suffix)]
    if not fitting:
        known = ", ".join(f"{suffix} ({name})" for suffix, name in suffixes.items())
        raise HistoryError(
            f"the name {Path(path).name} does not tell a format: expected one that ends with {known}, or --to"
        )
    return suffixes[max(fitting, key=len)]


def main(arguments: list[str] | None = None) -> int:
    """Converts a file and returns the exit status: 0 converted, 2 usage, bad input, or what the target can't hold."""
    parser = argparse.ArgumentParser(prog="python -m checker.formats.convert", description="Converts a history.")
    parser.add_argument("source")
    parser.add_argument("target")
    parser.add_argument("--from", dest="source_format", choices=list(FORMATS), help="default: found by content")
    parser.add_argument("--to", choices=writable(), help="default: by the end of the target's name")
    parser.add_argument("--json", action="store_true", help="print what was done as one JSON object")
    given = parser.parse_args(arguments)
    try:
        done = convert(given.source, given.target, given.source_format, given.to)
    except OSError as error:
        return _refused(f"cannot convert {given.source} to {given.target}: {error.filename}: {error.strerror}")
    except HistoryError as error:
        return _refused(f"{given.source}: {error}")
    for warning in (*done.warnings, *done.lost):
        print(f"{given.source}: {warning}", file=sys.stderr)
    if given.json:
        print(msgspec.json.encode(done).decode())
    else:
        print(f"{done.operations:,} operations from {done.source_format} to {done.target_format}: {given.target}")
    return 0


def _refused(sentence: str) -> int:
    print(sentence, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
