"""The delay of fresh mail to a live destination, with and without mail for a thousand destinations that are down.

All MX hosts are addresses of the loopback network: a half of the dead ones has a listener whose queue is full, so that a
connection there is never answered (a black hole), the other half refuses. The live one is smtp-sink's. A DNS stub in this
process tells where they are. What is slow here is waiting, not work, so a run is bounded by `SECONDS`.
"""

import glob
import os
import re
import smtplib
import socket
import statistics
import subprocess
import sys
import time

import meter
import relays

sys.path.insert(0, os.path.join(relays.ROOT, "tests/support"))
import dns_stub  # noqa: E402

DEAD = 1000
FRESH = 100
SECONDS = 60
LIVE = "127.0.0.1"


def address(n):
    """The n-th dead host's; black holes have an even number."""
    return f"127.9.{n // 250}.{n % 250 + 1}"


class BlackHoles:
    """Listeners that take no connection: behind the first few, which fill the queue, every SYN is dropped."""

    def __init__(self, port):
        self.sockets = []
        for n in range(0, DEAD, 2):
            listener = socket.socket()
            self.sockets.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((address(n), port))
            listener.listen(0)
            for _ in range(3):
                filler = socket.socket()
                self.sockets.append(filler)
                filler.setblocking(False)
                filler.connect_ex((address(n), port))

    def close(self):
        for one in self.sockets:
            one.close()


def known(name):
    """MX and address of the hosts mx.N.dead.test and mx.live.test, and of the domains below them."""
    number = re.fullmatch(r"(?:mx\.)?(\d+)\.dead\.test", name)
    if number and int(number[1]) < DEAD:
        host = address(int(number[1]))
    elif re.fullmatch(r"(mx\.)?live\.test|(mx\.)?bench\.localhost", name):
        host = LIVE
    else:
        return None
    return (None, host) if name.startswith("mx.") else (f"mx.{name}", None)


class Arrivals:
    """smtp-sink, which writes a file for each message; a file's time is its arrival's."""

    def __init__(self, base, port):
        self.folder = os.path.join(base, "arrived")
        os.makedirs(self.folder, exist_ok=True)
        os.chmod(self.folder, 0o777)
        for file in glob.glob(f"{self.folder}/*"):
            os.remove(file)
        self.process = subprocess.Popen(
            ["smtp-sink", "-u", "nobody", "-d", f"{self.folder}/m.", f"{LIVE}:{port}", "100"], stdin=subprocess.DEVNULL
        )
        meter.wait_listening(port, lambda: self.process.poll() is None)

    def times(self):
        """When each message (a line `X-Fresh: N` tells which) had arrived."""
        found = {}
        for file in glob.glob(f"{self.folder}/*"):
            with open(file, encoding="latin-1") as text:
                number = re.search(r"^X-Fresh: (\d+)\s*\n[^\0]*\Z", text.read(), re.M)
            if number:
                found[int(number[1])] = os.stat(file).st_mtime
        return found

    def stop(self):
        self.process.terminate()
        self.process.wait()


def measure(relay, base, dead):
    """Milliseconds from the 250 to the arrival of FRESH messages, sent five a second, sorted."""
    port, smtp = relays.free_port(), relays.free_port()
    stub, sink = dns_stub.Stub(known), Arrivals(base, smtp)
    holes = BlackHoles(smtp) if dead else None
    relay.flags = ("--resolver", f"127.0.0.1:{stub.port}", "--smtp-port", str(smtp), "--mx-loopback", "--tls-out", "none")
    relay.by_mx = True
    try:
        relay.start(port, 9)
        if dead:
            queue_dead(port)
        return delays(port, sink)
    finally:
        relay.stop()
        del relay.flags, relay.by_mx
        sink.stop()
        if holes:
            holes.close()


def queue_dead(port):
    with smtplib.SMTP("127.0.0.1", port, "bench.localhost", timeout=60) as client:
        for n in range(DEAD):
            client.sendmail("sender@bench.localhost", f"to@{n}.dead.test", b"Subject: dead\r\n\r\nx\r\n")


def delays(port, sink):
    acknowledged = {}
    with smtplib.SMTP("127.0.0.1", port, "bench.localhost", timeout=60) as client:
        for n in range(FRESH):
            text = f"Subject: fresh\r\nX-Fresh: {n}\r\n\r\nx\r\n".encode()
            client.sendmail("sender@bench.localhost", "to@live.test", text)
            acknowledged[n] = time.time()
            time.sleep(0.2)
    end = time.monotonic() + SECONDS
    while len(arrived := sink.times()) < FRESH:
        if time.monotonic() > end:
            raise RuntimeError(f"{len(arrived)} of {FRESH} fresh messages arrived within {SECONDS} s of the last")
        time.sleep(0.1)
    # A file's time may be a tick of the clock (4 ms) older than the moment.
    return sorted(max(0.0, (arrived[n] - acknowledged[n]) * 1000) for n in range(FRESH))


def figures(delays):
    return {"median": statistics.median(delays), "95 %": delays[len(delays) * 95 // 100 - 1], "longest": delays[-1]}
