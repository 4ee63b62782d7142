"""What schemas, types and functions are for, beside each in the catalogue."""

from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None

SCHEMAS = {
    "metrics": "What readers read: views of every metric and grain, functions over a range, and what there is to read"
    " (metric, dimension, measure).",
    "fleetgauge": "The pipeline''s own: ledger, run log, prices; and the functions by which views and queries read"
    " sketches.",
    "store": "Tables of metrics, one for each version and level; readers have the views of schema metrics.",
}
TYPES = {
    "sketch": "How values are spread: buckets of 1 %, and how many values each has. Read it by fleetgauge.quantile.",
    "tally": "Exact counts by whole number: values, and how often each came. Read it by fleetgauge.tally_quantile.",
    "distinct_bits": "A set of different values: fingerprints, or a bitmap of coupons. Read it by fleetgauge.distinct.",
    "distinct_sketch": "A set of different values as releases before migration 0010 kept it.",
}
FUNCTIONS = {
    "billed_steps(text, integer, integer)": "Whole steps that one message is billed as, by its size as text; NULL where"
    " that is no number.",
    "date_start(date, text)": "The first instant of a local date in a time zone.",
    "day_start(timestamptz, text)": "The first instant of the local day that an instant lies in.",
    "day_end(timestamptz, text)": "The first instant after the local day that an instant lies in.",
    "hour_start(timestamptz, text)": "The beginning of the hour that an instant lies in: a full local hour, or a change"
    " of the zone''s offset.",
    "hour_end(timestamptz, text)": "The end of that hour.",
    "offset_change(timestamptz, timestamptz, text)": "The first change of a zone''s offset in a stretch of time; NULL:"
    " none.",
    "utc_offset(timestamptz, text)": "How far local time is ahead of UTC at an instant.",
    "window_start(timestamptz, text, text)": "The beginning of the minute, hour or day that an instant lies in.",
    "window_end(timestamptz, text, text)": "The end of the minute, hour or day that an instant lies in.",
    "window_ceil(timestamptz, text, text)": "The first beginning of a minute, hour or day at or after an instant.",
    "window_floor(timestamptz, text, text)": "The last beginning of a minute, hour or day at or before an instant.",
    "range_kept(text, timestamptz)": "From when on a range has rows of each grain that a metric keeps.",
    "distinct_bitmap(integer[])": "The bitmap of coupons of fingerprints.",
    "distinct_fold(fleetgauge.distinct_sketch[])": "The union of sets as releases before migration 0010 kept them.",
    "distinct_merged(fleetgauge.distinct_bits[])": "The union of sets.",
    "sketch_count(fleetgauge.sketch)": "How many values a sketch has seen.",
    "sketch_merged(fleetgauge.sketch[])": "The sketch of the values of several.",
    "sketch_value(bigint)": "The value that stands for a bucket of a sketch, within 1 %.",
    "tally_collect(fleetgauge.tally[])": "The tally of the values of several.",
    "tally_count(fleetgauge.tally)": "How many values a tally has counted.",
}
AGGREGATES = {
    "distinct_merge(fleetgauge.distinct_bits)": "The union of sets over rows; count it by fleetgauge.distinct.",
    "distinct_merge(fleetgauge.distinct_sketch)": "As above, of sets as releases before migration 0010 kept them.",
    "sketch_merge(fleetgauge.sketch)": "The sketch of the values of all rows; read it by fleetgauge.quantile.",
}


def upgrade() -> None:
    """Say it."""
    said = [(f"SCHEMA {name}", text) for name, text in SCHEMAS.items()]
    said += [(f"DOMAIN fleetgauge.{name}", text) for name, text in TYPES.items()]
    said += [(f"FUNCTION fleetgauge.{name}", text) for name, text in FUNCTIONS.items()]
    said += [(f"AGGREGATE fleetgauge.{name}", text) for name, text in AGGREGATES.items()]
    for what, text in said:
        op.execute(f"COMMENT ON {what} IS '{text}'")


def downgrade() -> None:
    """Leave it: nobody is harmed by a comment."""
