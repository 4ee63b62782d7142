"""Databases of their own for each module, on the servers of the run."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest
from mysql_world import MysqlWorld, built
from rollup_world import World, build

from fleetlab.stack import MariadbState, PostgresState, Service, StackState
from fleetlab.stack.mariadb import MISSING, is_installed

Starter = Callable[[set[Service]], StackState]


@pytest.fixture(scope="module")
def world(postgres: PostgresState, metrics_template: str) -> Iterator[World]:
    """Empty facts, an empty metrics database; a test migrates its own definition."""
    with build(postgres, f"rollup_{uuid4().hex[:12]}", metrics_template) as found:
        yield found


@pytest.fixture(scope="session")
def mariadb(start_services: Starter) -> MariadbState:
    """A primary and a replica, where the programs are installed."""
    if not is_installed():
        pytest.skip(f"{MISSING}; nothing of MariaDB is tried")
    return start_services({"mariadb"}).need_mariadb()


@pytest.fixture(scope="module")
def shop(world: World, mariadb: MariadbState) -> Iterator[MysqlWorld]:
    """The same facts on MariaDB, beside the world of Postgres."""
    with built(world, mariadb) as found:
        yield found
