"""Clients of Kafka: what all of them have in common, and the kinds that more than one part opens."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError, KafkaTimeoutError

from fleetgauge.errors import Conflict, FleetgaugeError
from fleetgauge.kafka.kafka_errors import translate
from fleetgauge.kafka.login import security
from fleetgauge.settings import KafkaSettings

TIMEOUT_S = 30.0
"""How long any request is waited for, unless somebody is in a hurry."""
_ANSWER_S = 2.0


def client_options(
    settings: KafkaSettings, timeout_s: float | None = None, client_id: str = "fleetgauge"
) -> dict[str, Any]:
    """Keyword arguments that every client here shares: address, security, bounded time-outs (seconds); blocks.

    Raises `Stop` for a refused login and for certificates that are not trusted, `Terminal` for files that cannot be
    used.
    """
    limit_ms = int((TIMEOUT_S if timeout_s is None else timeout_s) * 1000)
    return {
        "bootstrap_servers": settings.brokers,
        "client_id": client_id,
        "request_timeout_ms": limit_ms,
        "bootstrap_timeout_ms": limit_ms,
        "reconnect_backoff_max_ms": 1_000,  # as in Java; 30 s here would keep us away long after the broker is back
        **security(settings),
    }


class Producer(KafkaProducer):  # type: ignore[misc] # kafka-python is untyped
    """A producer that ends when it is told to; what Kafka has not taken in time is dropped.

    kafka-python (3.0.12) closes nothing if records are still under way then, raises `KafkaTimeoutError`, and tries
    once more when the producer is forgotten or the process ends, which puts a traceback on the terminal.
    """

    def close(self, timeout: float | None = None, null_logger: bool = False) -> None:
        """Wait so many seconds for what is under way, and end; what became of a record its future says."""
        try:
            super().close(timeout, null_logger)
        except KafkaTimeoutError:
            self.__dropping = True
            super().close(0, null_logger)

    def flush(self, timeout: float | None = None) -> None:
        """As `KafkaProducer` does, but it waits for nothing while records are dropped."""
        if not self.__dropping:
            super().flush(timeout)

    __dropping = False


def refuse_unserved(settings: KafkaSettings) -> None:
    """For who wants no patience: raises `Conflict` at once where nobody listens at any of the addresses.

    A client would try again until its time is up. Blocks for a connection to each, `_ANSWER_S` at most.
    """
    why: list[str] = []
    for address in settings.brokers:
        host, _, port = address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWER_S):
                return
        except TimeoutError:  # slow is not away: the client finds out
            return
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else None
            why.append(f"{address}: {said or type(error).__name__}")
    raise Conflict(f"Kafka cannot be reached ({', '.join(why)}); check that it runs there, and kafka.bootstrap_servers")


@contextmanager
def translated(settings: KafkaSettings, what: str, rights: str) -> Iterator[None]:
    """A client's errors inside come out as ours; see `kafka_errors.translate`."""
    try:
        yield
    except FleetgaugeError:
        raise
    except (KafkaError, OSError) as error:
        raise translate(error, f"{what} at {settings.bootstrap_servers}", rights) from error


@contextmanager
def administering(
    settings: KafkaSettings, client_id: str, timeout_s: float | None = None
) -> Iterator[KafkaAdminClient]:
    """An admin client for a block; raises what kafka-python does."""
    admin = KafkaAdminClient(**client_options(settings, timeout_s, client_id))
    try:
        yield admin
    finally:
        admin.close()


@contextmanager
def looking_into(
    settings: KafkaSettings, client_id: str, timeout_s: float | None = None, **options: Any
) -> Iterator[KafkaConsumer]:
    """A consumer, of committed records unless told otherwise, that joins no group and changes nothing.

    Raises what kafka-python does.
    """
    kafka = KafkaConsumer(
        **client_options(settings, timeout_s, client_id),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="earliest",  # retention may have passed an offset meanwhile
        allow_auto_create_topics=False,
        metrics_enabled=False,
        **{"isolation_level": "read_committed", **options},  # what a producer took back is no record
    )
    try:
        yield kafka
    finally:
        kafka.close(autocommit=False, timeout_ms=5_000)


def whole_number(said: object) -> int | None:
    """The value of a topic's setting; None where the broker does not tell it, as some that speak Kafka's protocol."""
    try:
        return int(str(said))
    except ValueError:
        return None
