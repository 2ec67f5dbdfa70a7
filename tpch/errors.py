"""What the harness raises on purpose."""

from __future__ import annotations

from starling_py.errors import StarlingError

__all__ = ["GeneratorError", "GeneratorMissing", "OutputRefused", "TpchError"]


class TpchError(StarlingError):
    """The TPC-H harness could not do what was asked of it."""

    code = "TPCH"


class GeneratorMissing(TpchError):
    """``tpchgen-cli`` is not installed."""

    code = "TPCH_GENERATOR_MISSING"


class GeneratorError(TpchError):
    """``tpchgen-cli`` failed, or did not write what was asked of it."""

    code = "TPCH_GENERATOR"


class OutputRefused(TpchError):
    """The output folder holds something that is not to be overwritten."""

    code = "TPCH_OUTPUT_REFUSED"
