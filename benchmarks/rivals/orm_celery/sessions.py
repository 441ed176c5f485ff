"""Connect the rival's processes to its database."""

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session, sessionmaker

from benchmarks.rivals.tables import DATABASE_URL


def connect(*, pool_size: int) -> tuple[Engine, sessionmaker[Session]]:
    """Return an engine with as many connections as there are threads, and its session factory."""
    engine = create_engine(DATABASE_URL, pool_size=pool_size, max_overflow=0)
    return engine, sessionmaker(engine, expire_on_commit=False)
