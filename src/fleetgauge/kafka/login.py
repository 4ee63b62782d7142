"""Reaching Kafka: whom to trust, who we are, and what to say when it does not come to pass."""

import socket
import ssl
import threading
from contextlib import nullcontext, suppress
from typing import Any

from kafka.errors import KafkaError, SaslAuthenticationFailedError

from fleetgauge.errors import FleetgaugeError, Stop, Terminal
from fleetgauge.kafka.internals import log_in
from fleetgauge.kafka.kafka_errors import translate
from fleetgauge.settings import KafkaSettings

TIMEOUT_S = 5.0
_ALERT_S = 0.3


class BoundedHandshake(ssl.SSLSocket):
    """A TLS connection whose handshake ends within `LIMIT_S` seconds, with `TimeoutError` if need be.

    kafka-python bounds the connection and the login, but not the handshake between them: a broker that accepts and then
    says nothing would hold a client for ever. Its context makes these sockets (`ssl.SSLContext.sslsocket_class`).
    """

    LIMIT_S = 10.0
    """As Java's clients have for setting a connection up (`socket.connection.setup.timeout.ms`)."""
    _limit: threading.Timer | None = None
    _overdue = False

    def do_handshake(self, block: bool = False) -> None:
        """As `ssl.SSLSocket` does; whoever waits for the socket meanwhile is woken when the time is up."""
        if self._limit is None:
            self._limit = threading.Timer(self.LIMIT_S, self._give_up)
            self._limit.daemon = True
            self._limit.start()
        goes_on = False
        try:
            super().do_handshake(block)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            goes_on = True
            raise
        except OSError:
            if self._overdue:
                raise TimeoutError(f"no TLS handshake within {self.LIMIT_S:.0f} s") from None
            raise
        finally:
            if not goes_on:
                self._limit.cancel()

    def _give_up(self) -> None:
        self._overdue = True
        with suppress(OSError):  # closed meanwhile
            socket.socket.shutdown(self, socket.SHUT_RDWR)


def security(settings: KafkaSettings) -> dict[str, Any]:
    """Keyword arguments about trust and login for a client of kafka-python; blocks for one login.

    Raises `Terminal` for a file that cannot be used, `Stop` if no broker is trusted or lets us in. The client itself
    would try again until its time is up, and no longer know why: of a broker that answers and hangs up it reads no
    answer.
    """
    options: dict[str, Any] = {"security_protocol": settings.security_protocol}
    if settings.security_protocol.endswith("SSL"):
        options["ssl_context"] = _certificates(settings)
    if settings.security_protocol.startswith("SASL"):
        options["sasl_mechanism"] = settings.sasl_mechanism
        options["sasl_plain_username"] = settings.username
        options["sasl_plain_password"] = settings.password.get_secret_value() if settings.password else None
    if settings.security_protocol != "PLAINTEXT":
        refusals = [_refusal(options, address) for address in settings.brokers]
        first = refusals[0]
        if first is not None and all(refusals):
            raise first
    return options


def _certificates(settings: KafkaSettings) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise Terminal(f"kafka.ca_file cannot be used: {_why(error)}; name a readable PEM file") from None
    context.sslsocket_class = BoundedHandshake
    if settings.cert_file is not None:
        try:
            # An encrypted key fails; without a password at all, OpenSSL would ask for it on the terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
        except OSError as error:
            raise Terminal(
                f"kafka.cert_file with its key_file cannot be used: {_why(error)}; name readable PEM files that belong "
                "together, the key not encrypted"
            ) from None
    return context


def _why(error: OSError) -> str:
    """Without the file's name, which is a value of the settings."""
    return error.strerror or type(error).__name__


def _refusal(options: dict[str, Any], address: str) -> FleetgaugeError | None:
    """Why this broker is not for us; None if it is, or if it does not answer."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    context: ssl.SSLContext | None = options.get("ssl_context")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) if context else nullcontext(plain) as connection,
        ):
            if "sasl_mechanism" in options:
                log_in(connection, host, options["sasl_mechanism"], options, TIMEOUT_S)
            else:  # a broker that misses our certificate says so only after the handshake
                connection.settimeout(_ALERT_S)
                connection.recv(1)
    except ssl.SSLCertVerificationError as error:
        return Stop(
            f"Kafka at {address} is not trusted: {error.verify_message}; check kafka.ca_file and the broker's name"
        )
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return None
    except ssl.SSLError as error:
        kind = Stop if "ALERT" in (error.reason or "") else Terminal  # an alert is the broker's own refusal
        return kind(
            f"TLS with Kafka at {address} fails: {error.reason}; check kafka.security_protocol, and kafka.cert_file "
            "and key_file if the broker wants to know its clients"
        )
    except SaslAuthenticationFailedError as error:
        return translate(error, f"Kafka at {address} refuses the login", "log in")
    except (OSError, ValueError, KafkaError):
        return None
    return None
