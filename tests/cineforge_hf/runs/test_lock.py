"""One runner per run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from factories import environment

from cineforge_hf.errors import UsageError
from cineforge_hf.runs.lock import run_lock

HOLD = """
import sys, time
from pathlib import Path
from cineforge_hf.runs.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_runner_is_refused_by_name_until_the_first_is_dead(tmp_path: Path) -> None:
    first = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, env=environment())
    assert first.stdout is not None and first.stdout.readline() == b"held\n"
    with pytest.raises(UsageError, match=f"in use by process {first.pid} on "), run_lock(tmp_path):
        pass
    first.kill()
    first.wait()
    first.stdout.close()
    with run_lock(tmp_path):
        assert (tmp_path / "lock").read_text().startswith(f"process {os.getpid()} on ")
    assert (tmp_path / "lock").read_text() == ""
