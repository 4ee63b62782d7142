DELETE
FROM touched AS t USING withheld AS h
WHERE "t"."window_start" = "h"."window_start" AND "t"."zone" = "h"."zone" AND "t"."kind" = "h"."kind"
