"""What the harness raises on purpose."""

from __future__ import annotations

from starling_py.errors import StarlingError

__all__ = [
    "GeneratorError",
    "GeneratorMissing",
    "OutputRefused",
    "ReportMissing",
    "TpchError",
    "UploadFailed",
]


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


class ReportMissing(TpchError):
    """What makes report pages is not installed."""

    code = "TPCH_REPORT_MISSING"


class UploadFailed(TpchError):
    """S3 did not take what was generated."""

    code = "TPCH_UPLOAD"
