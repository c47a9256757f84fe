"""`python -m pipelines.sentiment`: see --help."""

from functools import partial

from beam_bert.terminal import leave
from pipelines import run

main = partial(run, "sentiment")

if __name__ == "__main__":
    leave(main())
