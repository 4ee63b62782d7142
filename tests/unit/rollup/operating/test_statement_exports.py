"""What a replica was busy with between two looks: all of it, the heaviest by name."""

from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from fleetgauge.errors import Transient
from fleetgauge.rollup.operating.statement_exports import MOST, OTHER, Key, StatementsCollector, Totals, Work, rates
from fleetgauge.settings import Settings, SourceSettings

CHEAP, HEAVY, DASHBOARD = (Key(n, "app", f"SELECT {name}") for n, name in enumerate(("a", "b", "six months")))


def work(seconds: float, calls: int) -> Work:
    return seconds, calls, calls * 10, calls * 100, 0


def test_a_new_heavy_statement_is_seen_beside_totals_of_months() -> None:
    before = {CHEAP: work(1e6, 10**9)}
    after = {CHEAP: work(1e6 + 3, 10**9 + 6000), DASHBOARD: work(120, 4)}
    found = rates(before, after, 30)
    assert list(found) == [("app", DASHBOARD.statement), ("app", CHEAP.statement)]
    assert found["app", DASHBOARD.statement] == (4, 4 / 30, 40 / 30, 400 / 30, 0)
    assert abs(found["app", CHEAP.statement][0] - 0.1) < 1e-9


def test_parts_add_up_and_what_rests_is_not_told() -> None:
    many = {Key(n, "app", f"SELECT {n}"): work(n + 1, 1) for n in range(3 * MOST)}
    idle = {HEAVY: work(50, 5)}
    found = rates(idle, {**many, **idle}, 10)
    assert len(found) == MOST + 1 and ("app", OTHER) in found and ("app", HEAVY.statement) not in found
    assert abs(sum(one[0] for one in found.values()) - sum(one[0] for one in many.values()) / 10) < 1e-9


def test_a_reset_counts_from_nothing() -> None:
    assert rates({HEAVY: work(500, 50)}, {HEAVY: work(2, 1)}, 1)["app", HEAVY.statement][0] == 2


def test_a_source_that_does_not_answer_shows_nothing_and_goes_on_later() -> None:
    answers: list[Totals | Transient] = [
        {HEAVY: work(1, 1)},
        {HEAVY: work(4, 2)},
        Transient("away"),
        {HEAVY: work(9, 3)},
        {HEAVY: work(10, 4)},
    ]

    def read(name: str) -> Totals:
        assert name == "operations"
        answer = answers.pop(0)
        if isinstance(answer, Transient):
            raise answer
        return answer

    settings = Settings(sources={"operations": SourceSettings(url=SecretStr("postgresql://reader@127.0.0.1/x"))})
    collector = StatementsCollector(settings, read)
    registry = CollectorRegistry()
    registry.register(collector)
    labels = {"source": "operations", "login": "app", "statement": HEAVY.statement}
    seen = []
    for now_s in range(0, 50, 10):
        collector.refresh(float(now_s))
        seen.append(registry.get_sample_value("fleetgauge_source_statement_load", labels))
    assert seen == [None, 0.3, None, None, 0.1]
