"""`python -m pipelines.models`: see --help."""

import sys
from functools import partial

from beam_bert.jobs.commands import run_command

main = partial(run_command, "models")

if __name__ == "__main__":
    sys.exit(main())
