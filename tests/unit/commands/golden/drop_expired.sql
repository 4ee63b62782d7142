-- What belongs to a partition that retention has dropped would come back as a part of its command.
DELETE FROM staged_event
WHERE requested_at < (SELECT kept_from FROM fleetgauge.command_kept)
