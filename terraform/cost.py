"""What a night and a month cost, from your own measurements and your own prices.

    python terraform/cost.py --documents=… …    one night, from your figures
    python terraform/cost.py --shards           nights of 1, 100 and 10,000 shards, and their limits

There are no prices in here: they differ by region and change. Take the hourly price of one worker
(machine, GPU, disk, Dataflow's own charge) and of storage from the price pages of your region, and
the speed from a run of your own: its summary, or `tokens_read` and `inference_s` in its manifest.
`--shards` reckons with the table of --dry_run (beam_bert/jobs/prices.yaml, round figures to be
replaced: --prices FILE) and with the example's defaults.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

PRICES = Path(__file__).parents[1] / "beam_bert/jobs/prices.yaml"
SHARDS = (1, 100, 10_000)
# Name in the price table, bytes of a slice (settings/inference.py).
MACHINES = {"n2-standard-4": 4 * 2**20, "nvidia-l4:1": 64 * 2**20}
# JSON lines of English reviews: names of columns and quotes included.
BYTES_A_TOKEN = 5
# The example's defaults: terraform/examples/nightly/variables.tf, modules/network, modules/nightly.
WORKERS = 10
DEADLINE_H = 8
POLL_S = 60
ADDRESSES = 2 ** (32 - 22) - 4  # of 10.90.0.0/22, without those that Google keeps
# https://cloud.google.com/workflows/quotas: steps of one execution; each look takes three.
STEPS = 100_000


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


def shards_table(prices: dict[str, Any]) -> list[str]:
    """One night of 1, 100 and 10,000 shards: text, workers, hours, cost, and the nearest limit."""
    rows = [("shards", "text", "machine", "workers", "hours", "cost", "nearest limit")]
    for machine, slice_bytes in MACHINES.items():
        entry = {**prices["machines"], **prices["gpus"]}[machine]
        start_h = prices["start_s"] / 3600
        shard_h = slice_bytes / BYTES_A_TOKEN / entry["tokens_a_second"] / 3600
        for shards in SHARDS:
            workers = min(WORKERS, shards)
            # A shard is one worker's.
            hours = start_h + math.ceil(shards / workers) * shard_h
            limit, share = _nearest(hours, workers)
            told = f"{limit}, {share:.0%} of it used"
            if hours > DEADLINE_H:
                needed = math.ceil(shards / math.floor((DEADLINE_H - start_h) / shard_h))
                told = f"{limit}: give {needed:,} workers ({needed / ADDRESSES:.0%} of the subnet)"
            cost = f"{workers * hours * entry['price_an_hour']:,.2f} {prices['currency']}"
            text = f"{shards * slice_bytes / 2**30:,.2f} GiB"
            rows.append((f"{shards:,}", text, machine, f"{workers}", f"{hours:,.2f}", cost, told))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _nearest(hours: float, workers: int) -> tuple[str, float]:
    """The limit of which the largest share is used."""
    shares = {
        f"deadline of {DEADLINE_H} h": hours / DEADLINE_H,
        "steps of a workflow": hours * 3600 / POLL_S * 3 / STEPS,
        "addresses of the subnet": workers / ADDRESSES,
    }
    return max(shares.items(), key=lambda item: item[1])


def main(argv: Sequence[str] | None = None) -> None:
    """Print the estimate, or the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    add = parser.add_argument
    add("--shards", action="store_true", help="Print nights of 1, 100 and 10,000 shards instead.")
    add("--prices", type=Path, default=PRICES, help="Price table for --shards.")
    add("--documents", type=int, help="Documents a night.")
    add("--tokens_per_document", type=float, help="Their mean length in tokens.")
    add("--tokens_per_s", type=float, help="Tokens a second of one worker, measured.")
    add("--worker_hour", type=float, help="Price of one worker for an hour.")
    add("--gib_month", type=float, help="Price of a GiB stored for a month.")
    add("--stored_gib", type=float, help="GiB in all buckets.")
    add("--workers", type=int, default=1, help="Workers.")
    add("--start_minutes", type=float, default=10, help="From launch to the first row, and back.")
    add("--training_hours", type=float, default=0, help="Hours of training a night.")
    add("--training_hour", type=float, default=0, help="Price of the training machine for an hour.")
    asked = parser.parse_args(argv)
    if asked.shards:
        print("\n".join(shards_table(yaml.safe_load(asked.prices.read_text(encoding="utf-8")))))
        return
    missing = [f"--{name}" for name, value in vars(asked).items() if value is None]
    if missing:
        parser.error(f"give {', '.join(missing)}, or --shards")
    print("\n".join(estimate(asked)))


if __name__ == "__main__":
    main()
