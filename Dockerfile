# One image for every process of the product. The command selects the process: a command of `python -m mpac`.
FROM python:3.11-slim

ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/app PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /app

# Before the code, so that a change of the code installs nothing again. Only wheels with a known hash are installed.
COPY requirements.lock .
RUN pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements.lock

COPY pyproject.toml ./
COPY api api
COPY workers workers
COPY workflows workflows
COPY beat beat
COPY migrations migrations
COPY mpac mpac
COPY sandbox sandbox
COPY docs/*.md docs/

# The file system is read-only at run time, so the code is compiled now. The two folders are mount points of volumes: a new
# volume takes over their owner, so that an unprivileged user can write there and nowhere else.
RUN python -m compileall -q api workers workflows beat migrations mpac sandbox \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin mpac \
    && install --directory --owner mpac --group mpac --mode 0700 /var/lib/mpac /var/lib/sandbox
ENV MPAC_HOME=/var/lib/mpac
USER 10001:10001

ENTRYPOINT ["python", "-m", "mpac"]
CMD ["--help"]
