"""Workers on this machine: spawned, one device each, mortal, and never orphans."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from factories import environment
from fake_jobs import ENVIRONMENT, KillingJob, ReportJob

from cineforge_hf.errors import SystemicError
from cineforge_hf.executors.local import LocalExecutor, available_cores


def test_workers_are_spawned_with_one_thread_per_library() -> None:
    with LocalExecutor(2) as executor:
        found = list(executor.run([ReportJob(i) for i in range(4)]))
    assert sorted(f["number"] for f in found) == [0, 1, 2, 3]
    assert all(f["pid"] != os.getpid() and f["parent"] == os.getpid() for f in found)
    assert {f["method"] for f in found} == {"spawn"} and {f["OMP_NUM_THREADS"] for f in found} == {"1"}
    assert 1 <= len({f["pid"] for f in found}) <= 2


def test_workers_stay_between_calls_and_are_gone_after_the_block() -> None:
    with LocalExecutor(1) as executor:
        [first] = executor.run([ReportJob(1)])
        [second] = executor.run([ReportJob(2)])
        assert first["pid"] == second["pid"]
    assert not psutil.pid_exists(first["pid"])


def test_each_worker_sees_its_own_gpu_and_this_process_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6,7")
    with LocalExecutor(gpus=[0, 3]) as executor:
        found = list(executor.run([ReportJob(i, seconds=0.5) for i in range(4)]))
    by_pid = {f["pid"]: f["CUDA_VISIBLE_DEVICES"] for f in found}
    assert sorted(by_pid.values()) == ["0", "3"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "5,6,7"


def test_a_worker_that_dies_gives_its_gpu_to_the_next() -> None:
    with LocalExecutor(gpus=[4]) as executor:
        found = list(executor.run([KillingJob(("well", "deadly")), ReportJob(1)]))
    assert {f["CUDA_VISIBLE_DEVICES"] for f in found if isinstance(f, dict)} == {"4"}


@pytest.mark.parametrize(("how", "said"), [("exit", "exit code 7"), ("kill", "signal SIGKILL")])
def test_a_row_that_kills_is_left_out_and_all_others_are_done(how: str, said: str) -> None:
    jobs = [KillingJob(("one", "deadly", "two", "deadly again"), how), KillingJob(("three",), how)]
    with LocalExecutor(2) as executor:
        found = sorted(executor.run(jobs))
    assert [f[0] for f in found] == [("one", None, "two", None), ("three",)]
    messages = [m for _, dead in found for m in dead]
    assert len(messages) == 2 and all(said in m for m in messages)


def test_a_worker_that_is_long_dead_when_it_is_looked_at_is_buried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from cineforge_hf.executors import local

    def late(handles: list[Any]) -> list[Any]:
        local_wait(handles)
        time.sleep(1)  # by now the pipe is closed and the process is gone
        return local_wait(handles)

    local_wait = local.wait
    monkeypatch.setattr(local, "wait", late)
    with LocalExecutor(1) as executor:
        [(words, dead)] = executor.run([KillingJob(("one", "deadly", "two"))])
    assert words == ("one", None, "two") and len(dead) == 1


def test_a_worker_that_dies_before_any_row_is_a_systemic_error() -> None:
    with pytest.raises(SystemicError, match=r"workers die before any row \(exit code 9\)"), LocalExecutor(1) as executor:
        list(executor.run([KillingJob(("x",), "at once")]))


@pytest.mark.parametrize(
    ("kind", "message"), [("systemic", "the key was refused"), ("disk", "No space left"), ("bug", "ZeroDivisionError")]
)
def test_what_a_job_cannot_help_stops_everything(kind: str, message: str) -> None:
    with pytest.raises(SystemicError, match=message), LocalExecutor(1) as executor:
        list(executor.run([KillingJob(("x",), kind)]))


def test_one_worker_per_core_by_default() -> None:
    assert len(LocalExecutor()._devices) == available_cores() >= 1
    assert ENVIRONMENT  # what ReportJob reports


PARENT = """
import sys
from cineforge_hf.executors.local import LocalExecutor
from fake_jobs import ReportJob
if __name__ == "__main__":
    with LocalExecutor(2) as executor:
        for found in executor.run([ReportJob(i, seconds=0 if i < 2 else 60) for i in range(4)]):
            print(found["pid"], flush=True)
"""


def test_workers_die_with_a_killed_parent(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(PARENT)
    parent = subprocess.Popen([sys.executable, str(program)], stdout=subprocess.PIPE, env=environment())
    assert parent.stdout is not None
    reported = {int(parent.stdout.readline()) for _ in range(2)}
    children = psutil.Process(parent.pid).children(recursive=True)
    assert reported <= {child.pid for child in children}
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 5
    while (alive := [child for child in children if _lives(child)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive, f"orphans: {alive}"


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE  # a zombie is dead, only not yet waited for
    except psutil.NoSuchProcess:
        return False
