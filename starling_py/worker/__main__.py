"""``python -m starling_py.worker FD SCRATCH``: a worker process, for its coordinator only."""

from __future__ import annotations

import signal
import sys
from pathlib import Path


def main() -> None:
    """Serve the coordinator at the other end of socket FD, in its directory SCRATCH."""
    # Ctrl-C is for the coordinator to handle. Set before the imports, which take a while.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from starling_py.worker.serve import serve

    serve(int(sys.argv[1]), Path(sys.argv[2]))


if __name__ == "__main__":
    main()
