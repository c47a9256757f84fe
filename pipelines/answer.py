"""`python -m pipelines.answer`: see --help."""

from functools import partial

from beam_bert.terminal import leave
from pipelines import run

main = partial(run, "answer")

if __name__ == "__main__":
    leave(main())
