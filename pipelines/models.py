"""`python -m pipelines.models`: see --help."""

from functools import partial

from beam_bert.terminal import leave
from pipelines import run

main = partial(run, "models")

if __name__ == "__main__":
    leave(main())
