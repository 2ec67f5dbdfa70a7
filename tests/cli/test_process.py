"""What only a real process shows: signals, closed pipes, terminals, imports."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from starling_py.interruption import held, told

COMMAND = [sys.executable, "-m", "starling_py.cli"]
FOREVER = (
    "SELECT count(*) FROM orders a, orders b, orders c, orders d WHERE a.id + b.id > c.id * d.id"
)


def run(*args: object, **extra: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, args)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        **extra,
    )


def test_help_imports_little():
    code = (
        "import sys\n"
        "from starling_py.cli.main import main\n"
        "import starling_py.cli.query, starling_py.cli.explain, starling_py.cli.tables\n"
        "heavy = {'duckdb', 'pyarrow', 'sqlglot', 'rich', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""
    assert done.returncode == 0


def test_importing_the_package_imports_nothing_more():
    code = (
        "import sys, starling_py\n"
        "starling_py.__version__\n"
        "sys.exit(', '.join(m for m in sys.modules if m.startswith('starling_py.')) or 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr == ""


def test_a_closed_pipe_is_quiet(shop):
    sql = "SELECT a.* FROM orders a, customers b, customers c"
    for format_ in ("csv", "table", "markdown", "jsonl"):
        with subprocess.Popen(
            [
                *COMMAND,
                "query",
                sql,
                "--data",
                str(shop),
                "--format",
                format_,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.read(10)
            process.stdout.close()
            errors = process.stderr.read().decode()
            assert (process.wait(60), errors.count("\n")) == (0, 0), errors


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 128 + signal.SIGTERM), (signal.SIGKILL, -9)],
)
@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_signals(shop, tmp_path, number, code, isolation):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    args = ["query", FOREVER, "--data", str(shop), "--tasks", "2", "--isolation", isolation]
    with subprocess.Popen(
        [*COMMAND, *args],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == code, errors
        assert "Traceback" not in errors
        deadline = time.monotonic() + 30
        while number == signal.SIGKILL and time.monotonic() < deadline:
            if not list(tmp_path.iterdir()) and not _group(process.pid):
                break
            time.sleep(0.02)
        assert list(tmp_path.iterdir()) == []
        assert _group(process.pid) == []


def _group(leader: int) -> list[int]:
    """Return the processes that are left of a session."""
    left: list[int] = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == leader and fields[0] != "Z" and int(folder.name) != leader:
            left.append(int(folder.name))
    return left


def test_nothing_is_left(shop, tmp_path):
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    for isolation in ("thread", "process"):
        sql = "SELECT customer, count(*) FROM orders GROUP BY 1"
        args = ("query", sql, "--data", shop, "--tasks", 2, "--isolation", isolation)
        done = run(*args, env=environment, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert list(tmp_path.iterdir()) == []


def _on_a_terminal(args: list[str], **variables: str) -> str:
    """Run on a pseudo-terminal of 60 columns and return what it shows."""
    import pty
    import struct
    from fcntl import ioctl
    from termios import TIOCSWINSZ

    leader, follower = pty.openpty()
    ioctl(follower, TIOCSWINSZ, struct.pack("HHHH", 24, 60, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    with subprocess.Popen(
        [*COMMAND, *args],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env={**environment, "TERM": "xterm", **variables},
    ) as process:
        os.close(follower)
        shown = b""
        while True:
            try:
                data = os.read(leader, 65536)
            except OSError:
                break
            if not data:
                break
            shown += data
        process.wait(60)
    os.close(leader)
    return shown.decode()


def test_a_terminal_shows_some_rows(shop):
    args = [
        "query",
        "SELECT id, NULL AS x, note FROM orders",
        "--data",
        str(shop),
        "--max-rows",
        "5",
    ]
    shown = _on_a_terminal(args)
    assert "the first 5 of 30,000 rows" in shown
    assert "\x1b[2mNULL" in shown
    assert "note 4" in shown
    assert "note 5" not in shown
    plain = _on_a_terminal(args, NO_COLOR="1")
    assert "\x1b[3" not in plain
    assert "NULL" in plain


def test_a_terminal_too_narrow_for_columns_shows_records(shop):
    columns = ", ".join(f"'value {n} of ' || id AS column_{n}" for n in range(8))
    args = ["query", f"SELECT {columns}, NULL AS x FROM orders", "--data", str(shop)]
    shown = _on_a_terminal([*args, "--max-rows", "2"], NO_COLOR="1")
    lines = [re.sub(r"\x1b\[\d*m", "", line).rstrip() for line in shown.splitlines()]
    assert lines[0] == "row 1"
    assert lines[8].split("   ") == ["column_7", "value 7 of 0"]
    assert lines[9].split() == ["x", "NULL"]
    assert lines[10:12] == ["", "row 2"]
    assert lines[-2].startswith("the first 2 of 30,000 rows")
    # No rows: the names are all there is to see.
    empty = _on_a_terminal([*args[:1], args[1] + " WHERE false", *args[2:]], NO_COLOR="1")
    assert "column_7" in empty


def test_errors_are_coloured_on_a_terminal_only(shop):
    args = ["query", "FROM nothing", "--data", str(shop)]
    assert "\x1b[31m" in _on_a_terminal(args)
    assert "\x1b" not in _on_a_terminal(args, NO_COLOR="1")
    assert "\x1b" not in run(*args).stderr


def test_what_duckdb_makes_of_ctrl_c_is_ctrl_c():
    # DuckDB notices a signal while it works for the main thread, and raises this.
    with pytest.raises(KeyboardInterrupt), told():
        raise RuntimeError("Query interrupted")
    with pytest.raises(RuntimeError, match="other"), told():
        raise RuntimeError("other")


def test_a_held_signal_comes_afterwards():
    reached = False
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the point is where it comes
        with held():
            os.kill(os.getpid(), signal.SIGINT)
            reached = True
        os.getpid()
    assert reached


def test_ctrl_c_while_the_program_is_loaded():
    code = (
        "import sys\n"
        "class Late:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'starling_py.cli.main': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Late())\n"
        "from starling_py.cli import run\n"
        "run()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (130, "error: cancelled\n")


def test_an_encoding_without_the_characters():
    done = run("query", "SELECT 'é' AS x", "-q", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "x\n-\n?\n", "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_closed_streams(tmp_path, closed):
    line = f'"$0" -m starling_py.cli query "SELECT 1 AS x" -o x.csv {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", line, sys.executable], capture_output=True, cwd=tmp_path, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.csv").read_text() == "x\n1\n"
