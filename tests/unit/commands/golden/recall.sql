-- What is already known of the batch's commands joins the batch, so that one rule merges new with new and new with old.
-- Whole commands, not only the attempts at hand: a new attempt changes which one is the last.
INSERT INTO staged_event (device_id, command_id, attempt, step, at, requested_at, deadline_at, command_type, vehicle_model, firmware, carrier, sim, result, error_code, bytes, event_id, disagrees, known)
SELECT e.device_id, e.command_id, e.attempt, e.step, e.at, e.requested_at, e.deadline_at, e.command_type, e.vehicle_model, e.firmware, e.carrier, e.sim, e.result, e.error_code, e.bytes, e.event_id, e.disagrees, true
FROM fleetgauge.command_event AS e
WHERE (e.device_id, e.command_id) IN (SELECT s.device_id, s.command_id FROM staged_event AS s)
