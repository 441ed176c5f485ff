"""Configure Celery: the broker, the queues and how messages are delivered.

A message is only a nudge: it names rows that may be due. The state is in the rows, so a message may be lost, delayed or
delivered twice. Messages are acknowledged after their task has ended, and no results are stored. ``unstored_messages`` says
which messages Valkey forgets once a worker has received them.
"""

from collections.abc import Mapping
from typing import Any

from celery import Celery
from celery.signals import setup_logging, worker_init, worker_ready, worker_shutdown
from kombu.entity import Exchange, Queue

from workers import runtime
from workers.event_loop import TASK_TIMEOUT_SECONDS
from workers.task_classes import DeadLetterTask
from workflows.gc_tuning import tune_gc
from workflows.logs import configure_logs
from workflows.processing.leases import longest_step
from workflows.settings import Settings, settings_or_exit

QUEUES = ("payments", "refunds", "settlements", "webhooks", "sweeps")
"""One queue per kind of work, so that each can have separate workers and slow work does not block the rest.

No task uses ``webhooks`` until outgoing webhooks are built. It is declared already, so that workers and Flower need no change
then.
"""

ROUTES = {f"{queue}.*": {"queue": queue} for queue in QUEUES}
"""The first part of a task's name is its queue: ``payments.process`` goes to ``payments``."""

HOUSEKEEPING: Mapping[str, Any] = {"Request": "workers.task_events:HousekeepingRequest", "send_events": False}
"""Options of a housekeeping task. Flower shows a run of it only if the run found something or failed."""

settings: Settings = settings_or_exit()


app = Celery("mpac", task_cls=DeadLetterTask, broker=settings.broker_url.get_secret_value())
app.conf.update(
    include=["workers.payments", "workers.refunds", "workers.settlements", "workers.canaries"],
    # Without a separate exchange and routing key, each queue would also get the messages of the default queue.
    task_queues=[Queue(name, Exchange(name, type="direct"), routing_key=name) for name in QUEUES],
    worker_direct=True,  # a queue per worker, through which it checks that it consumes (``workers.consumption_check``)
    task_default_queue="sweeps",
    task_routes=ROUTES,
    task_acks_late=True,
    task_ignore_result=True,
    task_serializer="json",
    accept_content=["json"],
    worker_consumer="workers.dead_letter_consumer:DeadLetterConsumer",
    worker_pool="workers.loop_pool:LoopPool",
    worker_prefetch_multiplier=1,
    worker_send_task_events=True,
    worker_enable_remote_control=True,
    worker_soft_shutdown_timeout=settings.soft_shutdown_seconds,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
    event_queue_expires=60,
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    # Opened on demand. Flower sends four commands at once, over two connections each, and deadlocks with a limit of 4.
    broker_pool_limit=16,
    broker_transport_options={
        # kombu applies the shortest visibility timeout of all applications on a broker, so every process sets this one.
        "visibility_timeout": settings.visibility_timeout_seconds,
        "socket_connect_timeout": 3,
        "socket_timeout": 10,  # a consumer's BRPOP waits for one second, so only a broker that hangs exceeds this
        "socket_keepalive": True,
        "health_check_interval": 20,
        "retry_on_timeout": False,
    },
    beat_max_loop_interval=1,  # the interval of the sweeps
    timezone="UTC",
)


@setup_logging.connect
def _logs(**_: Any) -> None:
    configure_logs(settings.log_level)


@worker_init.connect
def _open(sender: Any, **_: Any) -> None:
    if settings.lease_seconds <= longest_step(settings).total_seconds():
        raise SystemExit(
            f"MPAC_LEASE_SECONDS ({settings.lease_seconds}) must be longer than one provider call and one statement together"
            f" ({longest_step(settings).total_seconds()} s); otherwise two workers could process the same payment."
        )
    longest = max(TASK_TIMEOUT_SECONDS, settings.lease_seconds)
    if settings.visibility_timeout_seconds <= longest:
        raise SystemExit(
            f"MPAC_VISIBILITY_TIMEOUT_SECONDS ({settings.visibility_timeout_seconds}) must be longer than the longest "
            f"task and any lease ({longest} s); otherwise the broker would redeliver messages of tasks that still run."
        )
    runtime.start(settings, worker=str(sender), prefetched=sender.prefetch_multiplier * sender.concurrency)


@worker_ready.connect
def _tune_gc(**_: Any) -> None:
    tune_gc()


@worker_shutdown.connect
def _close(**_: Any) -> None:
    runtime.stop()
