"""What is made from the alerts of `deploy/prometheus`: `docs/alerts.md`, and Grafana's own alerts on the business."""
