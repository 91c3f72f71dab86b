"""What a process and its decoder say to each other: JSON, numbers and file descriptors through a socket; pixels through shared memory."""

from __future__ import annotations

import json
import socket
import struct
from dataclasses import dataclass, field
from typing import Any

SLOT = 4 * 2**20  # bytes of shared memory that carry one piece of a window
SLOTS = 4
HEARTBEAT = 64  # bytes before the slots: a number that grows with each packet
MAX_HEADER = 2**20
MAX_PAYLOAD = 2**26
MAX_DESCRIPTORS = 1
_HEAD = struct.Struct("<II")


@dataclass
class Message:
    """One message: plain data, some bytes, and descriptors of open files."""

    data: dict[str, Any]
    payload: bytes = b""
    descriptors: list[int] = field(default_factory=list)


def send(connection: socket.socket, message: Message) -> None:
    """Send a message whole."""
    header = json.dumps(message.data).encode()
    head = _HEAD.pack(len(header), len(message.payload))
    if message.descriptors:
        socket.send_fds(connection, [head], message.descriptors)
    else:
        connection.sendall(head)
    connection.sendall(header + message.payload)


def receive(connection: socket.socket) -> Message | None:
    """Wait for a message; None when the other end is closed. What does not follow this form is a ValueError."""
    head, descriptors, _, _ = socket.recv_fds(connection, _HEAD.size, MAX_DESCRIPTORS)
    if not head:
        return None
    head += _exactly(connection, _HEAD.size - len(head))
    length, payload = _HEAD.unpack(head)
    if length > MAX_HEADER or payload > MAX_PAYLOAD:
        raise ValueError("a message is too long")
    data = json.loads(_exactly(connection, length))
    if not isinstance(data, dict):
        raise ValueError("a message is not a table")
    return Message(data, _exactly(connection, payload), list(descriptors))


def _exactly(connection: socket.socket, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count:
        part = connection.recv(count - len(parts))
        if not part:
            raise EOFError
        parts += part
    return bytes(parts)
