"""Detached queries from the command line: the answers, errors and options of `starling query`."""

from __future__ import annotations

import starling_py

SQL = "SELECT k % 7 AS g, sum(k) AS s FROM numbers GROUP BY g ORDER BY g"


def test_detach_attach_result(numbers, tmp_path):
    lamb = numbers.serve()
    query = numbers.detach(SQL, "--tasks", "3")
    place = ["--scratch", numbers.scratch]
    attached = numbers.starling("attach", query, *place, "--format", "csv")
    assert attached.exit_code == 0, attached.output
    with starling_py.connect(numbers.data) as connection:
        embedded = connection.execute(SQL).result
        wanted = embedded.arrow()
    csv = "g,s\n" + "".join(f"{g},{s}\n" for g, s in zip(*wanted.to_pydict().values()))
    assert attached.stdout == csv
    assert "stage 0 (scan numbers" in attached.stderr
    assert "7 rows from 3 stages, " in attached.stderr
    # Nothing is left but how it has ended and the rows of the answer.
    assert sorted(numbers.left()) == [
        "detached/ending",
        "stage-0002/task-000000.shuffle",
    ]
    again = numbers.starling("result", query, *place, "--format", "csv", "-q")
    assert (again.exit_code, again.output) == (0, csv)
    path = tmp_path / "answer.arrow"
    saved = numbers.starling("result", query, *place, "--output", path, "--stats")
    assert saved.exit_code == 0, saved.output
    import pyarrow as pa

    with pa.memory_map(str(path)) as file:
        assert pa.ipc.open_file(file).read_all().equals(wanted)
    assert lamb.statistics("starling-coordinator").calls == 1
    assert lamb.statistics("starling-coordinator").failed == 0
