"""The local stack: servers from wheels, the product's processes, and one supervisor for them.

From tests and benchmarks::

    async with local_servers(folder, durable=False) as servers:      # PostgreSQL and Valkey
        servers.urls.database, servers.urls.broker

    async with LocalStack(folder, workers=2, restart=False) as stack:  # everything
        stack.kill("worker-payments-1", signal.SIGKILL)
        await stack.start("worker-payments-1")

Import both from ``mpac.stack.local_stack``. This module stays empty because every worker process imports it, on its way to
``mpac.stack.celery_ready_hook``.
"""
