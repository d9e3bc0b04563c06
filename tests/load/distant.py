"""How fast mail goes to a host far away: a next hop on loopback that answers each read only after a round trip's time.

With CHUNKING offered and without, so that the figures tell what BDAT (RFC 3030) is worth.
"""

import socket
import threading
import time

# Seconds from a write to its answer.
ROUND_TRIP = 0.05


class Distant:
    """A next hop. It takes everything and counts messages; `done` is set at the last of them."""

    def __init__(self, count, chunking):
        self.left, self.done, self.lock = count, threading.Event(), threading.Lock()
        self.offer = b"250-far.test\r\n250-PIPELINING\r\n" + (b"250-CHUNKING\r\n" if chunking else b"") + b"250 8BITMIME\r\n"
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        session = Session(self.offer, self.count)
        with connection:
            connection.sendall(b"220 far.test\r\n")
            while not session.over:
                try:
                    read = connection.recv(65536)
                except ConnectionResetError:
                    # The relay's stop cuts idle connections off.
                    return
                if not read:
                    return
                if replies := session.take(read):
                    time.sleep(ROUND_TRIP)
                    connection.sendall(replies)

    def count(self):
        with self.lock:
            self.left -= 1
            if self.left == 0:
                self.done.set()

    def stop(self):
        self.listener.close()


class Session:
    """What a peer sends goes in, replies come out."""

    def __init__(self, offer, count):
        self.offer, self.count, self.held, self.data, self.chunk, self.over = offer, count, b"", False, 0, False

    def take(self, read):
        self.held += read
        replies = b""
        while (reply := self.step()) is not None:
            replies += reply
        return replies

    def step(self):
        """The reply to what stands first in `held`, which is taken from it; None: that is not whole yet."""
        if self.chunk:
            return self.end(self.chunk) if len(self.held) >= self.chunk else None
        if self.data:
            at = self.held.find(b"\r\n.\r\n")
            return None if at < 0 else self.end(at + 5)
        line, found, rest = self.held.partition(b"\r\n")
        if not found:
            return None
        self.held = rest
        verb = line[:4].upper()
        if verb == b"BDAT":
            self.chunk = int(line.split()[1])
            return b""
        self.data, self.over = verb == b"DATA", verb == b"QUIT"
        return {b"EHLO": self.offer, b"DATA": b"354 go on\r\n", b"QUIT": b"221 bye\r\n"}.get(verb, b"250 ok\r\n")

    def end(self, octets):
        self.held, self.data, self.chunk = self.held[octets:], False, 0
        self.count()
        return b"250 2.0.0 taken\r\n"
