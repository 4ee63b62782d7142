"""Only the longest finished beginning of a partition may be committed, whatever the order of completion."""

from hypothesis import given
from hypothesis import strategies as st

from fleetgauge.ingest.read.partition_offsets import PartitionOffsets, Span


def span(end: int, count: int = 1) -> Span:
    return Span("topic", 0, end, count, 0, 0)


@given(
    counts=st.lists(st.integers(1, 50), min_size=1, max_size=30),
    holes=st.lists(st.integers(0, 3), min_size=30, max_size=30),
    data=st.data(),
)
def test_commits_are_contiguous_and_never_go_back(counts: list[int], holes: list[int], data: st.DataObject) -> None:
    offsets = PartitionOffsets()
    spans, end = [], 0
    for count, hole in zip(counts, holes, strict=False):
        end += count + hole  # compaction and transaction markers leave holes
        spans.append(span(end, count))
    before = None
    waiting = list(spans)
    read = 0
    finished: set[int] = set()
    for position in data.draw(st.permutations(range(len(spans)))):
        while read <= position:
            offsets.read(waiting[read])
            read += 1
        spans[position].finished = True
        finished.add(position)
        beginning = 0
        while beginning in finished and beginning < read:
            beginning += 1
        assert offsets.committable == (spans[beginning - 1].end if beginning else None)
        assert before is None or offsets.committable >= before  # type: ignore[operator]
        before = offsets.committable
        assert offsets.outstanding == sum(s.count for s in spans[beginning:read])
    assert offsets.committable == end and offsets.outstanding == 0
    assert offsets.last is spans[-1]


def test_nothing_read_is_nothing_to_commit() -> None:
    assert PartitionOffsets().committable is None
