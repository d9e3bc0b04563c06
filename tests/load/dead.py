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
# How long is waited for a message to a new destination: behind a thousand first attempts, of which half are black holes.
NEW_SECONDS = 300
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
    """MX and address of the hosts mx.N.dead.test and mx.live.test and mx.new.test, and of the domains below them."""
    number = re.fullmatch(r"(?:mx\.)?(\d+)\.dead\.test", name)
    if number and int(number[1]) < DEAD:
        host = address(int(number[1]))
    elif re.fullmatch(r"(mx\.)?(live|new)\.test|(mx\.)?bench\.localhost", name):
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


class Lab:
    """facteur that goes by MX, the resolver that it asks, the live host and, for a part of the time, the dead ones."""

    def __init__(self, relay, base):
        self.relay, self.port, self.smtp = relay, relays.free_port(), relays.free_port()
        self.stub, self.sink, self.holes = dns_stub.Stub(known), Arrivals(base, self.smtp), None
        relay.by_mx = True

    def flags(self, *more):
        resolver = f"127.0.0.1:{self.stub.port}"
        self.relay.flags = ("--resolver", resolver, "--smtp-port", str(self.smtp), "--mx-loopback", "--tls-out", "none", *more)

    def stop(self):
        self.relay.stop()
        self.relay.flags, self.relay.by_mx = (), False
        self.sink.stop()
        if self.holes:
            self.holes.close()

    def alone(self):
        """Sorted milliseconds of the fresh messages with nothing else queued."""
        self.flags()
        self.relay.start(self.port, 9)
        arrived = self.send_fresh(FRESH)
        self.relay.stop()
        return sorted(arrived)

    def first_attempts(self):
        """The same while all the dead destinations wait for their first attempt, or have it; before, the live one took one
        message. And how long one takes to a live destination that never took any."""
        self.flags()
        self.relay.start(self.port, 9)
        self.send_fresh(1)
        self.queue_dead()
        fresh = sorted(self.send_fresh(FRESH // 4))
        (new,) = self.send_fresh(1, to="to@new.test", wait=NEW_SECONDS) or [float("inf")]
        return fresh, new

    def retries(self):
        """The same when each dead destination has failed, and all of them are due again every few seconds."""
        self.holes = BlackHoles(self.smtp)
        self.flags("--outbound", str(DEAD), "--retry", "5s..5s")
        self.relay.start(self.port, 9)
        self.queue_dead()
        self.wait_tried()
        self.relay.stop()
        self.flags("--retry", "5s..5s")
        self.relay.start_again(self.port, 9)
        arrived = self.send_fresh(FRESH)
        self.relay.stop()
        return sorted(arrived)

    def queue_dead(self):
        with smtplib.SMTP("127.0.0.1", self.port, "bench.localhost", timeout=60) as client:
            for n in range(DEAD):
                client.sendmail("sender@bench.localhost", f"to@{n}.dead.test", b"Subject: dead\r\n\r\nx\r\n")

    def wait_tried(self):
        """Until each of them has been tried."""
        end = time.monotonic() + 2 * SECONDS
        while time.monotonic() < end:
            listed = relays.run(self.relay.binary, "queue", "list", "--json", "--spool", os.path.join(self.relay.dir, "spool"))
            if '"attempts":0,' not in listed:
                return
            time.sleep(1)
        raise RuntimeError(f"not all dead destinations were tried within {2 * SECONDS} s")

    def send_fresh(self, count, to="to@live.test", wait=SECONDS):
        """Five a second. Milliseconds from MAIL to the arrival of each that arrives, until `wait` seconds after the last."""
        before, begun = set(self.sink.times()), {}
        first = max(before, default=-1) + 1
        with smtplib.SMTP("127.0.0.1", self.port, "bench.localhost", timeout=60) as client:
            for n in range(first, first + count):
                text = f"Subject: fresh\r\nX-Fresh: {n}\r\n\r\nx\r\n".encode()
                begun[n] = time.time()
                client.sendmail("sender@bench.localhost", to, text)
                time.sleep(0.2)
        end = time.monotonic() + wait
        while len(arrived := self.sink.times().keys() & begun) < count and time.monotonic() < end:
            time.sleep(0.1)
        times = self.sink.times()
        # A file's time may be a tick of the clock (4 ms) older than the moment.
        return [max(0.0, (times[n] - begun[n]) * 1000) for n in arrived]


def figures(delays):
    return {"median": statistics.median(delays), "95 %": delays[len(delays) * 95 // 100 - 1], "longest": delays[-1]}
