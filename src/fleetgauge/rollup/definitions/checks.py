"""Checks of a metric's rows: comparisons of measures and whole numbers, such as `completed + open <= started`."""

import re
from dataclasses import dataclass
from typing import Literal, cast

from fleetgauge.files.plain import shown
from fleetgauge.postgres import sql

Operator = Literal["<=", ">=", "<", ">", "=", "!="]

LARGEST_SUM = 6 * 10**15
"""A sum of whole numbers by the minute must not be larger: a day of 1,500 such minutes still fits into 64 bits."""

_TOKEN = re.compile(r"\s*(?:(?P<name>[a-z][a-z0-9_]*)|(?P<number>\d+)|(?P<op><=|>=|!=|==|<|>|=)|(?P<sign>[+-]))")


@dataclass(frozen=True)
class Term:
    """A measure or a whole number, with its sign."""

    sign: Literal["+", "-"]
    value: str | int


@dataclass(frozen=True)
class Check:
    """`left operator right`. A NULL on either side breaks nothing."""

    text: str
    left: tuple[Term, ...]
    operator: Operator
    right: tuple[Term, ...]

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of the measures that it compares."""
        return tuple(t.value for t in (*self.left, *self.right) if isinstance(t.value, str))

    def violated(self) -> sql.Composable:
        """SQL that is true for a row that breaks the check."""
        return sql.SQL("NOT coalesce({} {} {}, true)").format(
            _side(self.left), sql.SQL(self.operator), _side(self.right)
        )


def parse_check(value: object) -> Check:
    """Read a check; raises `ValueError` saying what is expected."""
    if isinstance(value, Check):
        return value
    wrong = (
        f"{shown(value)} is not a check; write a comparison of measures and whole numbers, such as completed <= started"
    )
    if not isinstance(value, str):
        raise ValueError(wrong)
    sides: list[list[Term]] = [[], []]
    operator: str | None = None
    sign: Literal["+", "-"] | None = "+"
    at = 0
    while at < len(value.rstrip()):
        match = _TOKEN.match(value, at)
        if match is None:
            raise ValueError(wrong)
        at = match.end()
        if match["op"]:
            if operator is not None or sign is not None or not sides[0]:
                raise ValueError(wrong)
            operator, sign = ("=" if match["op"] == "==" else match["op"]), "+"
        elif match["sign"]:
            if sign == "-" or (sign == "+" and sides[operator is not None]):
                raise ValueError(wrong)
            sign = "+" if match["sign"] == "+" else "-"
        else:
            if sign is None:
                raise ValueError(wrong)
            sides[operator is not None].append(Term(sign, match["name"] or int(match["number"])))
            sign = None
    if operator is None or sign is not None:
        raise ValueError(wrong)
    return Check(value.strip(), tuple(sides[0]), cast(Operator, operator), tuple(sides[1]))


def fitting(sum_of: str) -> tuple[Check, Check]:
    """What every sum of whole numbers is checked for, unasked: that the hours and days above can hold it."""
    return parse_check(f"{sum_of} <= {LARGEST_SUM}"), parse_check(f"-{sum_of} <= {LARGEST_SUM}")


def _side(terms: tuple[Term, ...]) -> sql.Composable:
    parts = [
        sql.SQL("{} {}").format(
            sql.SQL(t.sign), sql.Identifier(t.value) if isinstance(t.value, str) else sql.Literal(t.value)
        )
        for t in terms
    ]
    return sql.SQL("({})").format(sql.SQL(" ").join(parts))
