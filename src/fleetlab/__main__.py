"""`python -m fleetlab` is the command `fleetlab`."""

from fleetlab.cli import main

if __name__ == "__main__":
    main()
