"""`python -m fleetgauge` is the command `fleetgauge`."""

from fleetgauge.cli import main

if __name__ == "__main__":
    main()
