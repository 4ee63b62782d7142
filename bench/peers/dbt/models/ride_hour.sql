select
    date_trunc('hour', window_start, 'Asia/Seoul') as window_start, zone, model, sum(rentals)::bigint as rentals,
    sum(fare) as fare
from {{ ref('ride_minute') }}
{% if is_incremental() %}
where window_start >= (select date_trunc('day', max(window_start), 'Asia/Seoul') - interval '3 days' from {{ this }})
{% endif %}
group by 1, 2, 3
