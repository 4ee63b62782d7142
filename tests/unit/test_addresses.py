"""Addresses are taken apart once; what is said of a bad one never repeats it, wherever a mistyped password landed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from fleetgauge.addresses import DatabaseUrl, brokers, each, hidden, http_url
from fleetgauge.errors import Terminal
from fleetgauge.settings import ElasticsearchSettings, KafkaSettings, MetricsSettings, Settings, SourceSettings, load

SECRET = "Tr0ub4dor"


@pytest.mark.parametrize(
    ("url", "shown", "keywords"),
    [
        ("postgresql://u:p%40ss@h:1/db", "u@h:1/db", {"password": "p@ss", "host": "h", "port": "1"}),
        ("postgres://u@h1:1,h2:2/db", "u@h1,h2:1,2/db", {"host": "h1,h2", "port": "1,2"}),
        ("postgresql://u:a?b#c@[::1]/db", "u@::1/db", {"password": "a?b#c", "host": "::1"}),
        ("postgresql:///db?host=/run/pg&sslmode=require", "/run/pg/db", {"sslmode": "require", "dbname": "db"}),
        ("postgresql://%2Frun%2Fpg/db", "/run/pg/db", {"host": "/run/pg"}),
        ("postgresql://h", "h/", {"host": "h"}),
    ],
)
def test_the_parts_of_a_database_are_those_of_libpq(url: str, shown: str, keywords: dict[str, str]) -> None:
    found = DatabaseUrl(url).postgres
    assert found is not None and str(found) == shown
    assert keywords.items() <= found.keywords.items()
    assert "p@ss" not in f"{found!r} {DatabaseUrl(url)!r} {found}"


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1))
def test_any_password_comes_through_when_it_is_escaped(password: str) -> None:
    from urllib.parse import quote

    found = DatabaseUrl(f"postgresql://u:{quote(password, safe='')}@h/d").postgres
    assert found is not None and found.keywords["password"] == password


BAD = [
    f"postgresql:/u:{SECRET}@h/d",
    f"postgresql//u:{SECRET}@h/d",
    f"postgresqll://u:{SECRET}@h/d",
    f"Postgresql://u:{SECRET}@h/d",
    f"mssql://u:{SECRET}@h/d",
    f"host=h user=u password={SECRET}",
    SECRET,
    "",
    f"postgresql://u:%{SECRET}@h/d",
    f"postgresql://u:{SECRET}%@h/d",
    f"postgresql://u:%FF{SECRET}@h/d",
    f"postgresql://u:{SECRET}%00@h/d",
    f"postgresql://u:x@{SECRET}@h/d",
    f"postgresql://u:1/{SECRET}@h/d",
    f"postgresql://u:{SECRET}/x@h/d",
    f"postgresql://u:{SECRET}:h/d",
    f"postgresql://u:{SECRET}",
    f"postgresql://u:{SECRET} @h:x/d",
    f"postgresql://h:{SECRET}/d",
    f"postgresql://h/d?{SECRET}",
    f"postgresql://h/d?{SECRET}=1",
    f"postgresql://h/d?passwrod={SECRET}",
    f"postgresql://h/d?password=%{SECRET}",
    f"postgresql://u:{SECRET}@h:99999/d",
    f"postgresql://u:{SECRET}@h/d?port=x",
]


@pytest.mark.parametrize("bad", BAD)
@pytest.mark.parametrize("key", ["metrics.url", "metrics.owner_url"])
def test_a_bad_database_is_refused_by_its_key(bad: str, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"FLEETGAUGE_{key.replace('.', '__').upper()}", bad)
    with pytest.raises(Terminal, match=key) as told:
        load()
    assert SECRET not in str(told.value)
    assert told.value.__cause__ is None and told.value.__suppress_context__  # a traceback would hold the input


@pytest.mark.parametrize("bad", [one for one in BAD if not one.startswith(("postgresqll", "mssql"))])
def test_a_bad_source_is_refused_by_its_key(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETGAUGE_SOURCES__OPERATIONS__URL", bad)
    with pytest.raises(Terminal, match=r"sources\.operations\.url") as told:
        load()
    assert SECRET not in str(told.value)


def test_a_source_of_an_unknown_kind_is_refused_when_it_is_opened() -> None:
    from fleetgauge.rollup.sources.opened import open_source

    for bad in (f"mssql://u:{SECRET}@h/d", f"{SECRET.lower()}://h/d"):
        settings = Settings(sources={"operations": SourceSettings(url=DatabaseUrl(bad))})
        with pytest.raises(Terminal, match=r"sources\.operations\.url") as told:
            open_source(settings, "operations")
        assert SECRET.lower() not in str(told.value).lower()


@pytest.mark.parametrize(
    "bad",
    [
        SECRET, f"http://u:{SECRET}@h:9200", f"http//h:{SECRET}", f"htp://{SECRET}", f"http://h:{SECRET}",
        f"http://h:9200/?token={SECRET}", f"http://h:9200#{SECRET}", f"http://h:99999/{SECRET}", f"http://h {SECRET}",
    ],
)  # fmt: skip
def test_a_bad_address_of_elasticsearch_is_refused_by_its_key(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETGAUGE_ELASTICSEARCH__URL", bad)
    with pytest.raises(Terminal, match=r"elasticsearch\.url") as told:
        load()
    assert SECRET not in str(told.value)


@pytest.mark.parametrize("bad", [SECRET, f"h:{SECRET}", f"u:{SECRET}@h:9092", f"h:9092,{SECRET}", f"h:1 {SECRET}"])
def test_bad_brokers_are_refused_by_their_key(bad: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEETGAUGE_KAFKA__BOOTSTRAP_SERVERS", bad)
    with pytest.raises(Terminal, match=r"kafka\.bootstrap_servers") as told:
        load()
    assert SECRET not in str(told.value)


def test_good_addresses_stay_what_they_were() -> None:
    for url in ("http://127.0.0.1:9200", "https://es.example/prefix", "http://[::1]:9200/", "https://es"):
        assert ElasticsearchSettings(url=url).url == http_url(url) == url
    assert KafkaSettings(bootstrap_servers="a:1, b_2:2").brokers == each(brokers("a:1, b_2:2")) == ["a:1", "b_2:2"]
    secret = MetricsSettings(url=SecretStr("postgresql://u:p@h/d")).url  # type: ignore[arg-type]
    assert isinstance(secret, DatabaseUrl) and secret.get_secret_value() == "postgresql://u:p@h/d"
    assert DatabaseUrl("sqlite:/tmp/x").postgres is None


def test_secrets_are_hidden_in_what_others_say() -> None:
    assert hidden('invalid value "hunter2"', ("hunter2", "x")) == 'invalid value "***"'
