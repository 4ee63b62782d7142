"""A content file's text. Every file that a team writes is read here, so that bad bytes are told the same everywhere."""

import codecs
from pathlib import Path


class Unreadable(ValueError):
    """A file cannot be read, or not as what it should be; `line` counts from 1. The text says cause and cure."""

    def __init__(self, line: int, said: str) -> None:
        self.line = line
        super().__init__(said)


def read(path: Path) -> str:
    """The text of a UTF-8 file, without a byte order mark. Raises `Unreadable`."""
    try:
        raw = path.read_bytes()
    except IsADirectoryError:
        raise Unreadable(1, "is a folder; put a file there") from None
    except PermissionError:
        raise Unreadable(1, "may not be read by this user; give it read permission") from None
    except OSError as error:
        raise Unreadable(
            1, f"cannot be read ({(error.strerror or 'input/output error').lower()}); restore it"
        ) from None
    raw = raw.removeprefix(codecs.BOM_UTF8)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line, column = raw.count(b"\n", 0, error.start) + 1, error.start - raw.rfind(b"\n", 0, error.start)
        said = f"is not UTF-8: byte 0x{raw[error.start]:02x} at column {column}; save it as UTF-8"
        raise Unreadable(line, said) from None
    if (at := text.find("\0")) >= 0:
        line = text.count("\n", 0, at) + 1
        raise Unreadable(line, "holds a NUL character, so it is no text; remove it, or save the file as UTF-8")
    return text
