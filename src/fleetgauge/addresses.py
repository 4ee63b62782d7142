"""Addresses as people write them, parsed once: what is said about a bad one names its fault, never its text.

An address can hold a password, and a mistyped one can hold it anywhere; so nothing here repeats what it was given.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import unquote

from pydantic import GetCoreSchemaHandler, SecretStr
from pydantic_core import CoreSchema, core_schema

POSTGRES = ("postgresql", "postgres")
"""The schemes of a Postgres address."""
MYSQL = ("mariadb", "mysql")
"""The schemes of an address of MariaDB or MySQL."""
_HOST = r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]"
_URL = re.compile(rf"https?://(?:{_HOST})(?::(?P<port>[0-9]+))?(?:/[A-Za-z0-9._~/-]*)?")
_BROKER = re.compile(rf"(?:{_HOST}):(?P<port>[0-9]+)")
_SCHEME = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*):(?P<slashes>//)?")
_DATABASE = re.compile(
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?(?P<hosts>[^/?]*)(?:/(?P<database>[^?]*))?(?:\?(?P<options>.*))?"
)
_DATABASE_HOST = re.compile(rf"(?P<host>{_HOST}|%2[Ff][A-Za-z0-9._%-]*)?(?::(?P<port>[0-9]+))?")
_OPTIONS = {
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "dbname", "fallback_application_name",
    "gssdelegation", "gssencmode", "gsslib", "host", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle",
    "keepalives_interval", "krbsrvname", "load_balance_hosts", "max_protocol_version", "min_protocol_version",
    "options", "passfile", "password", "port", "require_auth", "requirepeer", "service", "sslcert", "sslcertmode",
    "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslmode", "sslnegotiation", "sslpassword", "sslrootcert",
    "sslsni", "ssl_max_protocol_version", "ssl_min_protocol_version", "target_session_attrs", "tcp_user_timeout",
    "user",
}  # fmt: skip
"""What libpq knows; it repeats an unknown one in its message."""
_SSL_MODES = ("verify_identity", "verify_ca", "disabled")
"""Of MySQL's own client; what encrypts without knowing whom it talks to is left out."""
_MYSQL_OPTIONS = ("ssl_mode", "ssl_ca", "ssl_cert", "ssl_key")


def without_login(address: str) -> str:
    """An address of a store, such as s3://key:secret@bucket/prefix?region=…, less its login and its options.

    Of a mistyped one, in which a secret can stand anywhere, what comes before the last @ goes.
    """
    scheme, slashes, rest = address.partition("://")
    if not slashes:
        scheme, rest = "", address
    return f"{scheme}{slashes}{rest.rpartition('@')[2].partition('?')[0]}"


@dataclass(frozen=True)
class PostgresAddress:
    """The parts of a Postgres URL, unescaped."""

    keywords: Mapping[str, str] = field(repr=False)
    """As libpq calls them; the password is among them."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may repeat: every value but the host, port, user and database."""
        shown = {"host", "hostaddr", "port", "user", "dbname", "connect_timeout", "target_session_attrs"}
        return tuple(value for name, value in self.keywords.items() if name not in shown and value)

    def __str__(self) -> str:
        known = self.keywords
        login = f"{known['user']}@" if "user" in known else ""
        port = f":{known['port']}" if "port" in known else ""
        return f"{login}{known.get('host', 'localhost')}{port}/{known.get('dbname', '')}"


@dataclass(frozen=True)
class MysqlAddress:
    """The parts of an address of MariaDB or MySQL, unescaped."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    ssl_mode: str = _SSL_MODES[0]
    """`verify_identity`: TLS, with a certificate for that host; `verify_ca`: for any; `disabled`: no TLS."""
    ssl_ca: str | None = None
    """Whom to trust (PEM); by default the system's authorities."""
    ssl_cert: str | None = None
    """Who we are (PEM), to a server that knows its clients by certificate."""
    ssl_key: str | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may repeat."""
        return tuple(filter(None, (self.password, self.ssl_ca, self.ssl_cert, self.ssl_key)))

    def __str__(self) -> str:
        return f"{self.user}@{self.host}:{self.port}/{self.database}"


class DatabaseUrl(SecretStr):
    """The URL of a database; printed as asterisks. Raises `ValueError` for one that is not well formed.

    `postgres` or `mysql` has its parts if its scheme is one of theirs; any other is for whoever knows that dialect.
    """

    def __init__(self, url: str) -> None:
        super().__init__(url)
        match = _SCHEME.match(url)
        if match is None:
            raise ValueError("it is no URL; write postgresql://user:password@host:5432/database or mariadb://…")
        self.scheme: str = match["scheme"]
        self.postgres: PostgresAddress | None = None
        if self.scheme in POSTGRES:
            if match["slashes"] is None:
                raise ValueError(f"two slashes must follow {self.scheme}:")
            self.postgres = _postgres(url[match.end() :])
        self.mysql: MysqlAddress | None = None
        if self.scheme in MYSQL:
            if match["slashes"] is None:
                raise ValueError(f"two slashes must follow {self.scheme}:")
            self.mysql = _mysql(url[match.end() :])

    @classmethod
    def read(cls, value: Any) -> Self:
        """From text, plain or secret."""
        if isinstance(value, cls):
            return value
        if isinstance(value, SecretStr):
            value = value.get_secret_value()
        if not isinstance(value, str):
            raise ValueError("it must be text")
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(cls.read, serialization=core_schema.to_string_ser_schema())


def _postgres(rest: str) -> PostgresAddress:
    match = _DATABASE.fullmatch(rest)
    if match is None:
        raise ValueError(_ESCAPE)
    hosts, ports = _hosts(match["hosts"])
    found = {
        "user": match["user"],
        "password": match["password"],
        "host": hosts,
        "port": ports,
        "dbname": match["database"],
    }
    keywords = {name: _unescaped(value, name) for name, value in found.items() if value}
    for option in (match["options"] or "").split("&"):
        name, assigned, value = option.partition("=")
        if not option:
            continue
        if not assigned or name not in _OPTIONS:
            raise ValueError("what follows its ? holds an option that Postgres does not know; see libpq's list of them")
        keywords[name] = _unescaped(value, name)
    if "@" in keywords.get("dbname", "") or "@" in keywords.get("host", ""):
        raise ValueError(_ESCAPE)
    if not keywords.get("port", "1").replace(",", "1").isdigit():
        raise ValueError("its port is not a number")
    return PostgresAddress(keywords)


def _mysql(rest: str) -> MysqlAddress:
    match = _DATABASE.fullmatch(rest)
    if match is None:
        raise ValueError(_ESCAPE)
    hosts, ports = _hosts(match["hosts"])
    if "," in hosts or "," in ports:
        raise ValueError("it names several hosts; name one replica, or the balancer before several")
    found = {name: _unescaped(match[name] or "", name) for name in ("user", "password", "database")}
    if not hosts or not found["user"] or not found["database"]:
        raise ValueError("it lacks a host, a user or a database; write mariadb://user:password@host:3306/database")
    if "@" in found["database"]:
        raise ValueError(_ESCAPE)
    options = {}
    for option in filter(None, (match["options"] or "").split("&")):
        name, assigned, value = option.partition("=")
        if not assigned or name not in _MYSQL_OPTIONS:
            raise ValueError(f"what follows its ? holds an option that is not one of {', '.join(_MYSQL_OPTIONS)}")
        options[name] = _unescaped(value, name)
    if options.get("ssl_mode", _SSL_MODES[0]) not in _SSL_MODES:
        raise ValueError(f"its ssl_mode is not one of {', '.join(_SSL_MODES)}")
    return MysqlAddress(_unescaped(hosts, "host"), int(ports or 3306), **found, **options)


_ESCAPE = (
    "it cannot be parsed; in user and password write @ as %40, / as %2F, : as %3A, % as %25, and name the host as "
    "host:port"
)


def _hosts(hosts: str) -> tuple[str, str]:
    """Hosts and ports as libpq wants them: lists of the same length, or nothing."""
    matches = [_DATABASE_HOST.fullmatch(one) for one in hosts.split(",")]
    names, ports = [], []
    for match in matches:
        if match is None:
            raise ValueError(_ESCAPE)
        names.append((match["host"] or "").strip("[]"))
        ports.append(_port(match["port"]) if match["port"] else "")
    return ",".join(names) if any(names) else "", ",".join(ports) if any(ports) else ""


def _unescaped(value: str, name: str) -> str:
    if re.search(r"%(?![0-9A-Fa-f]{2})", value):
        raise ValueError(f"its {name} holds a % that two hexadecimal digits do not follow; write % as %25")
    try:
        found = unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise ValueError(f"its {name} holds escapes that are no UTF-8") from None
    if "\0" in found or (name in ("host", "port") and re.search(r"\s", found)):
        raise ValueError(f"its {name} holds a character that cannot stand there")
    return found


def _port(text: str) -> str:
    if not 0 < int(text[:6]) < 65_536:
        raise ValueError("its port is not between 1 and 65535")
    return text


def http_url(url: str) -> str:
    """The same URL of a server that speaks HTTP. Raises `ValueError`."""
    _no_login(url)
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("it is no address; write http://host:port or https://host:port, without a query")
    if match["port"]:
        _port(match["port"])
    return url


def brokers(servers: str) -> str:
    """The same list of brokers. Raises `ValueError`."""
    _no_login(servers)
    for one in each(servers):
        match = _BROKER.fullmatch(one)
        if match is None:
            raise ValueError("it is no list of addresses; write host:port,host:port")
        _port(match["port"])
    return servers


def each(servers: str) -> list[str]:
    """The addresses of a list."""
    return [one.strip() for one in servers.split(",")]


def _no_login(address: str) -> None:
    if "@" in address:
        raise ValueError("an address is shown in logs, so it must not hold a login; set username and password instead")


def hidden(text: str, secrets: tuple[str, ...]) -> str:
    """The text with asterisks for the secrets, the longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        if len(secret) < 4:
            continue  # as likely a part of a word
        text = text.replace(secret, "***")
    return text
