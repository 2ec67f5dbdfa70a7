"""``python -m starling_py.cli`` is ``starling``."""

from starling_py.cli.main import main

if __name__ == "__main__":
    main(prog_name="starling")
