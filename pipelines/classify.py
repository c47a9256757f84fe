"""`python -m pipelines.classify`: see --help."""

from functools import partial

from beam_bert.terminal import leave
from pipelines import run

main = partial(run, "classify")

if __name__ == "__main__":
    leave(main())
