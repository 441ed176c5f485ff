"""The command lines of the product's processes, shared by `up`, the commands for single processes, and containers.

None of them contains a secret, because every user of the machine can read a command line. Secrets are passed as variables.
"""

import sys

CELERY = (sys.executable, "-m", "celery", "--quiet", "--app", "workers.app:app")
BEAT = (sys.executable, "-m", "celery", "--quiet", "--app", "beat.app:app")  # the same application with its schedule

PAYMENTS_QUEUE = "payments"
OTHER_QUEUES = "refunds,settlements,webhooks,sweeps"
WORKER_THREADS = 16  # each waits for the event loop, which does the work; 8 and 32 measured the same
PREFETCHED_PER_THREAD = {PAYMENTS_QUEUE: 4}
"""Messages per thread that a worker of these queues receives in advance; else one. Payments run on the event loop, not in a
thread, and their messages are acknowledged some at a time (``workers.loop_pool``)."""
# Inquiries and cancels end within the product's soft shutdown (15 s); Celery's own shutdown needs a little more.
WORKER_GRACE_SECONDS = 20
API_GRACE_SECONDS = 5  # as in api.__main__: requests in progress may end, a hanging ?wait= is cut off

SCHEDULER = "beat.scheduler.MonotonicScheduler"
FLOWER_MAX_TASKS = 10_000  # Flower keeps them all in memory, and slows down well before its default of 100,000


def api(*, host: str, port: int) -> tuple[str, ...]:
    """Return the command that starts an API process."""
    return (sys.executable, "-m", "api", "--host", host, "--port", str(port))


def worker(*, queues: str, name: str) -> tuple[str, ...]:
    """Return the command that starts a worker process.

    The worker has threads around one event loop, on which payments and refunds run (``workers.loop_pool``). It runs without
    gossip and mingle, by which workers learn of each other: no worker needs to, and mingle makes every start a second slower.
    It sends heartbeats and events, which show Flower that a worker is alive and what it does.
    """
    include = ["mpac.stack.celery_ready_hook"] + (["beat.sweeps"] if "sweeps" in queues.split(",") else [])
    return (
        *(*CELERY, "worker", "--concurrency", str(WORKER_THREADS)),
        *("--prefetch-multiplier", str(PREFETCHED_PER_THREAD.get(queues, 1))),
        *("--task-events", "--without-gossip", "--without-mingle", "--queues", queues, "--hostname", f"{name}@%h"),
        *("--include", ",".join(include)),
    )


def beat() -> tuple[str, ...]:
    """Return the command that starts beat.

    Several may run at once: each sends every periodic task, which is harmless.
    """
    return (*BEAT, "beat", "--scheduler", SCHEDULER, "--pidfile=")


def flower(*, host: str, port: int, mode: str = "read-only") -> tuple[str, ...]:
    """Return the command that starts Flower, which shows workers and tasks.

    Its user and password come from FLOWER_BASIC_AUTH (``flower_variables``).
    """
    return (
        *(*CELERY, "flower", f"--address={host}", f"--port={port}", f"--read_only={mode == 'read-only'}"),
        *(f"--max_tasks={FLOWER_MAX_TASKS}", "--persistent=False", "--purge_offline_workers=300"),
        *("--inspect_timeout=1000", "--auto_refresh=True", "--natural_time=False", "--logging=warning"),
        "--tasks_columns=name,state,result,args,received,runtime,worker,uuid",  # args: ids of rows; uuid: the link to a task
    )


def flower_variables(user: str, password: str) -> dict[str, str]:
    """Return the variable that gives Flower its credentials.

    Flower's command line would show the credentials to every user.
    """
    return {"FLOWER_BASIC_AUTH": f"{user}:{password}"}


def sandbox(*, host: str, port: int, store: str) -> tuple[str, ...]:
    """Return the command that starts the sandbox provider, which stores its ledger in ``store``."""
    return (sys.executable, "-m", "sandbox", "--host", host, "--port", str(port), "--store", store)


def migrate(revision: str = "head") -> tuple[str, ...]:
    """Return the command that brings the database to a revision; alembic is configured in pyproject.toml."""
    return (sys.executable, "-m", "alembic", "upgrade", revision)
