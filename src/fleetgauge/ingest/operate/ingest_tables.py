"""The tables of `docs/ingest.md`, made from the code.

`python -m fleetgauge.ingest.operate.ingest_tables docs/ingest.md` renews them.
"""

import re
import sys
from pathlib import Path

from fleetgauge.elasticsearch.answers import RULES
from fleetgauge.ingest.consumer_metrics import CATALOGUE


def classes() -> str:
    """The table of outcome classes, in the order in which it is read."""
    rows = ["| class | HTTP status | error type | why |", "| --- | --- | --- | --- |"]
    for rule in RULES:
        statuses = ", ".join(map(str, rule.statuses)) or "any"
        types = ", ".join(f"`{name}`" for name in rule.types) or "any"
        if rule.reason is not None:
            types += f" with “{rule.reason}”"
        rows.append(f"| {rule.outcome.value} | {statuses} | {types} | {rule.because} |")
    return "\n".join(rows)


def catalogue() -> str:
    """The table of metrics."""
    rows = ["| metric | type | labels | meaning |", "| --- | --- | --- | --- |"]
    for metric in CATALOGUE:
        labels = ", ".join(f"`{label}`" for label in ("consumer", *metric.labels))
        rows.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.meaning} |")
    return "\n".join(rows)


def renewed(page: str) -> str:
    """The page with both tables as they are now."""
    for name, table in (("classes", classes()), ("metrics", catalogue())):
        pattern = rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)"
        page = re.sub(pattern, lambda match, table=table: f"{match[1]}{table}\n{match[2]}", page, flags=re.S)  # type: ignore[misc]
    return page


if __name__ == "__main__":
    path = Path(sys.argv[1])
    path.write_text(renewed(path.read_text("utf-8")), "utf-8")
