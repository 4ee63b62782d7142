"""Riders' apps: seeded requests, some of which are wrong, as in life."""

import random
import threading
from collections import Counter

import httpx

ZONES = ("gangnam", "hongdae", "yeouido", "jamsil")


def ride_on(url: str, stop: threading.Event, *, per_s: float, seed: int = 1) -> Counter[int]:
    """Ask at a Poisson rate until told to stop; blocks. Returns how often each status came; 0: no answer."""
    dice, seen = random.Random(seed), Counter[int]()
    known: list[str] = []
    with httpx.Client(base_url=url, timeout=5.0, trust_env=False) as client:
        while not stop.wait(dice.expovariate(per_s)):
            try:
                answer = _ask(client, dice, known)
            except httpx.HTTPError:
                seen[0] += 1
                continue
            seen[answer.status_code] += 1
    return seen


def _ask(client: httpx.Client, dice: random.Random, known: list[str]) -> httpx.Response:
    kind, rider = dice.random(), f"r{dice.randrange(5000):05}"
    vehicle = dice.choice(known) if known and dice.random() > 0.03 else f"sc-{dice.randrange(10**6):05}"
    if kind < 0.5 or not known:
        answer = client.get(f"/zones/{dice.choice(ZONES)}/vehicles")
        known[:] = answer.json() if answer.is_success and answer.json() else known or ["sc-00001"]
        return answer
    if kind < 0.8:
        return client.get(f"/vehicles/{vehicle}")
    answer = client.post("/reservations", json={"vehicle": vehicle, "rider": rider})
    if answer.status_code == 201 and dice.random() < 0.5:
        return client.delete(f"/reservations/{answer.json()['id']}")
    return answer
