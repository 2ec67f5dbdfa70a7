"""Puts combiner stages between the producers and the consumers of an exchange by hash."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from starling_py.operators.plan import Delivery, ExchangeRead, Stage, StageInput
from starling_py.operators.task import HashPartitioning, SamePartitions
from starling_py.planner.shuffle_cost import Exchange, cheapest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starling_py.operators.plan import Combining
    from starling_py.planner.sizing import PlanOptions

__all__ = ["chosen_combiners", "exchange_of", "with_combiners"]


def chosen_combiners(stages: Sequence[Stage], options: PlanOptions) -> tuple[Stage, ...]:
    """Return the stages with combiners where the options and the prices ask for them."""
    if options.shuffle == "direct" or (options.shuffle == "auto" and not options.remote_shuffle):
        return tuple(stages)
    forced = options.shuffle == "combined"

    def choose(producer: Stage, partitions: int, consumers: tuple[int, ...]) -> Combining | None:
        exchange = exchange_of(producer, partitions, consumers, options)
        return cheapest(exchange, options.prices, forced=forced)

    return with_combiners(stages, choose)


def exchange_of(
    producer: Stage, partitions: int, consumers: tuple[int, ...], options: PlanOptions
) -> Exchange:
    """Return what the price of an exchange depends on."""
    return Exchange(
        producers=producer.tasks,
        consumers=consumers,
        partitions=partitions,
        bytes=producer.estimate.bytes,
        workers=options.workers,
        memory=options.memory / options.workers,
        architecture=options.function.architecture,
    )


def with_combiners(
    stages: Sequence[Stage], choose: Callable[[Stage, int, tuple[int, ...]], Combining | None]
) -> tuple[Stage, ...]:
    """Return the stages with a combiner stage behind each output by hash that gets one.

    Stages are numbered anew, in dependency order.

    Parameters
    ----------
    choose
        Called with a stage, the number of partitions of one of its outputs, and the numbers of
        tasks of the stages that read it by partitions; returns how to combine it, or ``None``.
    """
    made: list[Stage] = []
    numbers: dict[int, int] = {}
    combiners: dict[tuple[int, int], int] = {}
    for stage in stages:
        numbers[stage.id] = len(made)
        inputs = tuple(_moved(read, numbers, combiners) for read in stage.inputs)
        moved = msgspec.structs.replace(stage, id=len(made), inputs=inputs)
        made.append(moved)
        for number, output in enumerate(stage.outputs):
            readers = _readers(stages, stage.id, number)
            if not isinstance(output, HashPartitioning) or not readers:
                continue
            split = choose(stage, output.count, readers)
            if split is not None:
                combiners[stage.id, number] = len(made)
                made.append(_combiner(len(made), moved, number, split))
    return tuple(made)


def _readers(stages: Sequence[Stage], producer: int, output: int) -> tuple[int, ...]:
    return tuple(
        stage.tasks
        for stage in stages
        for read in stage.inputs
        if isinstance(read, ExchangeRead)
        and (read.stage, read.output) == (producer, output)
        and read.delivery is Delivery.PARTITIONED
    )


def _moved(
    read: StageInput, numbers: dict[int, int], combiners: dict[tuple[int, int], int]
) -> StageInput:
    if not isinstance(read, ExchangeRead):
        return read
    combiner = combiners.get((read.stage, read.output))
    if combiner is None or read.delivery is not Delivery.PARTITIONED:
        return msgspec.structs.replace(read, stage=numbers[read.stage])
    return msgspec.structs.replace(read, stage=combiner, output=0)


def _combiner(number: int, producer: Stage, output: int, split: Combining) -> Stage:
    read = ExchangeRead("input_0", producer.id, output, Delivery.COMBINED, producer.columns)
    return Stage(
        id=number,
        label="combine",
        statement="",
        columns=producer.columns,
        inputs=(read,),
        outputs=(SamePartitions(producer.outputs[output].count),),
        tasks=split.partition_groups * split.producer_groups,
        threads=1,
        estimate=producer.estimate,
        combining=split,
    )
