"""Simulate: python -m tests.simulation [--seed N] [--first N] [--seeds N] [--seconds S]."""

import argparse
import logging
import sys
import time
from itertools import count, islice

from tests.simulation.schedule import simulate


def main():
    """Run schedules; print the log of one, or the seeds that broke something."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this one, and print every call")
    parser.add_argument("--first", type=int, default=0, help="seed to begin with")
    parser.add_argument(
        "--seeds", type=int, help="how many seeds; as many as time allows if left out"
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="when to stop")
    asked = parser.parse_args()
    logging.disable()
    if asked.seed is not None:
        told = simulate(asked.seed)
        print("\n".join(told.log))
        print(told.broken or f"seed {asked.seed}: everything held, {told.releases} releases")
        return bool(told.broken)
    began = time.monotonic()
    done = broken = releases = steps = 0
    for seed in islice(count(asked.first), asked.seeds):
        told = simulate(seed)
        done, releases, steps = done + 1, releases + told.releases, steps + len(told.log)
        if told.broken:
            broken += 1
            print(f"seed {seed}: {told.broken}", flush=True)
        if time.monotonic() - began > asked.seconds:
            break
    took = time.monotonic() - began
    print(
        f"{done:,} schedules, {releases:,} releases, {steps:,} steps in {took:.0f} s "
        f"({done / took * 3600:,.0f} schedules an hour); {broken} broke something"
    )
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
