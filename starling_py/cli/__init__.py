"""The command line: one file per command."""

from __future__ import annotations

import sys

__all__ = ["run"]


def run() -> None:
    """Be ``starling``; Ctrl-C is no traceback even while the program is still being loaded."""
    try:
        from starling_py.cli.main import main
    except KeyboardInterrupt:
        sys.stderr.write("error: cancelled\n")
        sys.exit(130)
    main(prog_name="starling")
