"""Work that calls the outside: claimed under a lease, written back only at the current fence."""

from shared.jobs.runner import JobRunner, LeaseLost
from shared.jobs.table import (
    Finish,
    Job,
    JobColumns,
    JobStatus,
    Postpone,
    Work,
    enqueue,
    requeue,
)

__all__ = [
    "Finish",
    "Job",
    "JobColumns",
    "JobRunner",
    "JobStatus",
    "LeaseLost",
    "Postpone",
    "Work",
    "enqueue",
    "requeue",
]
