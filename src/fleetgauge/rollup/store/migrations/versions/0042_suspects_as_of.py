"""The list of suspects as it stands on a day: one function for the command line, the report and the dashboards."""

from alembic import op

revision = "0042"
down_revision = "0041"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """It reads two weeks of the table by its index; the view has to look through all that is kept."""
    op.execute(
        """
        CREATE FUNCTION metrics.suspects(as_of date)
        RETURNS TABLE (vehicle text, score double precision, probability double precision, days bigint,
            last_stop date, because text, reasons text[], evidence jsonb)
        LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp
        BEGIN ATOMIC
            WITH own AS (
                SELECT d.* FROM fleetgauge.suspect_vehicle_day AS d
                WHERE d.date > suspects.as_of - 14 AND d.date <= suspects.as_of AND d.date > coalesce(
                    (SELECT max(r.repaired_on) FROM fleetgauge.suspect_repair AS r
                    WHERE r.vehicle = d.vehicle AND r.repaired_on <= suspects.as_of), '-infinity')
            ), scored AS (
                SELECT o.vehicle, max(o.prior) + sum(o.points) AS score, count(*) AS days, max(o.date) AS last_stop
                FROM own AS o GROUP BY o.vehicle
            )
            SELECT s.vehicle, s.score, 1 / (1 + exp(-s.score)), s.days, s.last_stop, coalesce(
                (SELECT o.date || ' ' || reason FROM own AS o, unnest(o.reasons) AS reason WHERE o.vehicle = s.vehicle
                ORDER BY split_part(reason, ' ', 1)::double precision DESC, o.date LIMIT 1), ''), ARRAY(
                SELECT o.date || ' ' || reason.said
                FROM own AS o, unnest(o.reasons) WITH ORDINALITY AS reason(said, place)
                WHERE o.vehicle = s.vehicle ORDER BY o.date, reason.place),
                (SELECT coalesce(jsonb_agg(trip.told ORDER BY o.date, trip.place), '[]')
                FROM own AS o, jsonb_array_elements(o.evidence) WITH ORDINALITY AS trip(told, place)
                WHERE o.vehicle = s.vehicle)
            FROM scored AS s
            WHERE s.score >= 0
            ORDER BY s.score DESC, s.vehicle;
        END;
        COMMENT ON FUNCTION metrics.suspects IS 'Vehicles whose score on a day is 0 or more, the highest first: over its
            last 14 days, since the last repair. Evidence: trips, times, events by id; neither a position nor a rider.'
        """
    )


def downgrade() -> None:
    """Drop it."""
    op.execute("DROP FUNCTION metrics.suspects")
