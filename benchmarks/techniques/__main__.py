"""Fill the table of techniques: every row and seed in a process of its own, so that its peak memory is its own.

What has a record with today's key is left alone, so that a killed table goes on and a repeated one is free.

    python -m benchmarks.techniques --seeds 1 2 3
"""

import argparse
import subprocess
import sys

from benchmarks.techniques import page
from benchmarks.techniques.rows import ROWS, STARTS


def main() -> None:
    """Train what is missing, seed after seed, and write the page after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=(*STARTS, *ROWS), default=[*STARTS, *ROWS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--views", nargs="+", choices=("tokens", "time"), default=["tokens", "time"])
    options = parser.parse_args()
    for view in options.views:
        for seed in options.seeds:
            for row in options.rows:
                if row in STARTS and (view == "time" or seed != options.seeds[0]):
                    continue
                command = [sys.executable, "-m", "benchmarks.techniques.train", row, "--view", view]
                subprocess.run([*command, "--seed", str(seed)], check=True)
                page.main()


if __name__ == "__main__":
    main()
