"""The command lines of the product's processes, in one place for `up`, for the single words and so for containers.

No secret stands in any of them, because a command can be read by every user of the machine: secrets are variables.
"""

import sys

CELERY = (sys.executable, "-m", "celery", "--quiet", "--app", "workers.app:app")
BEAT = (sys.executable, "-m", "celery", "--quiet", "--app", "beat.app:app")  # the same application with the timetable

PAYMENTS_QUEUE = "payments"
OTHER_QUEUES = "refunds,settlements,webhooks,sweeps"
WORKER_THREADS = 16  # each waits for the one event loop, which does the work; 8 and 32 measured the same
# Inquiries and cancels end within the product's soft shutdown (15 s); a little more for Celery's own farewell.
WORKER_GRACE_SECONDS = 20
API_GRACE_SECONDS = 5  # as in api.__main__: requests in flight may end, a hanging ?wait= is cut

SCHEDULER = "beat.scheduler.MonotonicScheduler"
FLOWER_MAX_TASKS = 10_000  # it keeps them all in memory, and slows down well before its default of 100,000


def api(*, host: str, port: int) -> tuple[str, ...]:
    """One API process."""
    return (sys.executable, "-m", "api", "--host", host, "--port", str(port))


def worker(*, queues: str, name: str) -> tuple[str, ...]:
    """One worker process: threads around one event loop, one batch in hand per thread.

    Without gossip and mingle, which only let workers know each other: nothing here needs it, and mingle makes every
    start a second longer. With heartbeats and events, from which Flower knows that a worker lives and what it does.
    """
    include = ["mpac.stack.worker_consumes"] + (["beat.sweeps"] if "sweeps" in queues.split(",") else [])
    return (
        *(*CELERY, "worker", "--pool", "threads", "--concurrency", str(WORKER_THREADS), "--prefetch-multiplier", "1"),
        *("--task-events", "--without-gossip", "--without-mingle", "--queues", queues, "--hostname", f"{name}@%h"),
        *("--include", ",".join(include)),
    )


def beat() -> tuple[str, ...]:
    """Return the command of beat. Several beats may run at once: each sends, which is harmless."""
    return (*BEAT, "beat", "--scheduler", SCHEDULER, "--pidfile=")


def flower(*, host: str, port: int, mode: str = "read-only") -> tuple[str, ...]:
    """The window on workers and tasks. Its user and password come as FLOWER_BASIC_AUTH."""
    return (
        *(*CELERY, "flower", f"--address={host}", f"--port={port}", f"--read_only={mode == 'read-only'}"),
        *(f"--max_tasks={FLOWER_MAX_TASKS}", "--persistent=False", "--purge_offline_workers=300"),
        *("--inspect_timeout=1000", "--auto_refresh=True", "--natural_time=False", "--logging=warning"),
        "--tasks_columns=name,state,result,args,received,runtime,worker,uuid",  # args: ids of rows; uuid: the link to a task
    )


def flower_variables(user: str, password: str) -> dict[str, str]:
    """How Flower is told its credentials without showing them in its command line."""
    return {"FLOWER_BASIC_AUTH": f"{user}:{password}"}


def sandbox(*, host: str, port: int, store: str) -> tuple[str, ...]:
    """The stand-in provider with its own ledger in ``store``."""
    return (sys.executable, "-m", "sandbox", "--host", host, "--port", str(port), "--store", store)


def migrate(revision: str = "head") -> tuple[str, ...]:
    """Bring the database to a revision; alembic is configured in pyproject.toml."""
    return (sys.executable, "-m", "alembic", "upgrade", revision)
