"""A service of the simulated company: riders' apps ask it for vehicles and reserve them.

Real requests, on the company's own database, for dashboards and alerts of services. It writes one table of its own,
`reservations`, which no metric reads, so that it changes no number that is compared with the truth.
"""
