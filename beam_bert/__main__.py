"""`python -m beam_bert`: the same as `beam-bert`."""

import sys

from beam_bert.jobs.commands import main

if __name__ == "__main__":
    sys.exit(main())
