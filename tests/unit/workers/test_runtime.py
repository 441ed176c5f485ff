"""A worker lets half of its prefetched messages wait for providers: a quarter in each executor."""

from typing import Any

import pytest

from workers import runtime


@pytest.mark.parametrize(("prefetched", "waiting"), [(64, 16), (16, 4), (7, 1)])
def test_a_quarter_of_the_prefetched_messages_may_wait_in_each_executor(
    monkeypatch: pytest.MonkeyPatch, prefetched: int, waiting: int
) -> None:
    made: list[dict[str, Any]] = []

    class Totals:
        def __init__(self, _role: Any) -> None: ...
        def start(self) -> None: ...

    class Bridge:
        def start(self) -> None: ...

        def run(self, work: Any) -> Any:
            with pytest.raises(StopIteration) as ended:  # nothing in it waits
                work.send(None)
            return ended.value.value

    def executor(_workload: Any, **options: Any) -> str:
        made.append(options)
        return "executor"

    monkeypatch.setattr(runtime, "_bridge", Bridge())
    monkeypatch.setattr(runtime, "_made", [])
    monkeypatch.setattr(runtime, "connect", lambda *_, **__: None)
    monkeypatch.setattr(runtime, "open_providers", lambda _settings: {})
    monkeypatch.setattr(runtime, "TotalsWriter", Totals)
    monkeypatch.setattr(runtime, "LeaseExecutor", executor)
    runtime.start(object(), worker="w", prefetched=prefetched)  # type: ignore[arg-type]
    assert [options["waiting"] for options in made] == [waiting, waiting]
