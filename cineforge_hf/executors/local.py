"""Jobs in processes of this machine.

Invariants:
- Workers are spawned, never forked (threads and CUDA survive no fork), and die with their parent, whatever kills it.
- A worker that dies takes no one with it: its job is done again row by row in a new one, and the row that kills
  twice is recorded and left out.
- With `gpus`, each worker sees one device.
"""

from __future__ import annotations

import ctypes
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any

from cineforge_hf.errors import CineforgeError, SystemicError
from cineforge_hf.executors import Job
from cineforge_hf.runs.fingerprint import THREADS

logger = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    gpu: int | None
    job: Job | None = None
    row: int | None = None


class LocalExecutor:
    """Runs jobs in `workers` processes; a context manager that leaves none behind.

    Args:
        workers: number of processes; one per GPU when `gpus` is given.
        gpus: device numbers, each given to one worker as its only visible one.
    """

    def __init__(self, workers: int | None = None, gpus: Sequence[int] = ()) -> None:
        self._devices: list[int | None] = [*gpus] if gpus else [None] * (workers or available_cores())
        self._workers: list[_Worker] = []

    def __enter__(self) -> LocalExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        for worker in self._workers:
            worker.pipe.close()
            worker.process.terminate()
        for worker in self._workers:
            worker.process.join(5)
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def run(self, jobs: Iterable[Job]) -> Iterator[Any]:
        """Does the jobs and yields their results as they finish.

        Raises:
            SystemicError: nothing more can succeed; jobs that finished are safe.
        """
        queue = deque(jobs)
        while queue or any(w.job for w in self._workers):
            self._hand_out(queue)
            busy = [w for w in self._workers if w.job]
            ready = wait([handle for w in busy for handle in (w.pipe, w.process.sentinel)])
            for worker in busy:  # once each: of a worker that died both its pipe and its end are ready
                if worker.pipe in ready or worker.process.sentinel in ready:
                    yield from self._receive(worker, queue)

    def _hand_out(self, queue: deque[Job]) -> None:
        idle = [w for w in self._workers if w.job is None]
        while queue and (idle or len(self._workers) < len(self._devices)):
            worker = idle.pop() if idle else self._start()
            worker.job, worker.row = queue.popleft(), None
            try:
                worker.pipe.send(worker.job)
            except OSError:
                self._bury(worker, queue)

    def _start(self) -> _Worker:
        taken = [w.gpu for w in self._workers]
        gpu = next((g for g in self._devices if g is not None and g not in taken), None)
        ours, theirs = multiprocessing.get_context("spawn").Pipe()
        with _environment(gpu):
            process = multiprocessing.get_context("spawn").Process(
                target=_work, args=(theirs, os.getpid(), logging.getLogger().level), daemon=True, name="cineforge-worker"
            )
            process.start()
        theirs.close()
        worker = _Worker(process, ours, gpu)
        self._workers.append(worker)
        return worker

    def _receive(self, worker: _Worker, queue: deque[Job]) -> Iterator[Any]:
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, OSError):
            self._bury(worker, queue)
            return
        if kind == "row":
            worker.row = value
        elif kind == "done":
            worker.job = None
            yield value
        else:
            raise value

    def _bury(self, worker: _Worker, queue: deque[Job]) -> None:
        """Puts a dead worker's task back, to be done row by row, without the row that it died on."""
        worker.process.join(5)
        self._workers.remove(worker)
        job, code = worker.job, worker.process.exitcode
        worker.job = None  # its pipe and its end may both be waiting to be looked at
        if job is None:
            return
        how = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
        logger.warning("%s: its worker died (%s); trying again row by row", job.label, how)
        if worker.row is None and job.isolated:
            raise SystemicError(
                f"workers die before any row ({how}): check free memory, and the installation with cineforge doctor"
            )
        message = f"this row kills the process that works on it ({how}); check the file, and the memory that is free"
        queue.appendleft(job.isolate(worker.row, message))


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class _environment:  # noqa: N801 (a context manager used like a function)
    """Sets what a spawned worker must find in its environment before it imports anything."""

    def __init__(self, gpu: int | None) -> None:
        self._wanted = dict.fromkeys(_THREAD_VARIABLES, str(THREADS))
        if gpu is not None:
            self._wanted["CUDA_VISIBLE_DEVICES"] = str(gpu)

    def __enter__(self) -> None:
        self._before = {name: os.environ.get(name) for name in self._wanted}
        os.environ.update(self._wanted)

    def __exit__(self, *_: object) -> None:
        for name, value in self._before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _work(pipe: Connection, parent: int, log_level: int) -> None:
    """A worker's life: tasks come in, markers go out, until the pipe closes."""
    _die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its workers
    logging.basicConfig(level=log_level, format="%(message)s")
    while True:
        try:
            job = pipe.recv()
        except EOFError:
            return
        pipe.send(_answer(job, pipe))


def _answer(job: Job, pipe: Connection) -> tuple[str, Any]:
    try:
        return "done", job.run(lambda row: pipe.send(("row", row)))
    except CineforgeError as error:
        return "failed", error
    except OSError as error:
        return "failed", SystemicError(f"{job.label}: {error.filename or 'a file'}: {error.strerror or error}")
    except Exception as error:
        logger.exception("%s", job.label)
        return "failed", SystemicError(f"{job.label}: {type(error).__name__}: {error}")


def _die_with(parent: int) -> None:
    """Makes the kernel kill this process when its parent dies; elsewhere than on Linux a thread watches."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)
    else:
        threading.Thread(target=_watch, args=(parent,), daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)
