"""The main program of the flex templates: `pipelines.classify` and its siblings, not waited for.

Dataflow's launcher starts this file with one `--name=text` argument for every parameter, and with
the flags that make Beam write the job's graph instead of running it. It must end once the graph is
written: a launcher that waits for the job is killed as hung ("Timeout in polling result file",
https://docs.cloud.google.com/dataflow/docs/guides/troubleshoot-templates). The job commits its own
output, so nobody needs to wait.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from beam_bert.jobs.command_line import exit_code_of, parse_config
from beam_bert.jobs.flex_template import task_of, to_flags
from beam_bert.settings.answer import JOBS


def main(argv: Sequence[str] | None = None) -> int:
    """Check the parameters, plan the job and submit it; returns the exit code."""

    def check_and_submit() -> None:
        task, parameters = task_of(sys.argv[1:] if argv is None else argv)
        flags = to_flags(parameters, JOBS[task])
        # The service refuses parameters that the template has not, so what is unknown here is the
        # launcher's own: Dataflow may give it flags that are newer than the Beam in this image.
        config, beam_flags = parse_config(
            JOBS[task], flags, "python -m pipelines.flex_template", pass_on_unknown=True
        )
        from beam_bert.jobs.run import launch  # Beam and torch: not before the flags are right

        launch(task, config, beam_flags)

    return exit_code_of(check_and_submit)


if __name__ == "__main__":
    sys.exit(main())
