"""The targets by name: the product first, because ratios are of it to each of the others."""

from collections.abc import Callable, Mapping

from benchmarks.rivals.orm_celery.target import OrmCelery
from benchmarks.rivals.taskiq.target import Taskiq
from benchmarks.targets import Product, Target
from mpac.stack.local_stack import LocalStack

TARGETS: Mapping[str, Callable[[LocalStack], Target]] = {
    "product": Product,
    "taskiq": Taskiq,
    "orm_celery": OrmCelery,
}
