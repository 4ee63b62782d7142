r"""Text that Postgres can hold: U+0000, which JSON has and Postgres has not, is written as `\u0000`.

Two texts never become one: in a text with U+0000, or with `\u0000` as it is, each backslash is doubled. Every other
text stays as it is.
"""

import re

_WRITTEN = r"\u0000"
_ESCAPE = re.compile(r"\\(\\|u0000)")


def without_nul(text: str) -> str:
    """The text as it is written."""
    if "\0" not in text and _WRITTEN not in text:
        return text
    return text.replace("\\", "\\\\").replace("\0", _WRITTEN)


def with_nul(written: str) -> str:
    """The text that was written so."""
    if _WRITTEN not in written:
        return written
    return _ESCAPE.sub(lambda found: "\\" if found[1] == "\\" else "\0", written)
