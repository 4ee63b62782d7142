"""`fleetgauge` called in this process: one of its own takes half a second to import what is here already."""

import contextlib
import io
import logging
import sys
from unittest import mock

import structlog

from fleetgauge.cli import main


def in_process(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Its exit code, what it printed, and what it said on stderr; with some environment variables set."""
    out, err = io.StringIO(), io.StringIO()
    code = 0
    with (
        mock.patch.dict("os.environ", environment),
        mock.patch.object(sys, "argv", ["fleetgauge", *arguments]),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        try:
            main()
        except SystemExit as ended:
            code = int(ended.code or 0)
        finally:  # its logs go to what is closed now
            structlog.reset_defaults()
            logging.basicConfig(force=True)
    return code, out.getvalue(), err.getvalue()
