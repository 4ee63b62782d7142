-- The bill: what each carrier charges for each local day, by all tariffs, as docs/cost.md defines it, for everything that goes
-- over the air. Rows of `usage` and `base_fee` add up over days, carriers and charges; `unpriced_messages` counts what has no
-- price. Say `month = …` to read one month alone, for each is computed by itself.
CREATE OR REPLACE VIEW metrics.carrier_cost_day AS
SELECT
    c.window_start,
    c.date,
    c.month,
    c.carrier,
    c.charge,
    c.rounding,
    c.currency,
    c.messages,
    c.billed_bytes,
    c.cost,
    c.unpriced_messages,
    c.sims,
    c.provisional,
    fleetgauge.date_start(c.date + 1, 'Asia/Seoul') AS window_end,
    fleetgauge.date_start(c.month, 'Asia/Seoul') AS month_start,
    fleetgauge.date_start((c.month + interval '1 month')::date, 'Asia/Seoul') AS month_end
FROM (
    SELECT
        window_start, date, month, carrier, charge, rounding, currency, messages, steps * step_bytes AS billed_bytes, cost,
        unpriced_messages, sims, provisional
    FROM metrics.sim_charge_day
    UNION ALL
    SELECT
        window_start, date, date_trunc('month', date::timestamp)::date, carrier, 'usage', 'message',
        CASE WHEN sum(messages - unpriced_messages - by_sim_messages) > 0 THEN 'KRW' END, sum(messages - by_sim_messages)::bigint,
        sum(billed_bytes)::bigint, sum(cost_krw), sum(unpriced_messages)::bigint, NULL::bigint, bool_or(provisional)
    FROM metrics.message_cost_day
    GROUP BY window_start, date, carrier
    HAVING sum(messages - by_sim_messages) > 0
) AS c;

-- The same by month.
CREATE OR REPLACE VIEW metrics.carrier_cost_month AS
SELECT
    month, carrier, charge, rounding, currency, sum(messages)::bigint AS messages, sum(billed_bytes)::bigint AS billed_bytes,
    sum(cost) AS cost, sum(unpriced_messages)::bigint AS unpriced_messages, max(sims) AS sims, bool_or(provisional) AS provisional
FROM metrics.carrier_cost_day
GROUP BY month, carrier, charge, rounding, currency;

COMMENT ON VIEW metrics.carrier_cost_day IS 'The bill: what each carrier charges for each local day, by all tariffs.';
COMMENT ON VIEW metrics.carrier_cost_month IS 'The bill by month.';
COMMENT ON COLUMN metrics.carrier_cost_day.window_start IS 'The beginning of the local day.';
COMMENT ON COLUMN metrics.carrier_cost_day.date IS 'The local date.';
COMMENT ON COLUMN metrics.carrier_cost_day.month IS 'The first date of the month that the day lies in.';
COMMENT ON COLUMN metrics.carrier_cost_day.carrier IS 'Who charges it.';
COMMENT ON COLUMN metrics.carrier_cost_day.charge IS 'usage, or base_fee of the SIMs.';
COMMENT ON COLUMN metrics.carrier_cost_day.rounding IS
    'What is rounded up to whole steps: message, sim_day or sim_month.';
COMMENT ON COLUMN metrics.carrier_cost_day.currency IS 'Of cost.';
COMMENT ON COLUMN metrics.carrier_cost_day.messages IS 'Messages that it is about.';
COMMENT ON COLUMN metrics.carrier_cost_day.billed_bytes IS 'Bytes as the carrier bills them.';
COMMENT ON COLUMN metrics.carrier_cost_day.cost IS 'What it costs, in currency.';
COMMENT ON COLUMN metrics.carrier_cost_day.unpriced_messages IS 'Messages that have no price: in no cost.';
COMMENT ON COLUMN metrics.carrier_cost_day.sims IS
    'SIMs that it is about; of a month, so it does not add up over days.';
COMMENT ON COLUMN metrics.carrier_cost_day.provisional IS
    'Whether it may still change without being told as a restatement.';
COMMENT ON COLUMN metrics.carrier_cost_day.window_end IS 'The end of the local day.';
COMMENT ON COLUMN metrics.carrier_cost_day.month_start IS 'The beginning of the local month.';
COMMENT ON COLUMN metrics.carrier_cost_day.month_end IS 'The end of the local month.';
