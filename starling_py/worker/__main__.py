"""``python -m starling_py.worker FD``: a worker process, for its coordinator only."""

from __future__ import annotations

import signal
import sys


def main() -> None:
    """Serve the coordinator at the other end of the socket that the first argument numbers."""
    # Ctrl-C is for the coordinator to handle. Set before the imports, which take a while.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from starling_py.worker.serve import serve

    serve(int(sys.argv[1]))


if __name__ == "__main__":
    main()
