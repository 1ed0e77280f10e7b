"""Ports that tests give their servers."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests import ports
from tests.ports import free_port


def test_no_port_is_given_twice_nor_is_it_the_grpc_port_of_another() -> None:
    given = [free_port() for _ in range(40)]
    assert len({*given, *(port + 10_000 for port in given)}) == 80


@pytest.mark.parametrize("above", [0, 10_000])
def test_a_port_in_use_is_passed_over_and_so_is_one_whose_grpc_port_is(above: int) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port + above)):
        ports._claims.pop().close()
        assert free_port() != port


def test_another_process_is_given_another_port_before_anything_listens() -> None:
    here = free_port()
    script = "from tests.ports import free_port; print(free_port())"
    printed = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)
    assert int(printed.stdout) != here


def test_a_server_listens_on_the_port_it_is_given() -> None:
    port = free_port()
    with (
        socket.create_server(("127.0.0.1", port)),
        socket.create_connection(("127.0.0.1", port)) as client,
    ):
        assert client.getpeername()[1] == port
