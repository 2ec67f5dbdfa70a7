"""``python -m starling_py.cli`` is ``starling``."""

from starling_py.cli import run

if __name__ == "__main__":
    run()
