"""A report to look at, made once."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sample_report import sample

from fleetgauge.reports import page


@pytest.fixture(scope="session")
def report() -> Iterator[dict[str, Any]]:
    """As JSON has it."""
    with pytest.MonkeyPatch.context() as patch:
        yield sample(patch)


@pytest.fixture(scope="session")
def report_page(report: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a page."""
    file = tmp_path_factory.mktemp("page") / "report.html"
    page.write(report, file)
    return file
