"""`python -m beam_bert`, and what `beam-bert` runs."""

from typing import NoReturn

from beam_bert.terminal import leave, stoppable


def main() -> NoReturn:
    """Run the command that this process was started with, and end the process."""

    def command() -> int:
        from beam_bert.jobs.commands import main as run  # takes a while, and may be stopped

        return run()

    leave(stoppable(command))


if __name__ == "__main__":
    main()
