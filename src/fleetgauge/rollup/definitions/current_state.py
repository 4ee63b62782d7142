"""`lint`'s rule against history that rewrites itself: no column or condition may come from a table of current state.

`sql/source/current_state.yaml` names such tables. A join that picks its row by time (`h.from_at <= r.started_at`) is no
look at the present and is accepted; so is what says which rows belong together (`v.id = r.vehicle_id`). Touches files
only.
"""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.optimizer.scope import Scope, build_scope

from fleetgauge.files import strict_yaml
from fleetgauge.files import text as texts
from fleetgauge.files.text import Unreadable
from fleetgauge.rollup.definitions.definition import Definition
from fleetgauge.rollup.definitions.loader import METRICS_FOLDER, located
from fleetgauge.rollup.definitions.measures import Count, Duration

FILE = Path("sql") / "source" / "current_state.yaml"
_RANGES = (exp.GT, exp.GTE, exp.LT, exp.LTE, exp.Between, exp.ArrayContainsAll, exp.ArrayContainedBy)


def problems(content: Path, definitions: Iterable[Definition]) -> list[str]:
    """One line for each column of a metric that would change with the present; beginning with file and line."""
    if not (content / FILE).exists():
        return []
    try:
        document = strict_yaml.read(texts.read(content / FILE))
    except Unreadable as error:
        return [f"{FILE}:{error.line}: {error}"]
    listed = document.value
    if not isinstance(listed, dict):
        return [f"{FILE}:1: is not a mapping of tables; write `vehicles: what to use instead`"]
    wrong = [name for name, instead in listed.items() if not isinstance(instead, str)]
    if wrong:
        said = "is not a text; write what to use instead of the table"
        return [f"{FILE}:{document.line([name])}: {name}: {said}" for name in wrong]
    found = []
    for definition in definitions:
        if not definition.source_sql:
            continue
        scope = build_scope(sqlglot.parse_one(definition.source_sql, dialect=definition.dialect))
        if scope is None:
            continue
        folder = content / METRICS_FOLDER / definition.metric
        told = [f"{'.'.join(path)}: {said}" for path, said in _of(definition, scope, listed)]
        found += located(folder, told, shown_from=content)
        file = (folder / "source.sql").relative_to(content)
        found += [f"{file}:{line}: {said}" for line, said in sorted(set(_conditions(scope, listed)))]
    return found


def _of(definition: Definition, scope: Scope, listed: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], str]]:
    for path, column in _used(definition):
        for table, name in sorted(set(_origins(scope, column, listed))):
            if name == "*":
                yield path, f"may come from {table}, which says how things are now; write out the columns in source.sql"
            else:
                said = f"{table}.{name} says how things are now, and would rewrite history; take {listed[table]}"
                yield path, said


def _used(definition: Definition) -> Iterator[tuple[tuple[str, ...], str]]:
    """The columns of source.sql that numbers depend on, by the path of their key."""
    for name, dimension in definition.dimensions.items():
        yield ("dimensions", name, "column"), dimension.column
    for name, measure in definition.stored.items():
        for column in measure.where:
            yield ("measures", name, "where", column), column
        if not isinstance(measure, Count | Duration):
            yield ("measures", name, "of"), measure.of


def _origins(scope: Scope, column: str, listed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(listed table, its column) for each that a column of the scope's rows may be made of; `*` where none is named."""
    query = scope.expression
    for branch in scope.set_operation_scopes:  # its columns go by their positions, under the names of the first branch
        if not (isinstance(query, exp.Query) and isinstance(branch.expression, exp.Query)):
            continue  # what is no query has no columns
        names, own = query.named_selects, branch.expression.named_selects
        index = names.index(column) if column in names else None
        yield from _origins(branch, column if index is None or index >= len(own) else own[index], listed)
    if not isinstance(query, exp.Select):
        return
    present = {alias: one for alias, one in scope.sources.items() if _listed(query, alias, one, listed)}
    for projection in query.expressions:
        if projection.is_star:
            alias = projection.table if isinstance(projection, exp.Column) else ""
            yield from ((_name(one), "*") for key, one in present.items() if alias in ("", key))
            yield from _below(scope, alias, column, listed)
        elif projection.alias_or_name == column:
            for used in projection.find_all(exp.Column):
                if not used.table:
                    yield from ((_name(one), "*") for one in present.values() if len(scope.sources) > 1)
                    yield from ((_name(one), used.name) for one in present.values() if len(scope.sources) == 1)
                elif used.table in present:
                    yield _name(present[used.table]), used.name
                yield from _below(scope, used.table, used.name, listed)


def _below(scope: Scope, alias: str, column: str, listed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for key, one in scope.sources.items():
        if isinstance(one, Scope) and alias in ("", key):
            yield from _origins(one, column, listed)


def _conditions(scope: Scope, listed: Mapping[str, str]) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) of each condition by which the present decides which rows there are."""
    for one in scope.traverse():
        query = one.expression
        if not isinstance(query, exp.Select):
            continue
        present = {alias: _name(of) for alias, of in one.sources.items() if _listed(query, alias, of, listed)}
        for column in (c for test in _tests(query) if not _belongs_together(test) for c in test.find_all(exp.Column)):
            line = int(column.this.meta.get("line", 1))
            if column.table in present:
                table = present[column.table]
                yield line, f"{table}.{column.name} says how things are now, and picks rows by it; take {listed[table]}"
            elif not column.table and present and column.find_ancestor(exp.Select) is query:
                one_of = " or ".join(sorted(set(present.values())))
                said = f"{column.name} may be of {one_of}, which says how things are now; write its table before it"
                yield line, said


def _tests(query: exp.Select) -> Iterator[exp.Expr]:
    """What each row must fulfil by itself. What a LEFT JOIN asks removes none."""
    wholes = [query.args[part].this for part in ("where", "having") if query.args.get(part)]
    wholes += [j.args["on"] for j in query.args.get("joins") or [] if j.args.get("on") and j.side != "LEFT"]
    for whole in wholes:
        yield from _conjuncts(whole)


def _conjuncts(whole: exp.Expr) -> Iterator[exp.Expr]:
    bare = whole.unnest()
    if isinstance(bare, exp.And):
        yield from _conjuncts(bare.left)
        yield from _conjuncts(bare.right)
    else:
        yield bare


def _belongs_together(test: exp.Expr) -> bool:
    left, right = (test.this, test.expression) if isinstance(test, exp.EQ) else (None, None)
    return isinstance(left, exp.Column) and isinstance(right, exp.Column) and left.table != right.table


def _name(one: exp.Expr | Scope) -> str:
    return one.name if isinstance(one, exp.Table) else ""


def _listed(query: exp.Select, alias: str, one: exp.Expr | Scope, listed: Mapping[str, str]) -> bool:
    """Whether a source of the query is a table of current state that is not picked by time."""
    if not isinstance(one, exp.Table) or one.name not in listed:
        return False
    for join in query.args.get("joins") or []:
        condition = join.args.get("on")
        if join.alias_or_name == alias and condition is not None:
            return not any(
                column.table == alias for test in condition.find_all(*_RANGES) for column in test.find_all(exp.Column)
            )
    return True
