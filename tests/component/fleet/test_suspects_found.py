"""Suspects on simulated companies whose truth is known: a small one always, the full check on demand."""

import pytest
from bench.suspects.company import Size
from bench.suspects.evaluate import best_plain_rule, gather, judged

UNSEEN = range(101, 111)


def test_a_small_company() -> None:
    company = gather(42, Size(vehicles=150, days=6, ageing=0.06, decoys=2))
    verdict = judged([company])
    assert len(company.stopped) >= 5
    assert verdict.recall >= 0.7 and verdict.precision >= 0.7, f"seed 42: {verdict}"
    assert verdict.f1 > best_plain_rule([company]).verdict.f1


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("decoys", [1.0, 2.0])
def test_ten_unseen_companies(decoys: float) -> None:
    companies = [gather(seed, Size(decoys=decoys)) for seed in UNSEEN]
    verdict, plain = judged(companies), best_plain_rule(companies)
    told = f"seeds {UNSEEN}, decoys {decoys}: {verdict}; {plain}"
    assert verdict.precision >= 0.9, told
    assert verdict.recall >= 0.9, told
    assert plain.verdict.f1 < 0.7
