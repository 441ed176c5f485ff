"""The stack gets the documented port block, free ports in place of busy ones, or an error that names the busy port."""

import socket
from collections.abc import Iterator

import pytest

from mpac.cli.errors import UserError
from mpac.stack.ports import BASE, FREE_RANGE, HOST, ORDER, ReservedPorts, choose_ports, is_free


@pytest.fixture
def taken() -> Iterator[int]:
    """Yield a busy port that has free ports above it.

    The ports are outside the ranges of the kernel and of other stacks.
    """
    with socket.socket() as server:
        base = next(port for port in range(12_000, 19_900, 10) if all(is_free(port + place) for place in range(9)))
        server.bind((HOST, base))
        server.listen()
        yield base


def test_free_ports_are_distinct_and_below_the_kernels_ephemeral_range() -> None:
    chosen = choose_ports("free", ORDER)
    assert len(set(chosen.values())) == len(ORDER)
    assert all(port in FREE_RANGE for port in chosen.values())


def test_a_held_port_is_not_chosen_again_but_a_server_may_listen_on_it(
    taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mpac.stack.ports.FREE_RANGE", range(taken + 1, taken + 3))
    monkeypatch.setattr("mpac.stack.ports.TRIES", 2)
    mine, others = ReservedPorts(), ReservedPorts()
    port = choose_ports("free", ["api"], reserved=mine)["api"]
    assert choose_ports("free", ["api"], reserved=others)["api"] != port
    with pytest.raises(UserError, match="No free port"):
        choose_ports("free", ["api"])
    with socket.create_server((HOST, port)), pytest.raises(OSError, match="in use"), socket.create_server((HOST, port)):
        pass
    mine.release()
    assert choose_ports("free", ["api"]) == {"api": port}


def test_a_base_port_gives_each_service_its_documented_offset(taken: int) -> None:
    assert choose_ports(str(taken + 1), ORDER) == {name: taken + 1 + place for place, name in enumerate(ORDER)}


def test_only_requested_services_get_a_port(taken: int) -> None:
    assert choose_ports(str(taken), ["valkey"]) == {"valkey": taken + ORDER.index("valkey")}


def test_a_busy_port_of_a_block_is_named_with_its_service(taken: int) -> None:
    with pytest.raises(UserError, match=f"Port {taken} for api is taken.*--ports"):
        choose_ports(str(taken), ORDER)


def test_auto_replaces_only_busy_ports(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mpac.stack.ports.BASE", taken)
    chosen = choose_ports("auto", ORDER)
    assert chosen["api"] in FREE_RANGE
    assert chosen["flower"] == taken + 1


def test_the_documented_base_is_8800() -> None:
    assert BASE == 8800


@pytest.mark.parametrize("nonsense", ["", "api", "-1", "80", "65535", "8800.5", "８８００x"])
def test_an_invalid_ports_option_is_refused_with_the_valid_values(nonsense: str) -> None:
    with pytest.raises(UserError, match="--ports must be auto, free or a number"):
        choose_ports(nonsense, ORDER)
