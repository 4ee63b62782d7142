select date_trunc('minute', started_at, 'UTC') as window_start, zone, model, count(*) as rentals, sum(fare) as fare
from public.rentals
{% if is_incremental() %}
where started_at >= (select date_trunc('day', max(window_start), 'Asia/Seoul') - interval '3 days' from {{ this }})
{% endif %}
group by 1, 2, 3
