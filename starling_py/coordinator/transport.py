"""How the outputs of tasks travel: through the store, or small ones in reports and specs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from starling_py.operators.plan import Stage, StagePlan, carried_outputs

if TYPE_CHECKING:
    from starling_py.shuffle.index import Codec

__all__ = ["Transport"]


@dataclass(frozen=True, slots=True)
class Transport:
    """What all tasks of a query are told of their outputs.

    Parameters
    ----------
    codec
        Compresses what goes to the store.
    payload
        Bytes of data that a spec or a report may carry; 0 sends everything through the store.
    doublewrite
        Store each output twice.
    """

    codec: Codec = "none"
    payload: int = 0
    doublewrite: bool = False

    def inline_limit(self, plan: StagePlan, stage: Stage) -> int:
        """Return the largest output that a task of ``stage`` may put into its report.

        However the outputs are distributed over partitions, no spec of a consumer then carries
        more than ``payload`` bytes.
        """
        return self.payload // carried_outputs(plan.stages, stage)
