"""What the demo counts as a comparison."""

from fleetlab.demo.report import Check
from fleetlab.demo.verify import without_empty


def test_only_what_is_rare_may_have_nothing_to_compare() -> None:
    empty, rare = Check("rental by day: n", 0), Check("connectivity by day: n", 0)
    wrong, right = Check("connectivity by day: n", 0, ("1 too many",)), Check("connectivity by hour: n", 2)
    found = without_empty([empty, rare, wrong, right])
    assert found == [empty, wrong, right]
    assert [one.ok for one in found] == [False, False, True]
