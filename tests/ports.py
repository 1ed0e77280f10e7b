"""Ports of the loopback address, for servers that have to be given one."""

import socket

_FIRST, _LAST = 12_000, 19_999
_GRPC = 10_000
"""How far above each of its ports SeaweedFS listens with gRPC."""
_claims: list[socket.socket] = []


def free_port() -> int:
    """Return a port that nothing uses and that no other test is given.

    The port 10,000 above it is free as well. Both lie below those that systems hand out by
    themselves (Linux from 32768 on), so that no connection takes one before its server starts.
    Other processes of tests are kept from the port by a UDP socket on it while this one lives;
    servers use TCP.

    Raises:
        AssertionError: all are taken.
    """
    for port in range(_FIRST, _LAST + 1):
        claim = socket.socket(type=socket.SOCK_DGRAM)
        try:
            claim.bind(("127.0.0.1", port))
            for number in (port, port + _GRPC):
                with socket.socket() as server:
                    server.bind(("127.0.0.1", number))
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        return port
    raise AssertionError(f"no port from {_FIRST} to {_LAST} is free")
