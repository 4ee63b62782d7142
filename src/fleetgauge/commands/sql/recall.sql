-- What is already known of the batch's commands joins the batch, so that one rule merges new with new and new with old.
-- Whole commands, not only the attempts at hand: a new attempt changes which one is the last.
INSERT INTO staged_event ({columns}, disagrees, known)
SELECT {stored}, e.disagrees, true
FROM fleetgauge.command_event AS e
WHERE (e.device_id, e.command_id) IN (SELECT s.device_id, s.command_id FROM staged_event AS s)
