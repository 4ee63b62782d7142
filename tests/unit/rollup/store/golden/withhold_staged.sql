DELETE
FROM staged AS s USING withheld AS h
WHERE h.window_start = fleetgauge.window_start(s.window_start, 'minute', 'Asia/Seoul') AND h."zone" = s."zone" AND h."kind" = s."kind"
