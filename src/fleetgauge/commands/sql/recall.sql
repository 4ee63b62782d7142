-- What is already known of the batch's commands joins the batch, so that one rule merges new with new and new with old.
-- Whole commands, not only the attempts at hand: a new attempt changes which one is the last.
INSERT INTO command_fact
SELECT
    a.command_id, a.attempt, a.described_by, a.command_type, a.device_id, a.vehicle_model, a.firmware, a.carrier, a.sim,
    a.requested_at, a.deadline_at, a.sent_at, a.sent_bytes, a.delivered_at, a.delivered_bytes,
    a.responded_at, a.responded_bytes, a.result, a.error_code
FROM fleetgauge.command_attempt AS a
WHERE a.command_id IN (SELECT f.command_id FROM command_fact AS f)
