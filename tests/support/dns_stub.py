"""A DNS server for labs, on an address of this machine: it knows what it is told and answers everything else NXDOMAIN."""

import ipaddress
import socket
import struct
import threading

A, MX, AAAA = 1, 15, 28


class Stub(threading.Thread):
    """`known(name)` gives the MX host's name and the address of a lower-case name, either of them None, or None for NXDOMAIN."""

    def __init__(self, known, address="127.0.0.1", port=0):
        super().__init__(daemon=True)
        self.known = known
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind((address, port))
        self.port = self.socket.getsockname()[1]
        self.start()

    def run(self):
        while True:
            question, client = self.socket.recvfrom(4096)
            answer = self.answer(question)
            if answer:
                self.socket.sendto(answer, client)

    def answer(self, question):
        if len(question) < 17 or question[2] & 0x80:
            return None
        labels, at = [], 12
        while at < len(question) and question[at]:
            labels.append(question[at + 1 : at + 1 + question[at]])
            at += 1 + question[at]
        name = b".".join(labels).decode("ascii", "replace").lower()
        (kind,) = struct.unpack_from(">H", question, at + 1)
        known = self.known(name)
        records = [] if known is None else list(self.records(kind, *known))
        # An answer, authoritative, recursion available; NXDOMAIN is 3.
        flags = 0x8480 | (question[2] & 1) << 8 | (3 if known is None else 0)
        head = question[:2] + struct.pack(">5H", flags, 1, len(records), 0, 0)
        # Each record's owner is the question's name, by a pointer.
        record = lambda data: struct.pack(">HHHIH", 0xC00C, kind, 1, 300, len(data)) + data
        return head + question[12 : at + 5] + b"".join(map(record, records))

    def records(self, kind, host, address):
        if kind == MX and host:
            labels = b"".join(bytes([len(label)]) + label.encode() for label in host.split("."))
            yield struct.pack(">H", 10) + labels + b"\0"
        if kind == A and address:
            yield ipaddress.IPv4Address(address).packed
