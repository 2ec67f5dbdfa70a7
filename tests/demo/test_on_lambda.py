"""``make demo-lambda`` in small: it deploys, answers, shows prices and leaves nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import msgspec
import pytest

from starling_py.deploy.bundle import Bundle, Manifest
from starling_py.deploy.contents import COORDINATOR, WORKER
from starling_py.tpch.generate import generate
from starling_py.worker.payload import VERSION

SCRIPT = Path(__file__).with_name("on_lambda.py")
SERVERS = Path(__file__).parents[1] / "servers"


@pytest.mark.long
def test_the_demo(built: Bundle, tmp_path: Path):
    generate(tmp_path / "tpch", 0.01, parts=1)
    folder = tmp_path / "tmp"
    folder.mkdir()
    # What is deployed is not run here: it says what it is, and no more.
    deployed = [tmp_path / "worker.zip", tmp_path / "coordinator.zip"]
    for path, contents in zip(deployed, (WORKER, COORDINATOR), strict=True):
        with zipfile.ZipFile(path, "w") as archive:
            manifest = Manifest(VERSION, contents.handler, "arm64", "3.13", ())
            archive.writestr("starling-bundle.json", msgspec.json.encode(manifest))
    words = ["--show", "", "--queries", "6", "--bundle", built.path, "--deployed", *deployed]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "tpch"), *map(str, words)],
        env={**os.environ, "PYTHONPATH": str(SERVERS), "TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 queries equal" in done.stdout
    assert re.search(r"S3: \d+ requests, .* \$0\.0\d+\n", done.stdout)
    assert re.search(r"Functions: 5 calls, .* GB-seconds: \$0\.0\d+ \(arm64", done.stdout)
    assert "starling is removed from us-east-1" in done.stdout
    assert "What is left: 0 stacks, 0 functions, 0 roles, 0 log groups, 0 buckets" in done.stdout
    assert "Ports still open: 0 of 2" in done.stdout
    assert list(folder.iterdir()) == []
