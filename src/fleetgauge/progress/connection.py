"""Reaching Kafka: whom to trust, who we are, and what to say when it does not come to pass."""

import socket
import ssl

from kafka.errors import KafkaError, SaslAuthenticationFailedError

from fleetgauge.errors import FleetgaugeError, Terminal, Transient
from fleetgauge.settings import KafkaSettings

_TIMEOUT_S = 5.0
_ALERT_S = 0.3


def tls(settings: KafkaSettings) -> ssl.SSLContext:
    """Certificates to trust and to show; blocks for one handshake.

    Raises `Terminal` for a file that cannot be used, or if no broker is trusted or trusts us: the client would try an
    untrusted certificate again until its time is up, and no longer know why.
    """
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise Terminal(f"kafka.ca_file {settings.ca_file} cannot be used: {error}; name a readable PEM file") from error
    if settings.cert_file is not None:
        try:
            # An encrypted key fails; without a password at all, OpenSSL would ask for it on the terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")
        except OSError as error:
            raise Terminal(
                f"kafka.cert_file {settings.cert_file} with its key_file cannot be used: {error}; name readable PEM "
                "files that belong together, the key not encrypted"
            ) from error
    refusals = [_refusal(settings, context, address) for address in settings.bootstrap_servers.split(",")]
    if all(refusals):
        raise Terminal(str(refusals[0]))
    return context


def _refusal(settings: KafkaSettings, context: ssl.SSLContext, address: str) -> str | None:
    """Why the handshake fails; None if it does not, or if there is nobody to shake hands with."""
    host, _, port = address.strip().rpartition(":")
    host = host.strip("[]")
    try:
        with (
            socket.create_connection((host, int(port)), timeout=_TIMEOUT_S) as plain,
            context.wrap_socket(plain, server_hostname=host) as secure,
        ):
            if settings.security_protocol == "SSL":  # a broker that misses our certificate says so only now
                secure.settimeout(_ALERT_S)
                secure.recv(1)
    except ssl.SSLCertVerificationError as error:
        return f"Kafka at {address} is not trusted: {error.verify_message}; check kafka.ca_file and the broker's name"
    except (ssl.SSLEOFError, ssl.SSLZeroReturnError):
        return None
    except ssl.SSLError as error:
        return (
            f"TLS with Kafka at {address} fails: {error.reason}; check kafka.security_protocol, and kafka.cert_file "
            "and key_file if the broker wants to know its clients"
        )
    except (OSError, ValueError):
        return None
    return None


def unreachable(settings: KafkaSettings, error: KafkaError) -> FleetgaugeError:
    """What to raise when a client could not be made."""
    if isinstance(error, SaslAuthenticationFailedError):
        return Terminal(
            f"Kafka at {settings.bootstrap_servers} refuses the login {settings.username!r}: {error}; check "
            "kafka.username, kafka.password and kafka.sasl_mechanism"
        )
    return Transient(
        f"Kafka at {settings.bootstrap_servers} does not answer: {error}; start it, or correct "
        "kafka.bootstrap_servers, kafka.security_protocol or kafka.sasl_mechanism"
    )
