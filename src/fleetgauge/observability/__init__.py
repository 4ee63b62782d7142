"""How fleetgauge is watched: metrics, health and logs."""
