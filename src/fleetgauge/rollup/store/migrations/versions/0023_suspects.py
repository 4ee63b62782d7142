"""Vehicles that may stop while somebody rides them, by day; what mechanics found; how often the list was right."""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

COLUMNS = {
    "date": "Day of the trips, in the time zone of sql/fleet/suspects.yaml.",
    "vehicle": "Id of the device.",
    "score": "Log-odds that it stops while riding, over 14 days or since its last repair; a suspect from 0 on.",
    "probability": "The score as a probability.",
    "suspect": "Whether the score is 0 or more.",
    "points": "What this day adds to the score.",
    "reasons": "What speaks for (+) and against (-) a sudden stop, in words, with points.",
    "evidence": "Trips, times (ms since the epoch), events by id. Neither a position nor a rider.",
    "repaired_on": "The next day, from this one on, on which a mechanic looked at the vehicle.",
    "found": "Whether the mechanic found a fault then.",
    "method": "Version of the method (sql/fleet and code) that gave the points.",
}
PRECISION = {
    "month": "Month of the repairs, its first day.",
    "repaired": "Vehicles that a mechanic looked at, each day once.",
    "suspects": "Those of them that were suspects on that day.",
    "found": "Suspects with a fault.",
    "precision": "found / suspects; NULL without a suspect.",
    "missed": "Vehicles with a fault that were no suspects.",
}


def upgrade() -> None:
    """Tables for the engine, views for everybody."""
    op.execute(
        """
        CREATE TABLE fleetgauge.suspect_day (
            date date PRIMARY KEY,
            judged_at timestamptz NOT NULL DEFAULT now(),
            method text NOT NULL,
            documents bigint NOT NULL,
            trips bigint NOT NULL,
            unheard bigint NOT NULL,
            trips_changed_at timestamptz
        );
        COMMENT ON TABLE fleetgauge.suspect_day IS
            'Days whose trips were judged, and what of: a day whose documents, trips or method differ is judged anew.
            unheard: trips of which no device reported anything; they are not judged.';
        CREATE TABLE fleetgauge.suspect_vehicle_day (
            date date NOT NULL,
            vehicle text COLLATE "C" NOT NULL,
            method text NOT NULL,
            prior double precision NOT NULL,
            points double precision NOT NULL,
            reasons text[] NOT NULL,
            evidence jsonb NOT NULL,
            PRIMARY KEY (date, vehicle)
        );
        CREATE INDEX ON fleetgauge.suspect_vehicle_day (vehicle, date);
        COMMENT ON TABLE fleetgauge.suspect_vehicle_day IS
            'Vehicles that stood for long at the end of a trip of the day, with points for and against a sudden stop.';
        CREATE TABLE fleetgauge.suspect_repair (
            vehicle text COLLATE "C" NOT NULL,
            repaired_on date NOT NULL,
            found boolean NOT NULL,
            score double precision,
            marked_at timestamptz NOT NULL DEFAULT now(),
            PRIMARY KEY (vehicle, repaired_on)
        );
        COMMENT ON TABLE fleetgauge.suspect_repair IS
            'What a mechanic found, and the score that the vehicle had; points up to that day count no more then.';
        GRANT SELECT, INSERT, UPDATE, DELETE ON fleetgauge.suspect_day, fleetgauge.suspect_vehicle_day,
            fleetgauge.suspect_repair TO fleetgauge_writer;
        CREATE VIEW metrics.suspect_vehicle_day AS
        SELECT date, vehicle, score, 1 / (1 + exp(-score)) AS probability, score >= 0 AS suspect, points, reasons,
            evidence, repaired_on, found, method
        FROM (
            SELECT d.*, r.repaired_on, r.found,
                d.prior + sum(d.points) OVER (
                    PARTITION BY d.vehicle, before.repairs ORDER BY d.date
                    RANGE BETWEEN '13 days' PRECEDING AND CURRENT ROW
                ) AS score
            FROM fleetgauge.suspect_vehicle_day AS d
            CROSS JOIN LATERAL (
                SELECT count(*) AS repairs FROM fleetgauge.suspect_repair AS r
                WHERE r.vehicle = d.vehicle AND r.repaired_on < d.date
            ) AS before
            LEFT JOIN LATERAL (
                SELECT r.repaired_on, r.found FROM fleetgauge.suspect_repair AS r
                WHERE r.vehicle = d.vehicle AND r.repaired_on >= d.date ORDER BY r.repaired_on LIMIT 1
            ) AS r ON true
        ) AS scored;
        COMMENT ON VIEW metrics.suspect_vehicle_day IS
            'Vehicles that may stop while somebody rides them: a row for each day on which one stood for long.';
        CREATE VIEW metrics.suspect_precision AS
        SELECT date_trunc('month', repaired_on)::date AS month, count(*) AS repaired,
            count(*) FILTER (WHERE score >= 0) AS suspects,
            count(*) FILTER (WHERE score >= 0 AND found) AS found,
            (count(*) FILTER (WHERE score >= 0 AND found))::numeric
                / nullif(count(*) FILTER (WHERE score >= 0), 0) AS precision,
            count(*) FILTER (WHERE found AND coalesce(score, -1) < 0) AS missed
        FROM fleetgauge.suspect_repair
        GROUP BY 1;
        COMMENT ON VIEW metrics.suspect_precision IS 'How often mechanics found a fault in suspects, by month.';
        GRANT SELECT ON metrics.suspect_vehicle_day, metrics.suspect_precision TO fleetgauge_viewer, fleetgauge_writer;
        """
    )
    for view, columns in (("suspect_vehicle_day", COLUMNS), ("suspect_precision", PRECISION)):
        for name, meaning in columns.items():
            op.execute(f"COMMENT ON COLUMN metrics.{view}.{name} IS '{meaning}'")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP VIEW metrics.suspect_precision")
    op.execute("DROP VIEW metrics.suspect_vehicle_day")
    for table in ("suspect_repair", "suspect_vehicle_day", "suspect_day"):
        op.execute(f"DROP TABLE fleetgauge.{table}")
