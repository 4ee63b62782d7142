r"""How values of dimensions are written in tables and views, and typed by whoever asks for one.

A dimension that has no value, and the values beyond its limit, have labels of their own, which no text of a source can
be taken for: a text that is one of them, or that is one of them with backslashes before it, is written with one more
backslash, `(other)` as `\(other)`. Of a text longer than an index can hold stand its first characters and its SHA-256,
so that two such texts stay two. Every other text, the empty one too, is written as it is.
"""

import re
from hashlib import sha256

from fleetgauge.postgres import sql

NOT_SET = "(not set)"
"""A dimension that is NULL, or that a document lacks."""
OTHER = "(other)"
"""All values beyond a dimension's limit together."""
EVERY = "*"
"""Never a value: what dashboards and `fleetgauge.distinct_count` write for no filter."""
FORMAT = 2
"""Rises when labels change, and with it the version of every metric that has dimensions. 1: `unknown` and `other`."""

LONGEST = 400
"""Bytes of UTF-8 of a text that is written whole: an index holds six labels of this length."""
HEAD = 64
"""Characters of a longer one that are."""
_CUT = re.compile(r"\.\.\. [0-9a-f]{64}\Z")

_RESERVED = (NOT_SET, OTHER, EVERY)
_BEFORE = {"unknown": NOT_SET, "other": OTHER}
"""What stood for NULL and overflow in format 1, in which a text of the source could be the same."""


def label_of(value: str | None) -> str:
    """How a value of the source is written."""
    if value is None:
        return NOT_SET
    if len(value) > HEAD and (len(value.encode()) > LONGEST or is_cut(value)):
        return cut_label(value[:HEAD], sha256(value.encode()).hexdigest())
    return f"\\{value}" if value.lstrip("\\") in _RESERVED else value


def cut_label(head: str, digest: str) -> str:
    """The label of a long text: its first `HEAD` characters, and its SHA-256 in hexadecimal digits."""
    return f"{head}... {digest}"


def is_cut(label: str) -> bool:
    """Whether the label is of a text that is not written whole."""
    return _CUT.search(label) is not None


def head_of(label: str) -> str:
    """How the text begins, of a label that `is_cut`."""
    return label[:HEAD]


def value_of(label: str) -> str | None:
    """The value of the source that is written so.

    Raises `ValueError` for the overflow, which has no one value, and for a text that is not written whole.
    """
    if label == NOT_SET:
        return None
    if label in _RESERVED or is_cut(label):
        raise ValueError(f"{label} stands for no one value")
    return label[1:] if label.lstrip("\\") in _RESERVED else label


def relabelled(label: str, label_format: int) -> str:
    """How a label of an older format is written now. In format 1 it may have been a value of that name."""
    return label if label_format == FORMAT else _BEFORE.get(label) or label_of(label)


def before_relabelling(label: str, label_format: int) -> str:
    """The label of an older format that `relabelled` makes this one of."""
    if label_format == FORMAT:
        return label
    named = {new: old for old, new in _BEFORE.items()}
    return named.get(label) or value_of(label) or label


def labelled_sql(value: sql.Composable) -> sql.Composed:
    """`label_of` of a text expression that is compared byte by byte."""
    return sql.SQL(
        "coalesce(CASE WHEN length({value}) > {head} AND (octet_length({value}) > {longest} OR {value} ~ {cut})"
        " THEN left({value}, {head}) || '... ' || encode(sha256(convert_to({value}, 'UTF8')), 'hex')"
        " ELSE {escaped} END, {not_set})"
    ).format(
        value=value,
        head=sql.Literal(HEAD),
        longest=sql.Literal(LONGEST),
        cut=sql.Literal(r"\.\.\. [0-9a-f]{64}$"),
        escaped=_escaped(value),
        not_set=sql.Literal(NOT_SET),
    )


def relabelled_sql(label: sql.Composable) -> sql.Composed:
    """`relabelled` of a label of format 1."""
    cases = (sql.SQL("WHEN {} THEN {}").format(sql.Literal(old), sql.Literal(new)) for old, new in _BEFORE.items())
    return sql.SQL("CASE {} {} ELSE {} END").format(label, sql.SQL(" ").join(cases), _escaped(label))


def _escaped(value: sql.Composable) -> sql.Composed:
    return sql.SQL("CASE WHEN ltrim({value}, {mark}) IN ({reserved}) THEN {mark} || {value} ELSE {value} END").format(
        value=value,
        mark=sql.Literal("\\"),
        reserved=sql.SQL(", ").join([sql.Literal(label) for label in _RESERVED]),
    )
