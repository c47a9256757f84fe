"""`python -m pipelines.nightly`: see --help."""

from functools import partial

from beam_bert.terminal import leave
from pipelines import run

main = partial(run, "nightly")

if __name__ == "__main__":
    leave(main())
