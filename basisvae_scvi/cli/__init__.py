"""The command line: ``basisvae-scvi fit``, ``simulate`` and ``demo``.

Nothing here imports torch, scvi-tools or AnnData before a command really runs, so that ``--help``
and ``--version`` answer at once.
"""

from collections.abc import Sequence

from ._app import run_command_line

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments
        Words after the program's name; by default those of the process.

    Returns
    -------
    Exit status: 0 done, 1 data or run error, 2 usage error, 130 interrupted, 143 terminated.
    """
    return run_command_line(arguments)
