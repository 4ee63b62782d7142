-- One row for each charge, tried or made, and each refund. The zone is the rental's own, written once at its start.
SELECT
    p.paid_at,
    p.updated_at,
    p.kind,
    p.status,
    p.amount_krw,
    r.zone_code
FROM payments AS p
INNER JOIN rentals AS r ON r.id = p.rental_id
