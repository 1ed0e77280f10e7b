"""What may become of a file of a work folder."""

from pathlib import Path


def change_bytes(change):
    return lambda path: path.write_bytes(change(path.read_bytes()))


DAMAGE = {
    "missing": Path.unlink,
    "empty": change_bytes(lambda _: b""),
    "cut off": change_bytes(lambda data: data[:-1]),
    "flipped": change_bytes(lambda data: bytes([data[0] ^ 1]) + data[1:]),
    "longer": change_bytes(lambda data: data + b"\0"),
}
