"""Who works on which trial, and whether it still does: a trial whose worker died is failed and queued again.

Workers give signs of life, in databases by Optuna's heartbeats (the database's clock compares them), elsewhere by a
system attribute of the trial that changes. No two machines' clocks are compared: a worker is dead where its sign has
not changed for ``GRACE_S`` of the watcher's own time, or is older than any two clocks differ (``CLOCKS_S``). Of a
worker on this machine it is seen at once whether its process is there.
"""

from __future__ import annotations

import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

WORKER = "archsearch:worker"
BEAT = "archsearch:beat"
HEARTBEAT_S = 30
GRACE_S = 120
CLOCKS_S = 3600
"""Most by which the clocks of two machines are taken to differ."""
MAX_RETRIES = 3


@dataclass
class Watch:
    """Since when a worker's signs of life have not changed, by the watcher's own clock, from which steps of the time of
    day are absent."""

    clock: Callable[[], float] = time.monotonic
    seen: dict[int, tuple[object, float]] = field(default_factory=dict)
    changed: set[int] = field(default_factory=set)

    def silent_s(self, trial_id: int, sign: object) -> float:
        """Seconds for which a trial's sign has been this one."""
        now = self.clock()
        known = self.seen.get(trial_id)
        if known is None or known[0] != sign:
            self.seen[trial_id] = (sign, now)
            if known is not None:
                self.changed.add(trial_id)
            return 0.0
        return now - known[1]

    def awaits(self, study: optuna.Study) -> bool:
        """Whether a trial that runs may be a dead worker's: its sign is old, and was not seen to change."""
        return any(
            trial._trial_id not in self.changed and (BEAT not in trial.system_attrs or abs(_age_s(trial)) > GRACE_S)
            for trial in _watched(study)
        )


def me() -> str:
    """This process, as it signs its trials: machine, number, start."""
    return f"{socket.gethostname()}/{os.getpid()}/{_started(os.getpid())}"


@contextmanager
def beating(study: optuna.Study, trial_id: int) -> Iterator[None]:
    """Signs of life of a trial while its worker is inside; the storage's failures are the worker's to meet."""
    from optuna.storages._heartbeat import BaseHeartbeat

    storage, done = study._storage, Event()
    own = storage if isinstance(storage, BaseHeartbeat) else None

    def beat() -> None:
        while True:
            try:
                if own is not None:
                    own.record_heartbeat(trial_id)
                else:
                    storage.set_trial_system_attr(trial_id, BEAT, time.time())
            except Exception:
                return  # a study that was deleted, a storage that is away: the worker sees it when it stores its result
            if done.wait((own and own.get_heartbeat_interval()) or HEARTBEAT_S):
                return

    thread = Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def release_dead(study: optuna.Study, watch: Watch | None = None) -> None:
    """Fail and queue again the trials of workers that are gone: those whose signs of life have stopped, and those whose
    process on this machine has ended."""
    import optuna
    from optuna.storages import RetryHeartbeatStaleTrialCallback
    from optuna.trial import TrialState

    watch = watch or Watch()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # marked experimental
        optuna.storages.fail_stale_trials(study)
    again = RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES)
    for trial in _watched(study):
        silent = watch.silent_s(trial._trial_id, trial.system_attrs.get(BEAT)) >= GRACE_S or _age_s(trial) > CLOCKS_S
        if not (silent or _has_ended(trial)):
            continue
        try:
            study._storage.set_trial_state_values(trial._trial_id, state=TrialState.FAIL)
        except optuna.exceptions.UpdateFinishedTrialError:
            continue  # another worker was quicker
        again(study, trial)


def queue_again(study: optuna.Study, trial_id: int) -> None:
    """Queue a trial once more that its worker gave up, as often as that happens."""
    from copy import deepcopy

    from optuna.storages import RetryHeartbeatStaleTrialCallback

    RetryHeartbeatStaleTrialCallback()(study, deepcopy(study._storage.get_trial(trial_id)))


def _watched(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that run, but for those that the storage's own heartbeats watch and whose process is another machine's."""
    from optuna.storages._heartbeat import is_heartbeat_enabled
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=True, states=(TrialState.RUNNING,))
    if not is_heartbeat_enabled(study._storage):
        return running
    return [trial for trial in running if WORKER not in trial.system_attrs or _has_ended(trial)]


def _age_s(trial: FrozenTrial) -> float:
    """How old a trial's last sign of life is, if its worker's clock shows what ours does; 0 where it gave none."""
    now = time.time()
    return now - float(trial.system_attrs.get(BEAT, now))


def _has_ended(trial: FrozenTrial) -> bool:
    """Whether a trial's worker was a process of this machine that is no more."""
    host, _, rest = str(trial.system_attrs.get(WORKER, "")).partition("/")
    pid, _, started = rest.partition("/")
    here = host == socket.gethostname() and pid.isdigit()
    return here and not (_alive(int(pid)) and _started(int(pid)) == started)


def _alive(pid: int) -> bool:
    import psutil  # os.kill(pid, 0) asks on Unix; on Windows it ends the process

    return bool(psutil.pid_exists(pid))


def _started(pid: int) -> str:
    """When a process of this machine began, so that a reused number is not taken for it ('' where that is unknown)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        return ""
