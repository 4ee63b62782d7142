"""How fresh numbers are, with Airflow's minute schedule and with `fleetgauge run --follow`."""
