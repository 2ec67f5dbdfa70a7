"""The scheduler under random plans and random orders of completion, failure and loss."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from starling_py.coordinator.messages import (
    Attempt,
    AttemptTimedOut,
    Cancel,
    CancelAttempt,
    Fail,
    Finish,
    Invoke,
    Release,
    StageComplete,
    StageReady,
    TaskReported,
    Tick,
    WorkerLost,
)
from starling_py.coordinator.options import Options
from starling_py.coordinator.scheduler import Scheduler
from starling_py.operators.errors import FileChanged, OutOfMemory, TaskFailed
from starling_py.operators.plan import Delivery, Estimate, ExchangeRead, Stage, StagePlan
from starling_py.operators.task import (
    HashPartitioning,
    InputColumn,
    ShuffleInput,
    SinglePartition,
    TaskReport,
)
from starling_py.shuffle.errors import ErrorRecord, ObjectMissing
from starling_py.shuffle.index import ObjectIndex, PartitionEntry

COLUMNS = (InputColumn("c0", "BIGINT"),)


SINGLE = (SinglePartition(),)

DELIVERIES = [delivery for delivery in Delivery if delivery is not Delivery.COMBINED]
"""Those that need nothing but a stage that is read."""


def stage(number, tasks, reads=(), outputs=SINGLE):
    return Stage(
        number, "", "SELECT 1", COLUMNS, tuple(reads), outputs, tasks, 1, Estimate(1.0, 1.0)
    )


def read(number, delivery=Delivery.EVERYTHING, output=0):
    return ExchangeRead(f"input_{number}", number, output, delivery, COLUMNS)


def plan(*stages):
    return StagePlan("q", "", stages, (), (), ())


def scheduler(wanted, slots=2, deadline=1000.0, **options):
    nonces = (str(number) for number in itertools.count())
    made = Options(slots=slots, memory_limit=1 << 30, deadline=deadline, **options)
    return Scheduler(wanted, made, nonce=lambda: next(nonces))


def done(spec, rows=1):
    count = sum(output.count for output in spec.outputs)
    entries = tuple(PartitionEntry(0, 8 * rows, rows, 0) for _ in range(count))
    return TaskReported(
        TaskReport(
            spec.query,
            spec.stage,
            spec.task,
            spec.attempt,
            "w",
            index=ObjectIndex(spec.nonce, entries),
        )
    )


def failed(spec, code, message="boo"):
    report = TaskReport(
        spec.query, spec.stage, spec.task, spec.attempt, "w", error=ErrorRecord(code, message)
    )
    return TaskReported(report)


def invoked(actions):
    return [action.spec for action in actions if isinstance(action, Invoke)]


@st.composite
def plans(draw):
    stages = []
    for number in range(draw(st.integers(1, 5))):
        sources = draw(st.sets(st.integers(0, number - 1), max_size=3)) if number else set()
        reads = [
            read(
                source,
                draw(st.sampled_from(DELIVERIES)),
                draw(st.integers(0, len(stages[source].outputs) - 1)),
            )
            for source in sorted(sources)
        ]
        outputs = draw(
            st.lists(
                st.sampled_from([SinglePartition(), HashPartitioning(("c0",), 5)]),
                min_size=1,
                max_size=2,
            )
        )
        stages.append(stage(number, draw(st.integers(1, 4)), reads, tuple(outputs)))
    return plan(*stages)


@settings(max_examples=300, deadline=None)
@given(
    plans(),
    st.integers(1, 4),
    st.none() | st.integers(1, 4),
    st.lists(
        st.tuples(
            st.sampled_from(
                ["done", "done", "done", "again", "store", "lost", "late", "tick", "data"]
            ),
            st.integers(0, 1 << 16),
        ),
        max_size=80,
    ),
)
def test_every_task_commits_once_or_the_query_fails(wanted, slots, stage_slots, script):
    machine = scheduler(wanted, slots, stage_slots=stage_slots)
    running: dict[Attempt, object] = {}
    seen: list = []
    committed: set[tuple[int, int]] = set()
    complete: set[int] = set()
    released: set[int] = set()
    attempts: dict[tuple[int, int], int] = {}
    end = []

    def act(actions):
        for action in actions:
            assert not end, "nothing happens after the end"
            if isinstance(action, Invoke):
                spec = action.spec
                needs = {r.stage for r in wanted.stages[spec.stage].inputs}
                assert needs <= complete, "a stage starts when all it reads is complete"
                assert not needs & released, "nothing is released that is still read"
                number = attempts.get((spec.stage, spec.task), 0) + 1
                assert spec.attempt == number <= 2
                attempts[spec.stage, spec.task] = number
                assert (spec.stage, spec.task) not in committed
                running[action.attempt] = spec
                seen.append(spec)
                assert len(running) <= slots
                same = [one for one in running.values() if one.stage == spec.stage]
                assert len(same) <= (stage_slots or slots)
            elif isinstance(action, CancelAttempt):
                assert running.pop(action.attempt, None) is not None
            elif isinstance(action, StageComplete):
                assert len(action.reports) == action.stage.tasks
                assert [report.task for report in action.reports] == list(range(action.stage.tasks))
                complete.add(action.stage.id)
            elif isinstance(action, Release):
                assert action.stage.id not in released
                released.add(action.stage.id)
            elif isinstance(action, Finish | Fail):
                end.append(action)
            else:
                assert isinstance(action, StageReady)

    def report(spec):
        if running.pop(Attempt(spec.stage, spec.task, spec.attempt), None) is not None:
            committed.add((spec.stage, spec.task))
        act(machine.handle(done(spec), 0.0))

    act(machine.start(0.0))
    for what, pick in script:
        if end:
            break
        spec = list(running.values())[pick % len(running)]
        attempt = Attempt(spec.stage, spec.task, spec.attempt)
        if what == "done":
            report(spec)
        elif what == "again":
            report(seen[pick % len(seen)])
            report(seen[pick % len(seen)])
        elif what == "store":
            del running[attempt]
            act(machine.handle(failed(spec, ObjectMissing.code), 0.0))
        elif what == "lost":
            del running[attempt]
            act(machine.handle(WorkerLost(attempt), 0.0))
        elif what == "late":
            act(machine.handle(AttemptTimedOut(attempt), 0.0))
        elif what == "data" and pick % 8 == 0:
            del running[attempt]
            act(machine.handle(failed(spec, TaskFailed.code), 0.0))
            assert isinstance(end[0], Fail)
        else:
            act(machine.handle(Tick(), 0.0))
        assert end or running, "as long as there is no end, something runs"
        assert set(machine.in_flight) == set(running)
    while not end:
        report(next(iter(running.values())))
    assert machine.ended
    assert machine.handle(Tick(), 0.0) == []
    if isinstance(end[0], Finish):
        assert committed == {(s.id, t) for s in wanted.stages for t in range(s.tasks)}
        assert [r.task for r in end[0].reports] == list(range(wanted.stages[-1].tasks))
    else:
        assert not running
        assert end[0].error.origin.query == "q"


def test_lower_stages_go_first_and_slots_hold():
    machine = scheduler(plan(stage(0, 3), stage(1, 3), stage(2, 1, [read(0), read(1)])), slots=4)
    first = invoked(machine.start(0.0))
    assert [(spec.stage, spec.task) for spec in first] == [(0, 0), (0, 1), (0, 2), (1, 0)]
    more = invoked(machine.handle(done(first[3]), 0.0))
    assert [(spec.stage, spec.task) for spec in more] == [(1, 1)]


def test_stages_that_are_ready_together_share_the_slots():
    wanted = plan(stage(0, 9), stage(1, 9), stage(2, 1, [read(0), read(1)]))
    machine = scheduler(wanted, slots=6, stage_slots=4)
    first = invoked(machine.start(0.0))
    assert [(spec.stage, spec.task) for spec in first] == [
        *((0, task) for task in range(4)),
        *((1, task) for task in range(2)),
    ]
    # Whatever ends, its own stage comes next as long as it has tasks.
    assert [(s.stage, s.task) for s in invoked(machine.handle(done(first[1]), 0.0))] == [(0, 4)]
    lost = WorkerLost(Attempt(0, 2, 1))
    (again,) = invoked(machine.handle(lost, 0.0))
    assert (again.stage, again.task, again.attempt) == (0, 2, 2)


@pytest.mark.parametrize("code", [TaskFailed.code, FileChanged.code, OutOfMemory.code])
def test_what_would_fail_again_is_not_retried(code):
    machine = scheduler(plan(stage(0, 2)))
    first, second = invoked(machine.start(0.0))
    actions = machine.handle(failed(first, code, "no good"), 0.0)
    assert actions[:-1] == [CancelAttempt(Attempt(0, second.task, 1))]
    error = actions[-1].error
    assert (error.code, error.message) == (code, "no good")
    origin = error.origin
    assert (origin.query, origin.stage, origin.task, origin.attempt) == ("q", 0, 0, 1)


def test_a_lost_worker_is_retried_once():
    machine = scheduler(plan(stage(7, 1)))
    (first,) = invoked(machine.start(0.0))
    (second,) = invoked(machine.handle(WorkerLost(Attempt(7, 0, 1)), 0.0))
    assert (second.attempt, second.key) == (2, first.key)
    assert second.nonce != first.nonce
    (fail,) = machine.handle(WorkerLost(Attempt(7, 0, 2), "SIGKILL"), 0.0)
    assert fail.error.code == "WORKER_DIED"
    assert str(fail.error) == "SIGKILL (query q, stage 7, task 0, attempt 2)"


def test_an_attempt_past_its_time_is_cancelled_and_retried():
    machine = scheduler(plan(stage(0, 1)), attempt_seconds=10.0)
    (first,) = invoked(machine.start(0.0))
    assert machine.next_deadline == first.deadline == 10.0
    assert machine.handle(Tick(), 9.0) == []
    cancel, invoke = machine.handle(Tick(), 10.0)
    assert cancel == CancelAttempt(Attempt(0, 0, 1))
    assert invoke.spec.attempt == 2
    assert invoke.spec.deadline == 20.0
    assert machine.handle(done(first), 11.0) == []
    actions = machine.handle(Tick(), 20.0)
    assert actions[-1].error.code == "TASK_TIMED_OUT"


def test_the_query_ends_at_its_deadline():
    machine = scheduler(plan(stage(0, 3)), deadline=5.0)
    assert [spec.deadline for spec in invoked(machine.start(0.0))] == [5.0, 5.0]
    actions = machine.handle(Tick(), 5.0)
    assert [type(action) for action in actions] == [CancelAttempt, CancelAttempt, Fail]
    assert actions[-1].error.code == "TASK_TIMED_OUT"


def test_cancelling_stops_everything():
    machine = scheduler(plan(stage(0, 3)))
    machine.start(0.0)
    actions = machine.handle(Cancel(), 0.0)
    assert [type(action) for action in actions] == [CancelAttempt, CancelAttempt, Fail]
    assert actions[-1].error.code == "CANCELLED"
    assert machine.handle(Cancel(), 0.0) == []


def test_reports_of_other_queries_are_ignored():
    machine = scheduler(plan(stage(0, 1)))
    (spec,) = invoked(machine.start(0.0))
    assert machine.handle(done(msgspec.structs.replace(spec, query="p")), 0.0) == []
    assert isinstance(machine.handle(done(spec), 0.0)[-1], Finish)


def test_outputs_are_released_after_their_last_reader():
    machine = scheduler(
        plan(stage(0, 1), stage(1, 1, [read(0)]), stage(2, 1, [read(0), read(1)])), slots=1
    )
    released = []
    specs = invoked(machine.start(0.0))
    while specs:
        actions = machine.handle(done(specs.pop()), 0.0)
        released.append([a.stage.id for a in actions if isinstance(a, Release)])
        specs += invoked(actions)
    # The end of the query removes the rest.
    assert released == [[], [], []]
    machine = scheduler(
        plan(stage(0, 1), stage(1, 1, [read(0)]), stage(2, 1, [read(1)]), stage(3, 1, [read(2)])),
        slots=1,
    )
    specs = invoked(machine.start(0.0))
    while specs:
        actions = machine.handle(done(specs.pop()), 0.0)
        released.append([a.stage.id for a in actions if isinstance(a, Release)])
        specs += invoked(actions)
    assert released[3:] == [[], [0], [1], []]


def test_inputs_without_rows_stay():
    machine = scheduler(plan(stage(0, 2), stage(1, 1, [read(0)])))
    first, second = invoked(machine.start(0.0))
    machine.handle(done(first, rows=0), 0.0)
    (spec,) = invoked(machine.handle(done(second, rows=0), 0.0))
    assert spec.inputs == (ShuffleInput("input_0", COLUMNS, ()),)
