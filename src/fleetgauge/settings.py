"""Where the servers are and how to log in: environment variables over files of secrets over one TOML file.

Nothing else reads them.
"""

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NestedSecretsSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from fleetgauge.addresses import POSTGRES, DatabaseUrl, brokers, each, http_url
from fleetgauge.errors import Terminal
from fleetgauge.files import plain, toml_lines
from fleetgauge.files.text import Unreadable

CONFIG_VARIABLE = "FLEETGAUGE_CONFIG"
DEFAULT_CONFIG = "fleetgauge.toml"
AIRFLOW = ("AIRFLOW_CTX_DAG_ID", "AIRFLOW_CTX_DAG_RUN_ID")
"""What Airflow tells a task about itself."""
SECRETS_VARIABLE = "FLEETGAUGE_SECRETS_DIR"
"""A folder, as Docker and Kubernetes mount it, with a file for each secret, named like its variable."""


def _of_postgres(url: DatabaseUrl) -> DatabaseUrl:
    if url.postgres is None:
        raise ValueError(f"its scheme is not one of {', '.join(POSTGRES)}")
    return url


PostgresUrl = Annotated[DatabaseUrl, AfterValidator(_of_postgres)]


SHORTEST_KEY = 32
"""Characters of a key that nobody guesses."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class KafkaSettings(_Section):
    """How to reach Kafka."""

    bootstrap_servers: Annotated[str, AfterValidator(brokers)] = "127.0.0.1:9092"
    """`host:port`, with commas between."""
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = None
    username: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None
    """Whom to trust (PEM); by default the system's authorities."""
    cert_file: Path | None = None
    """Who we are, to a broker that knows its clients by certificate (PEM)."""
    key_file: Path | None = None
    """The key of `cert_file`, not encrypted; by default in the same file."""
    replay_key: SecretStr | None = None
    """Signs what `fleetgauge dlq replay` says of a record's first try; the same for it and for the consumers."""

    @property
    def brokers(self) -> list[str]:
        """The addresses, each `host:port`."""
        return each(self.bootstrap_servers)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.security_protocol.startswith("SASL"):
            needed = {name: getattr(self, name) for name in ("sasl_mechanism", "username", "password")}
            missing = [name for name, value in needed.items() if value is None]
            if missing:
                raise ValueError(f"{self.security_protocol} needs {', '.join(missing)} too")
        return self


class ElasticsearchSettings(_Section):
    """How to reach Elasticsearch."""

    url: Annotated[str, AfterValidator(http_url)] = "http://127.0.0.1:9200"
    api_key: SecretStr | None = None
    """As Elasticsearch gives it out under `encoded`; stands instead of username and password."""
    username: str | None = None
    password: SecretStr | None = None
    ca_file: Path | None = None
    request_timeout_s: float = 60.0
    start_limit_s: float = 30.0
    """How long a consumer that starts waits for a server that is only starting itself; then it ends with 75."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password go together; set both, or api_key instead")
        return self


class MetricsSettings(_Section):
    """The metrics database. `url` is the pipeline's login; `owner_url` is for `fleetgauge migrate` only."""

    url: PostgresUrl = DatabaseUrl("postgresql://fleetgauge@127.0.0.1:5432/metrics")
    owner_url: PostgresUrl | None = None


class SourceSettings(_Section):
    """One read replica. The primary's address belongs nowhere."""

    url: DatabaseUrl
    allow_primary: bool = False
    """A named danger: lets a run read a server that is not in recovery. Sets the gauge `fleetgauge_source_primary`."""
    max_transaction_age_s: float | None = None
    """Only for a source without a heartbeat: no transaction there ever lives longer than this, in seconds."""
    statement_timeout_s: float = 20.0
    """Keep it below the replica's `max_standby_streaming_delay`."""


class ClockSettings(_Section):
    """How far clocks may differ."""

    tolerance_s: Annotated[float, Field(gt=0, le=300)] = 10.0
    """A source that claims to be later than the other clocks by more than this, in seconds, is not believed."""


def _long(key: SecretStr) -> SecretStr:
    if len(key.get_secret_value()) < SHORTEST_KEY:
        raise ValueError(f"it is shorter than {SHORTEST_KEY} characters; make one with fleetgauge metrics key")
    return key


class RollupSettings(_Section):
    """What runs of metrics need besides their sources."""

    distinct_key: Annotated[SecretStr, AfterValidator(_long)] | None = None
    """Of the fingerprints by which `distinct` measures tell persons apart; the same wherever runs are made. Another
    key makes another version of these metrics."""


class ExportSettings(_Section):
    """What the DAG `fleetgauge_export` writes every night."""

    into: str | None = None
    """A folder or the URI of a store, such as s3://bucket/prefix, as Airflow's ObjectStoragePath reads it; None:
    nothing is exported."""
    connection: str | None = None
    """Airflow's connection with the store's login."""

    @field_validator("into")
    @classmethod
    def _without_password(cls, value: str | None) -> str | None:
        login = (value or "").partition("://")[2].rpartition("@")[0]
        if ":" in login or "=" in (value or "").partition("?")[2]:
            raise ValueError("holds a login or options, which logs would show; give them by Airflow's connection")
        return value

    metrics: tuple[str, ...] = ()
    """Whose day rows; none named: all."""
    consumers: tuple[str, ...] = ()
    """Whose raw days."""
    days: Annotated[int, Field(ge=1, le=400)] = 8
    """So many days back are written anew, for events may come late: at least as many as the longest `late` of a metric,
    and one."""


class LogSettings(_Section):
    """What processes write to stderr."""

    format: Literal["auto", "json", "text"] = "auto"
    """One JSON object a line, or text for people; auto: text on a terminal, JSON elsewhere."""


class Settings(BaseSettings):
    """All of it; frozen, and safe to print (secrets are masked)."""

    model_config = SettingsConfigDict(env_prefix="FLEETGAUGE_", env_nested_delimiter="__", frozen=True, extra="forbid")

    kafka: KafkaSettings = KafkaSettings()
    elasticsearch: ElasticsearchSettings = ElasticsearchSettings()
    metrics: MetricsSettings = MetricsSettings()
    clocks: ClockSettings = ClockSettings()
    rollup: RollupSettings = RollupSettings()
    export: ExportSettings = ExportSettings()
    logs: LogSettings = LogSettings()
    sources: dict[str, SourceSettings] = Field(default_factory=dict)
    content: Path = Path()
    """The folder that holds `schemas/`, `consumers/`, `sql/` and `dashboards/`."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 (pydantic's signature)
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order of precedence: arguments, environment, secret files, TOML."""
        path = Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))
        toml = TomlConfigSettingsSource(settings_cls, path)
        secrets = NestedSecretsSettingsSource(
            file_secret_settings,
            secrets_dir=os.environ.get(SECRETS_VARIABLE),
            secrets_dir_missing="error",
        )
        return init_settings, env_settings, secrets, toml

    def source(self, name: str) -> SourceSettings:
        """The replica called `name`; raises `Terminal` naming the known ones."""
        try:
            return self.sources[name]
        except KeyError:
            known = ", ".join(sorted(self.sources)) or "none"
            raise Terminal(
                f"source {name!r} is not configured (known: {known}); "
                f"add [sources.{name}] to {DEFAULT_CONFIG} or set FLEETGAUGE_SOURCES__{name.upper()}__URL"
            ) from None


def load(path: Path | None = None) -> Settings:
    """Read the settings, `path` standing in for `FLEETGAUGE_CONFIG`. Raises `Terminal` naming each bad key."""
    named = path or (Path(os.environ[CONFIG_VARIABLE]) if CONFIG_VARIABLE in os.environ else None)
    if named is not None and not named.is_file():
        raise Terminal(f"configuration file {named} does not exist; create it or unset {CONFIG_VARIABLE}")
    if path is not None:
        os.environ[CONFIG_VARIABLE] = str(path)  # child processes and Airflow tasks read the same file
    file = named or Path(DEFAULT_CONFIG)
    try:
        text = toml_lines.check(file) if file.exists() else ""
    except Unreadable as error:
        raise Terminal(f"{file}:{error.line}: {error}") from None
    try:
        return Settings()
    except ValidationError as error:
        # `include_input=False`: the rejected value may be a secret.
        found = error.errors(include_input=False, include_url=False)
        problems = "; ".join(f"{_location(one['loc'], file, text)}{_said(one)}" for one in found)
        raise Terminal(f"configuration is not valid: {problems}") from None
    except SettingsError as error:
        raise Terminal(f"configuration is not valid: {error}") from None


def log_format() -> Literal["auto", "json", "text"]:
    """`logs.format`; auto where settings cannot be read, which whoever needs them then says."""
    try:
        return load().logs.format
    except Terminal:
        return "auto"


def _location(loc: tuple[int | str, ...], file: Path, text: str) -> str:
    """Where a bad key comes from, by the order of precedence, and the key."""
    key = ".".join(map(str, loc))
    if _variable(key) in os.environ:
        return f"variable {_variable(key)}: {key}: "
    folder = os.environ.get(SECRETS_VARIABLE)
    if folder is not None and (Path(folder) / _variable(key)).is_file():
        return f"file {_variable(key)} in {folder}: {key}: "
    line = toml_lines.line_of(text, loc)
    return f"{file}:{line}: {key}: " if line is not None else f"{key}: " if key else ""


def _said(error: Any) -> str:
    loc = error["loc"]
    if error["type"] != "extra_forbidden":
        return plain.said(error, secret=True)
    owner: Any = Settings
    for part in loc[:-1]:
        owner = SourceSettings if owner is None else _section(owner, str(part))
    known = owner.model_fields if owner is not None else {}
    return f"is not a known key{plain.nearest(str(loc[-1]), known) or '; remove it'}"


def _section(owner: type[BaseModel], name: str) -> type[BaseModel] | None:
    """The type of a section; None for what holds sections by name."""
    found = owner.model_fields[name].annotation if name in owner.model_fields else None
    return found if isinstance(found, type) and issubclass(found, BaseModel) else None


def airflow_run() -> str | None:
    """DAG and run by which Airflow has started this process; None outside of a task."""
    found = [os.environ[name] for name in AIRFLOW if os.environ.get(name)]
    return " ".join(found) or None


def origins() -> dict[str, str]:
    """Dotted key → where its value comes from, of every key that is set somewhere. Never a value."""
    path = Path(os.environ.get(CONFIG_VARIABLE, DEFAULT_CONFIG))
    folder = os.environ.get(SECRETS_VARIABLE)
    secrets = NestedSecretsSettingsSource(SecretsSettingsSource(Settings), secrets_dir=folder)
    found = dict.fromkeys(_leaves(TomlConfigSettingsSource(Settings, path)()), str(path))
    found |= {key: f"file {_variable(key)} in {folder}" for key in _leaves(secrets())}
    return found | {key: f"variable {_variable(key)}" for key in _leaves(EnvSettingsSource(Settings)())}


def _variable(key: str) -> str:
    return f"FLEETGAUGE_{key.replace('.', '__').upper()}"


def _leaves(values: Mapping[str, Any], above: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{above}{name}.")
        else:
            yield f"{above}{name}"
