"""What a process has imported once it has started, which takes its time and its memory."""

import subprocess
import sys


def test_what_the_scheduler_imports_loads_no_client_of_a_server_that_it_may_not_need() -> None:
    code = "import sys, fleetgauge.pipeline; assert not {'elasticsearch', 'kafka'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_the_command_line_starts_without_heavy_imports() -> None:
    code = (
        "import sys, fleetgauge.cli\n"
        "heavy = {'pandas', 'airflow', 'sqlalchemy', 'elasticsearch', 'kafka', 'alembic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "import fleetgauge.ingest.operate.launch\n"
        "heavy = {'pandas', 'airflow', 'sqlalchemy', 'alembic'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
