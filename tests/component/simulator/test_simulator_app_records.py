"""What the app writes beside rentals: the books count what is written, and rides are what they were."""

from collections import Counter

from fleetlab.simulator import Timeline, Truth


def test_each_rental_has_one_request_that_became_it_and_knows_which_of_its_riders_it_is(small: Timeline) -> None:
    last: dict[int, int] = {}
    for rental in small.trips.rentals:
        records = small.app_records[rental.number]
        assert records.rider_rental == last.get(rental.rider.number, records.rider_rental - 1) + 1
        last[rental.rider.number] = records.rider_rental
        *before, ride = records.requests
        assert ride.outcome == "ride"
        assert ride.requested_ms < rental.started_ms
        assert all(one.requested_ms < ride.requested_ms and one.outcome != "ride" for one in before)
    everything = small.app_records.values()
    assert any(records.refused_charges for records in everything)
    assert {one.outcome for records in everything for one in records.requests} == {"ride", "failed", "abandoned"}


def test_the_books_count_what_was_written(small: Timeline, small_truth: Truth) -> None:
    started = [r for r in small.trips.rentals if r.started_ms <= small.live_ms]
    ended = [r for r in started if r.ended_ms <= small.live_ms]
    payments = small_truth.payments("day")
    charged = [cell for (_, kind), cell in payments.items() if kind == "charge"]
    refused = sum(small.app_records[r.number].refused_charges for r in ended)
    assert sum(krw for _, _, krw in charged) == sum(r.fare_krw for r in ended)
    assert (sum(n for n, _, _ in charged), sum(n for _, n, _ in charged)) == (len(ended) + refused, refused)
    outcomes: Counter[str] = sum(small_truth.unlocks("hour").values(), Counter())
    assert outcomes["ride"] == len(started)
    riders = small_truth.riders("day")
    assert sum(first for first, *_ in riders.values()) == sum(
        small.app_records[r.number].rider_rental == 1 for r in started
    )
    events: Counter[str] = sum(small_truth.state_events("day").values(), Counter())
    assert events["trip_start"] == len(started)
    errors = [code for said in small_truth.reported("device_error", "hour").values() for code in said]
    assert len(errors) == small_truth.event_counts()["device_error"]
    assert all(code.isupper() for code in errors)
    assert {said.split()[0] for cell in small_truth.reported("tip_over", "day").values() for said in cell} == {
        "true",
        "false",
    }
