"""`python -m dashboards.alerts`: write what is made from the alerts; `--check` only says whether it is up to date."""

import argparse
import sys

from dashboards.alerts import page, twins
from dashboards.alerts.rule_files import ROOT, alerts


def main() -> int:
    """Exit code 1 if `--check` finds a stale file."""
    parser = argparse.ArgumentParser(
        prog="python -m dashboards.alerts", description="Write docs/alerts.md and Grafana's own alerts."
    )
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 if a file is not up to date")
    check: bool = parser.parse_args().check
    found = alerts()
    wanted = {page.PAGE: page.renewed(page.PAGE.read_text("utf-8"), found), twins.FILE: twins.text(found)}
    stale = [path for path, text in wanted.items() if not path.is_file() or path.read_text("utf-8") != text]
    for path in stale:
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], "utf-8")
        verb = "is not up to date; run `make dashboards`" if check else "written"
        sys.stdout.write(f"{path.relative_to(ROOT)}: {verb}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    raise SystemExit(main())
