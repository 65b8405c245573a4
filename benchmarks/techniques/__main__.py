"""Fill the table of techniques: every row and seed in a process of its own, so that its peak memory is its own.

What has a record with today's key is left alone, so that a killed table goes on and a repeated one is free.

    python -m benchmarks.techniques --seeds 1 2 3
    python -m benchmarks.techniques --base my.yaml --out my_table --rows "plain KL" "alpha, soft to hard"
"""

import argparse
import subprocess
import sys
from pathlib import Path

from benchmarks.techniques.page import write_page
from benchmarks.techniques.rows import ROWS, STARTS
from benchmarks.techniques.train import BASE, OUT


def main() -> None:
    """Train what is missing, seed after seed, and write the page after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=(*STARTS, *ROWS), default=[*STARTS, *ROWS])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--views", nargs="+", choices=("tokens", "time"), default=["tokens", "time"])
    parser.add_argument("--base", type=Path, default=BASE, help="the recipe under every row")
    parser.add_argument("--out", type=Path, default=OUT, help="the folder of records; its page is written beside it")
    options = parser.parse_args()
    where = ["--base", str(options.base), "--out", str(options.out)]
    for view in options.views:
        if view == "time":
            subprocess.run([sys.executable, "-m", "benchmarks.techniques.sitting", *where], check=True)
        for seed in options.seeds:
            for row in options.rows:
                if row in STARTS and (view == "time" or seed != options.seeds[0]):
                    continue
                command = [sys.executable, "-m", "benchmarks.techniques.train", row, "--view", view]
                subprocess.run([*command, "--seed", str(seed), *where], check=True)
                write_page(options.out)


if __name__ == "__main__":
    main()
