"""What a night and a month cost, from your own measurements and your own prices.

There are no prices in here: they differ by region and change. Take the hourly price of one worker
(machine, GPU, disk, Dataflow's own charge) and of storage from the price pages of your region, and
the speed from a run of your own: its summary, or `tokens_read` and `inference_s` in its manifest.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence


def estimate(asked: argparse.Namespace) -> list[str]:
    """The arithmetic, a line a step."""
    tokens = asked.documents * asked.tokens_per_document
    busy_h = tokens / asked.tokens_per_s / 3600
    per_worker_h = busy_h / asked.workers + asked.start_minutes / 60
    hours = math.ceil(per_worker_h * 60) / 60  # billed by the second, said by the minute
    workers = asked.workers * hours * asked.worker_hour
    training = asked.training_hours * asked.training_hour
    night = workers + training
    stored = asked.stored_gib * asked.gib_month
    return [
        f"tokens a night     {asked.documents:,} documents x {asked.tokens_per_document:g} tokens"
        f" = {tokens:,.0f}",
        f"hours a worker     {tokens:,.0f} / {asked.tokens_per_s:,.0f} tokens/s / 3600 /"
        f" {asked.workers} workers + {asked.start_minutes:g} min to start = {hours:.2f}",
        f"workers a night    {asked.workers} x {hours:.2f} h x {asked.worker_hour:g}"
        f" = {workers:.2f}",
        f"training a night   {asked.training_hours:g} h x {asked.training_hour:g} = {training:.2f}",
        f"a night            {workers:.2f} + {training:.2f} = {night:.2f}",
        f"storage a month    {asked.stored_gib:g} GiB x {asked.gib_month:g} = {stored:.2f}",
        f"a month            30 x {night:.2f} + {stored:.2f} = {30 * night + stored:.2f}",
        f"a million documents {night / asked.documents * 1e6:.2f}",
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Print the estimate."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--documents", type=int, required=True, help="Documents a night.")
    add("--tokens_per_document", type=float, required=True, help="Their mean length in tokens.")
    add(
        "--tokens_per_s", type=float, required=True, help="Tokens a second of one worker, measured."
    )
    add("--worker_hour", type=float, required=True, help="Price of one worker for an hour.")
    add("--gib_month", type=float, required=True, help="Price of a GiB stored for a month.")
    add("--stored_gib", type=float, required=True, help="GiB in all buckets.")
    add("--workers", type=int, default=1, help="Workers.")
    add("--start_minutes", type=float, default=10, help="From launch to the first row, and back.")
    add("--training_hours", type=float, default=0, help="Hours of training a night.")
    add("--training_hour", type=float, default=0, help="Price of the training machine for an hour.")
    print("\n".join(estimate(parser.parse_args(argv))))


if __name__ == "__main__":
    main()
