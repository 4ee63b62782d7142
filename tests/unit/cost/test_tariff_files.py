from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pytest

from fleetgauge.cost.tariff import TariffError, load_tariffs

PROJECT = Path(__file__).parents[3]


def entry(carrier="skt", valid_from="2026-01-01T00:00:00+09:00", price='"0.25"', more=""):
    return (
        f"  - {{carrier: {carrier}, valid_from: {valid_from}, overhead_bytes: 81, step_bytes: 512, "
        f"price: {price}, rounding: message{more}}}\n"
    )


@pytest.fixture
def content(tmp_path):
    def write(*entries: str, name="kr.yaml", zone="Asia/Seoul") -> Path:
        folder = tmp_path / "sql" / "tariffs"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(f"currency: KRW\ntime_zone: {zone}\nentries:\n" + "".join(entries))
        return tmp_path

    return write


def problems(root: Path) -> list[str]:
    with pytest.raises(TariffError) as caught:
        load_tariffs(root)
    return list(caught.value.problems)


def test_the_projects_own_tariffs_price_every_carrier_today():
    tariffs = load_tariffs(PROJECT)
    assert {t.carrier for t in tariffs if t.valid_to is None} == {"skt", "kt", "lguplus"}
    assert len({t.step_bytes for t in tariffs}) == 3


def test_an_entry_ends_where_the_carriers_next_begins(content):
    root = content(
        entry(valid_from="2026-06-01T00:00:00+09:00", price='"0.20"'),
        entry(carrier="kt"),
        entry(valid_from="2026-01-01T00:00:00+09:00"),
    )
    kt, first, second = load_tariffs(root)
    assert (kt.carrier, kt.valid_to) == ("kt", None)
    assert first.valid_to == second.valid_from == datetime(2026, 5, 31, 15, tzinfo=UTC)
    assert second.valid_to is None
    assert (first.price, second.price) == (Decimal("0.25"), Decimal("0.20"))


def test_a_contract_may_end_without_another(content):
    root = content(entry(more=", valid_to: 2026-02-01T00:00:00+09:00"), entry(valid_from="2026-03-01T00:00:00+09:00"))
    first, _ = load_tariffs(root)
    assert first.valid_to == datetime(2026, 1, 31, 15, tzinfo=UTC)


def test_no_folder_is_no_tariff(tmp_path):
    assert load_tariffs(tmp_path) == ()


def test_all_faults_of_all_files_are_told_at_once(content):
    content(entry(price="0.25"), entry(valid_from="2026-01-01T00:30:00+09:00"), name="a.yaml")
    root = content("  - {carrier: kt}\n", name="b.yaml")
    found = problems(root)
    assert any(p.startswith("sql/tariffs/a.yaml:4: entry 1: price") and "quotes" in p for p in found)
    assert any(
        p.startswith("sql/tariffs/a.yaml:5: entry 2: valid_from") and "full hour in Asia/Seoul" in p for p in found
    )
    assert any(p.startswith("sql/tariffs/b.yaml:4: entry 1: step_bytes") for p in found)


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (entry(valid_from="2026-01-01T00:00:00"), "offset from UTC"),
        (entry(more=", vat: 10"), "vat: is not a known key"),
        (entry(price='"-1"'), "price"),
        (entry(price='"NaN"'), "price"),
        (entry(more=", valid_to: 2026-01-01T00:00:00+09:00"), "valid_to must come after valid_from"),
        (entry(more=", allowance_bytes: 100"), "allowance_bytes goes with"),
        (entry(more=", sims: 3"), "sims decides nothing"),
        (entry(more=", base_fee: 3"), "quotes"),
        (entry(more=", currency: USD"), "currency: stands at the head of the file"),
        (entry().replace("price:", "price_krw:"), "price_krw: is called price now"),
        (entry(valid_from="2026-01-01T10:00:00+09:00", more=', base_fee: "1"'), "within a day of Asia/Seoul"),
        (entry().replace("rounding: message", "rounding: call"), "rounding"),
        (entry().replace("step_bytes: 512", "step_bytes: 0"), "step_bytes"),
    ],
)
def test_refused(content, line, told):
    assert any(told in p for p in problems(content(line)))


def test_a_tariff_by_sim_ends_at_midnight_too(content):
    by_day = entry().replace("rounding: message", "rounding: sim_day")
    assert len(load_tariffs(content(by_day, entry(valid_from="2026-05-01T00:00:00+09:00")))) == 2
    (problem,) = problems(content(by_day, entry(valid_from="2026-05-01T18:00:00+09:00")))
    assert "kr.yaml:4: skt: valid_to in effect is 2026-05-01T18:00:00+09:00" in problem


def test_a_second_dimension_has_entries_of_its_own(content):
    home, abroad = load_tariffs(content(entry(), entry(price='"9"', more=", price_class: roaming")))
    assert (home.price_class, abroad.price_class) == ("", "roaming")
    assert home.valid_to is abroad.valid_to is None


def test_two_currencies_are_refused(content):
    root = content(entry(), name="a.yaml")
    (root / "sql" / "tariffs" / "b.yaml").write_text(
        "currency: USD\ntime_zone: Asia/Seoul\nentries:\n" + entry(carrier="kt")
    )
    (problem,) = problems(root)
    assert "sql/tariffs/a.yaml:4" in problem and "in KRW" in problem and "in USD" in problem


def test_two_entries_from_the_same_instant_are_refused(content):
    root = content(entry(), entry(valid_from="2025-12-31T15:00:00+00:00", price='"9"'))
    assert any("two entries" in p for p in problems(root))


def test_overlapping_entries_are_refused_across_files(content):
    content(entry(more=", valid_to: 2026-05-01T00:00:00+09:00"), name="a.yaml")
    root = content(entry(valid_from="2026-04-01T00:00:00+09:00"), name="b.yaml")
    assert any("overlaps" in p for p in problems(root))


def test_a_full_hour_is_one_of_the_files_own_zone(content):
    half_past = "2026-01-01T00:30:00+00:00"
    assert load_tariffs(content(entry(valid_from=half_past), zone="Asia/Kolkata"))
    assert problems(content(entry(valid_from=half_past), zone="Asia/Seoul"))


def test_what_is_not_yaml_is_one_line(content):
    root = content("  - {carrier: [}\n")
    (problem,) = problems(root)
    assert problem.startswith("sql/tariffs/kr.yaml:4: is not YAML") and "\n" not in problem
