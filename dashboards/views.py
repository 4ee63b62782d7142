"""Which view a panel reads: the smallest subset of a metric's dimensions that has all that is asked for."""

# ruff: noqa: S608 - queries are put together from checked definitions; nothing that a viewer types is among them

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models import dashboard as model

from dashboards.buckets import BUCKET
from dashboards.frame import Filter, Per, of_range, where
from dashboards.postgres import datasource
from fleetgauge.errors import Terminal
from fleetgauge.rollup import load_definitions

CONTENT = Path(__file__).parents[1]


class MissingMetric(Terminal):
    """A dashboard is about a metric that the content has not (any more)."""


@dataclass(frozen=True)
class Views:
    """The views of one metric, for panels that need the same of its dimensions."""

    metric: str
    dimensions: Collection[str]
    subsets: Mapping[str, Sequence[str]]
    """As the definition's `rollups`."""
    filters: Sequence[Filter]
    """Of dimensions that a viewer may narrow."""
    needs: Collection[str] = ()
    """What the panels split by, whatever is narrowed."""
    split: bool = False
    """Whether the viewer chooses with the variable `by` what is split by."""
    prefix: str = "stem"
    """Begins the variable's name: another one for each metric of a dashboard."""

    def needing(self, *needs: str) -> "Views":
        """The same for panels that split by these dimensions."""
        return replace(self, needs=needs)

    @property
    def stem(self) -> str:
        """Name of the hidden variable with the view in use, without its grain."""
        return "_".join([self.prefix, *self.needs])

    def variable(self) -> dashboard.QueryVariable:
        """Chooses the view.

        `'*' IN (zone)` is true exactly while the filter says All: then Grafana writes the column's name, which is '*'
        here.
        """
        cases = []
        filtered = {one.column for one in self.filters}
        for name, kept in sorted(self.subsets.items(), key=lambda one: len(one[1])):
            if not set(self.needs) <= set(kept):
                continue
            fits = []
            for left in (one for one in self.dimensions if one not in kept):
                if left in filtered:
                    fits.append(f"'*' IN (${{{left}:sqlstring}})")
                if self.split:
                    fits.append(f"${{by:sqlstring}} <> '{left}'")
            cases.append(f"  WHEN {' AND '.join(fits) or 'true'} THEN '{self.metric}_{name}_'")
        whole = f"{self.metric}_"
        chosen = "\n".join(["CASE", *cases, f"  ELSE '{whole}'", "END"]) if cases else f"'{whole}'"
        return (
            dashboard.QueryVariable(self.stem)
            .hide(model.VariableHide.HIDE_VARIABLE)
            .description("The view in use, without its grain: the smallest that has all that is asked for.")
            .datasource(datasource())
            .query(f"SELECT {chosen}" + (f" FROM {self._every}" if cases else ""))
            .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
            .multi(False)
            .include_all(False)
            .current(model.VariableOption(text=whole, value=whole, selected=True))
        )

    def rows(self, *more: str, per: Per = BUCKET) -> str:
        """What stands in FROM: the rows of the view in use, in the time range, narrowed; `more`: further columns.

        `per` as for `of_range`. Where that view lacks a dimension, its name means the column of `every` instead, so
        that a filter which says All (`zone IN (zone)`) is still true.
        """
        columns = ", ".join(["*", *more])
        rows = of_range(f"${{{self.stem}}}", per).replace("}_range", "}range")
        cell = f"(SELECT {columns} FROM {rows} WHERE {where(self.filters)}) AS cell"
        if not self.dimensions:
            return cell
        return f"(SELECT cell.* FROM {self._every} CROSS JOIN LATERAL {cell}) AS cells"

    def counted(self, measure: str) -> str:
        """How many different values a distinct measure has, by window and what the viewer splits by, narrowed alike.

        The sketches are out of a viewer's reach; a filter that says All names the column of `every`, which is '*'.
        """
        narrowed = ", ".join(f"'{one}', ARRAY[${{{one}:sqlstring}}]" for one in self.dimensions)
        by = "ARRAY[nullif(${by:sqlstring}, 'nothing')]" if self.split and self.dimensions else "'{}'"
        every = f"{self._every} CROSS JOIN LATERAL " if self.dimensions else ""
        return f"""
            SELECT bucket_start AS "time", coalesce(parts[1], 'all') AS metric, estimate AS "value"
            FROM {every}fleetgauge.distinct_count(rtrim('${{{self.stem}}}', '_'), '{measure}',
              $__timeFrom(), $__timeTo(), '${{{BUCKET}}}', jsonb_build_object({narrowed}), {by}) AS counted
            ORDER BY 1, 2"""

    @property
    def _every(self) -> str:
        columns = ", ".join(f"'*' AS {one}" for one in self.dimensions)
        return f"(SELECT {columns}) AS every"


def of_metric(metric: str, filters: Sequence[Filter], prefix: str = "stem") -> Views:
    """The views of a metric of this content; `filters`: those of its dimensions that a viewer may narrow.

    Raises `MissingMetric` where the content lacks it.
    """
    definitions = load_definitions(CONTENT)
    if metric not in definitions:
        raise MissingMetric(
            f"sql/metrics lacks {metric}, which a dashboard shows; add the metric or remove the dashboard"
        )
    one = definitions[metric]
    return Views(metric, tuple(one.dimensions), one.rollups, filters, prefix=prefix)
