"""`python -m pipelines.classify`: see --help."""

import sys
from functools import partial

from beam_bert.jobs.commands import run_command

main = partial(run_command, "classify")

if __name__ == "__main__":
    sys.exit(main())
