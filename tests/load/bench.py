"""scripts/bench's measurements and table. See scripts/bench for how to call it."""

import argparse
import glob
import os
import re
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

import dead
import distant
import meter
import relays
from table import Row, Table

LOAD = os.path.join(relays.ROOT, "target/release/examples/load")
PROTOCOL = os.path.join(relays.ROOT, "target/release/examples/protocol")
PAYLOAD = 4096
WAIT = 300
SLOW_FLUSH_US = 10000
NAMES = 10000
HANDSHAKES = 12000
# Idle sessions at once.
HELD = 1000
# What a start is to find, and the spool that holds it.
QUEUED = 100000
QUEUED_MIB = 576


class Bench:
    def __init__(self, base, quick):
        self.base = base
        self.quick = quick
        self.certificate = self.make_certificate()
        self.relays = [relays.Postfix(base, self.certificate)]
        if serves():
            self.relays.insert(0, relays.Facteur(base, self.certificate))
        self.others = []

    def make_certificate(self):
        chain, key = os.path.join(self.base, "cert.pem"), os.path.join(self.base, "key.pem")
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "90",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", chain],
            check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return chain, key

    def stop(self):
        for process in self.others:
            process.stop() if isinstance(process, relays.Sink) else stop_process(process)
        for relay in self.relays:
            relay.stop()

    def rounds(self, quick, full):
        return quick if self.quick else full

    # --- one relay at work ---

    def relayed(self, relay, sessions, count, under=()):
        """Starts the relay, sends `count` messages through it and waits for the last at the sink. One dict of figures."""
        sink = relays.Sink(self.base, count)
        self.others.append(sink)
        port = relays.free_port()
        relay.start(port, sink.port, under)
        root = relay.root()
        cpu, written, wall = meter.cpu_seconds(root), meter.write_bytes(root), time.time()
        begin = time.monotonic()
        source = subprocess.Popen(
            ["smtp-source", "-d", "-s", str(sessions), "-l", str(PAYLOAD), "-m", str(count), "-f", "sender@bench.localhost",
             "-t", "recipient@example.test", f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.others.append(source)
        sink.wait(WAIT)
        taken = time.monotonic() - begin
        figures = {
            "rate": count / taken,
            "cpu": (meter.cpu_seconds(root) - cpu) / count * 1000,
            "written": (meter.write_bytes(root) - written) / (count * PAYLOAD),
            "from": wall,
            "to": wall + taken,
        }
        if source.wait(30) != 0:
            raise RuntimeError(f"smtp-source through {relay.name} ended with {source.returncode}")
        relay.stop()
        return figures

    def alternate(self, rounds, measure):
        """measure(relay) for each relay in turn, `rounds` times: {relay's name: [figures]}."""
        figures = {relay.name: [] for relay in self.relays}
        for _ in range(rounds):
            for relay in self.relays:
                figures[relay.name].append(measure(relay))
        return figures

    # --- the rows ---

    def rate(self, sessions, count, factor, cpu_budget):
        figures = self.alternate(
            self.rounds(1, 3), lambda relay: self.relayed(relay, sessions, count // self.rounds(4, 1))
        )
        of = lambda key: {name: statistics.median(one[key] for one in all) for name, all in figures.items()}
        yield Row(f"relayed, {noun(sessions)}", "msg/s", of("rate"), factor=factor)
        yield Row(f"CPU, {noun(sessions)}", "ms/msg", of("cpu"), factor=cpu_budget, digits=3)

    def rate_1(self):
        return self.rate(1, 2000, factor=(">=", 2.5), cpu_budget=None)

    def rate_20(self):
        return self.rate(20, 10000, factor=(">=", 6), cpu_budget=("<=", 1 / 8))

    def rate_50(self):
        return self.rate(50, 10000, factor=(">=", 6), cpu_budget=None)

    def flushes(self):
        """fsync and fdatasync calls between the first message's start and the last one's arrival, by strace.

        strace stops the relay at those calls only (--seccomp-bpf), so it costs little but is not nothing.
        """
        trace = os.path.join(self.base, "strace.log")
        under = [*strace("fsync,fdatasync,sync_file_range,msync"), "-ttt", "-o", trace]

        def measure(relay, sessions, count):
            figures = self.relayed(relay, sessions, count, under)
            with open(trace) as lines:
                times = [float(at) for at in re.findall(r"^\d+ +(\d+\.\d+) (?!<)\w+\(", lines.read(), re.M)]
            return sum(figures["from"] <= at <= figures["to"] for at in times) / count

        for sessions, count, limit in ((1, 1000, None), (20, 5000, None), (50, 5000, ("<=", 0.1))):
            count //= self.rounds(2, 1)
            figures = self.alternate(1, lambda relay: measure(relay, sessions, count))
            yield Row(f"flushes, {noun(sessions)}", "/msg", first(figures), limit=limit, digits=3)

    def slow_flush(self):
        """Rates with every fsync and fdatasync slowed by 10 ms, as an SD card does, by strace's delay_exit.

        strace alone costs something too, on both: its rate without the delay is a row of its own. The delay is each
        process's own: a real card would let Postfix's processes wait for each other as well.
        """
        calls = "fsync,fdatasync"
        silent = [*strace(calls), "-o", "/dev/null"]
        slow = [*silent, "-e", f"inject={calls}:delay_exit={SLOW_FLUSH_US}"]
        for how, under, sessions, count in (
            ("strace alone", silent, 20, 5000),
            ("flush +10 ms", slow, 1, 300),
            ("flush +10 ms", slow, 20, 3000),
            ("flush +10 ms", slow, 50, 5000),
        ):
            count //= self.rounds(2, 1)
            figures = self.alternate(1, lambda relay: self.relayed(relay, sessions, count, under)["rate"])
            yield Row(f"relayed, {how}, {noun(sessions)}", "msg/s", first(figures))

    def written(self):
        """Bytes written for a payload byte, as the device counts them and as the kernel does for the processes."""
        for sessions, count, limit in ((1, 2000, 2.2), (20, 5000, 1.5), (50, 5000, 1.5)):
            count //= self.rounds(2, 1)
            all = self.alternate(1, lambda relay: self.on_own_disk(relay, sessions, count))
            of = lambda place: {name: one[0][place] for name, one in all.items()}
            # Without a device of its own, what the processes did is held against the budget.
            device = None not in of(0).values()
            if device:
                yield Row(f"to the device, {noun(sessions)}", "byte/byte", of(0), limit=("<=", limit))
            by_processes = None if device else ("<=", limit)
            yield Row(f"by /proc/PID/io, {noun(sessions)}", "byte/byte", of(1), limit=by_processes)

    def on_own_disk(self, relay, sessions, count):
        """Bytes for a payload byte: (those that reach the device, those that the relay's processes made dirty).

        The relay works on an ext4 of its own on a loop device, which the kernel counts apart (journal and all), and
        everything dirty is written out before the count ends. Where that cannot be had, the first is None.
        """
        disk = OwnDisk(self.base)
        home, relay.dir = relay.dir, os.path.join(disk.dir, "relay")
        try:
            before = {}

            def start(*arguments, begin=relay.start):
                begin(*arguments)
                before["sectors"] = disk.sectors()

            relay.start = start
            figures = self.relayed(relay, sessions, count)
            sectors = disk.sectors()
        finally:
            del relay.start
            relay.stop()
            relay.dir = home
            disk.remove()
        device = None if sectors is None else (sectors - before["sectors"]) * 512 / (count * PAYLOAD)
        return device, figures["written"]

    def memory(self):
        """facteur holds HELD sessions, Postfix a fifth: each is a process, and what one takes does not depend on it."""
        held = {"facteur": self.rounds(200, HELD), "Postfix": self.rounds(50, HELD // 5)}
        figures = self.alternate(1, lambda relay: self.memory_of(relay, held[relay.name]))
        of = lambda key: {name: all[0][key] for name, all in figures.items()}
        yield Row("resident, idle", "MiB", of("idle"), limit=("<=", 4))
        yield Row("resident, after 4,000 handshakes", "MiB", of("after"), limit=("<=", 6))
        for name, size in of("held").items():
            yield Row(f"resident, {held[name]:,} idle STARTTLS", "MiB", {name: size})
        yield Row("an idle STARTTLS session", "KiB", of("session"), limit=("<=", 12), digits=1)

    def memory_of(self, relay, count):
        """Two starts: what many sessions at once leave behind is not what handshakes one after another do."""
        idle, after = self.memory_of_handshakes(relay)
        base, held = self.memory_of_sessions(relay, count)
        return {
            "idle": idle / meter.MIB,
            "after": after / meter.MIB,
            "held": held / meter.MIB,
            "session": (held - base) / count / 1024,
        }

    def memory_of_handshakes(self, relay):
        port = relays.free_port()
        relay.start(port, relays.free_port())
        idle = meter.steady_pss(relay.root())
        # Postfix keeps its processes, so fewer are as good.
        run_load("handshakes", f"127.0.0.1:{port}", "4000" if relay.name == "facteur" else "400", "8")
        after = meter.steady_pss(relay.root())
        relay.stop()
        return idle, after

    def memory_of_sessions(self, relay, count):
        port = relays.free_port()
        at = f"127.0.0.1:{port}"
        relay.flags = ("--sessions", str(count + 16))
        try:
            relay.start(port, relays.free_port())
        finally:
            del relay.flags
        run_load("handshakes", at, "8", "1")
        base = meter.steady_pss(relay.root())
        hold = subprocess.Popen([LOAD, "hold", at, str(count)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.others.append(hold)
        if hold.stdout.readline() != f"held {count}\n":
            raise RuntimeError(f"{relay.name} does not hold {count} sessions")
        held = meter.steady_pss(relay.root())
        hold.communicate()
        relay.stop()
        return base, held

    def handshakes(self):
        """New STARTTLS sessions a second from 8 client threads; the bare server takes part in every round."""
        rates = {"bare": [], **{relay.name: [] for relay in self.relays}}
        for _ in range(self.rounds(1, 5)):
            rates["bare"].append(self.handshakes_with_bare())
            for relay in self.relays:
                port = relays.free_port()
                relay.start(port, relays.free_port())
                run_load("handshakes", f"127.0.0.1:{port}", "200", "8")
                count = 4000 if relay.name == "facteur" else 1000
                rates[relay.name].append(float(run_load("handshakes", f"127.0.0.1:{port}", str(count), "8")))
                relay.stop()
        figures = {name: statistics.median(all) for name, all in rates.items()}
        bare = figures.pop("bare")
        yield Row("new STARTTLS sessions", "/s", figures, limit=(">=", 0.9 * bare), note=f"0.9 x bare {bare:.0f}")

    def handshakes_with_bare(self):
        port = relays.free_port()
        bare = subprocess.Popen([LOAD, "bare", f"127.0.0.1:{port}", *self.certificate], stdin=subprocess.DEVNULL)
        self.others.append(bare)
        meter.wait_listening(port, lambda: bare.poll() is None)
        run_load("handshakes", f"127.0.0.1:{port}", "200", "8")
        rate = float(run_load("handshakes", f"127.0.0.1:{port}", "4000", "8"))
        stop_process(bare)
        return rate

    def start(self):
        """From exec to the first 220 read, on a spool (a queue folder) that exists and is empty."""
        figures = {}
        for relay in self.relays:
            port, sink = relays.free_port(), relays.free_port()
            relay.start(port, sink)
            relay.stop()
            if relay.name == "facteur":
                command = relay.command(port, sink)
            else:
                command = ["postfix", "-c", os.path.join(relay.dir, "etc"), "start"]
            times = []
            for _ in range(self.rounds(3, 11)):
                times.append(float(run_load("first220", f"127.0.0.1:{port}", *command)))
                if relay.name != "facteur":
                    relay.started = True
                    relay.stop()
            figures[relay.name] = statistics.median(times)
        yield Row("start to the first 220", "ms", figures, limit=("<=", 15), digits=1)

    def names(self):
        """A table of 10,000 names with a certificate each, compiled into a binary of its own, against the table of one.

        Both without --certs, by the compiled-in table alone. After a handshake for each name at least, every page of the
        table is resident; the kernel may drop those at any time, and what it may not is told apart.
        """
        facteur = next((relay for relay in self.relays if relay.name == "facteur"), None)
        if facteur is None:
            return
        binaries = {1: relays.FACTEUR, NAMES: relays.with_names(NAMES)}
        times, idle, after = {}, {}, {}
        try:
            for names, facteur.binary in binaries.items():
                facteur.table_only = True
                idle[names], after[names], times[names] = self.with_table(facteur, names)
        finally:
            facteur.stop()
            facteur.binary, facteur.table_only = relays.FACTEUR, False
        of = lambda value: {"facteur": value}
        more = lambda sizes, kind: of((sizes[NAMES][kind] - sizes[1][kind]) / meter.MIB)
        many = f"{NAMES:,} names"
        yield Row("start to the first 220, 1 name", "ms", of(times[1]), limit=("<=", 15), digits=1)
        yield Row(f"first 220, {many}", "ms", of(times[NAMES]), limit=("<=", 50), digits=1)
        yield Row(f"resident for {many}, idle", "MiB", more(idle, "all"), limit=("<=", 2))
        yield Row("when all were asked for", "MiB", more(after, "all"))
        yield Row("of that, not pages of the binary", "MiB", more(after, "private"), limit=("<=", 2))
        grown = (os.path.getsize(binaries[NAMES]) - os.path.getsize(binaries[1])) / NAMES / 1024
        yield Row("binary, for each name", "KiB", of(grown))

    def with_table(self, facteur, names):
        """Bytes resident when idle and after handshakes for all names; milliseconds to the first 220."""
        port, sink = relays.free_port(), relays.free_port()
        facteur.start(port, sink)
        resident = lambda: {"all": meter.steady_pss(facteur.root()), "private": meter.anonymous_bytes(facteur.root())}
        idle = resident()
        run_load("handshakes", f"127.0.0.1:{port}", str(HANDSHAKES), "8", str(names if names > 1 else 0))
        after = resident()
        facteur.stop()
        first = lambda: float(run_load("first220", f"127.0.0.1:{port}", *facteur.command(port, sink)))
        return idle, after, statistics.median(first() for _ in range(self.rounds(3, 11)))

    def recovery(self):
        """From exec to the first 220 with 100,000 messages of 4 KiB in the queue, which the start reads through.

        Warm: the system has the spool's octets in memory, as after a crash of the relay alone. Cold: as after a power cut,
        without those of facteur itself (but what a hypervisor keeps of a virtual disk is beyond reach).
        """
        for relay in self.relays:
            if relay.name == "facteur":
                yield from self.recovery_of(relay, "", ())
                key = os.path.join(self.base, "spool.key")
                relays.run(relays.FACTEUR, "spool-key", key)
                yield from self.recovery_of(relay, ", sealed", ("--spool-key", key))

    def recovery_of(self, relay, how, flags):
        relay.flags, relay.spool_mib = flags, QUEUED_MIB
        try:
            port, nowhere = self.fill(relay)
            command = relay.command(port, nowhere)
            taken, cpu = {"warm": [], "cold": []}, []
            for _ in range(self.rounds(1, 5)):
                for state, times in taken.items():
                    cold = state == "cold"
                    if cold and not drop_caches():
                        continue
                    if not cold:
                        read_all(os.path.join(relay.dir, "spool"))
                    before = children_cpu()
                    times.append(float(run_load("first220", f"127.0.0.1:{port}", *command)) / 1000)
                    cpu.append(children_cpu() - before)
            for state, times in taken.items():
                figure = {"facteur": statistics.median(times)} if times else {}
                limit = ("<=", 2) if state == "warm" else None
                yield Row(f"start, 100,000 queued{how}, {state}", "s", figure, limit=limit)
            yield Row(f"CPU of it{how}", "s", {"facteur": statistics.median(cpu)})
        finally:
            relay.stop()
            del relay.flags, relay.spool_mib
            shutil.rmtree(relay.dir, ignore_errors=True)

    def fill(self, relay):
        """A spool full of messages whose next hop is down. The ports of the relay and of the next hop."""
        port, nowhere = relays.free_port(), relays.free_port()
        relay.start(port, nowhere, zeroed=False)
        subprocess.run(
            ["smtp-source", "-d", "-s", "50", "-l", str(PAYLOAD), "-m", str(QUEUED), "-f", "sender@bench.localhost",
             "-t", "recipient@example.test", f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL, check=True, timeout=WAIT,
        )  # fmt: skip
        relay.wait_zeroed()
        relay.stop()
        last = relays.run(relays.FACTEUR, "queue", "list", *relay.queue()).splitlines()[-1]
        if not last.startswith(f"{QUEUED} "):
            raise RuntimeError(f"{QUEUED} messages were to be queued: {last}")
        return port, nowhere

    def dead(self):
        """Fresh mail's delay, from its MAIL to its arrival at a live destination, while 1,000 others are down."""
        for relay in self.relays:
            if relay.name != "facteur":
                continue
            lab = dead.Lab(relay, self.base)
            try:
                for name, delay in dead.figures(lab.alone()).items():
                    yield Row(f"fresh mail alone, {name}", "ms", {"facteur": delay}, digits=1)
                for name, delay in dead.figures(lab.retries()).items():
                    limit = ("<=", 1000) if name == "95 %" else None
                    yield Row(f"fresh, 1,000 down and retried, {name}", "ms", {"facteur": delay}, limit=limit, digits=1)
                fresh, new = lab.first_attempts()
                for name, delay in dead.figures(fresh).items():
                    yield Row(f"fresh, 1,000 first attempts, {name}", "ms", {"facteur": delay}, digits=1)
                yield Row("a new destination behind them", "s", {"facteur": new / 1000}, digits=1)
            finally:
                lab.stop()

    def distant(self):
        """Messages to a host that is 50 ms away, by at most 20 connections: with CHUNKING offered and without."""
        count = self.rounds(500, 2000)
        for chunking in (True, False):
            figures = self.alternate(1, lambda relay: self.to_distant(relay, count, chunking))
            offered = "CHUNKING" if chunking else "no CHUNKING"
            yield Row(f"relayed over 50 ms, {offered}", "msg/s", first(figures))

    def to_distant(self, relay, count, chunking):
        far, port = distant.Distant(count, chunking), relays.free_port()
        relay.start(port, far.port)
        begin = time.monotonic()
        source = subprocess.Popen(
            ["smtp-source", "-d", "-s", "20", "-l", str(PAYLOAD), "-m", str(count), "-f", "sender@bench.localhost",
             "-t", "recipient@example.test", f"127.0.0.1:{port}"], stdin=subprocess.DEVNULL,
        )  # fmt: skip
        self.others.append(source)
        if not far.done.wait(WAIT):
            raise RuntimeError(f"{far.left} of {count} messages did not arrive within {WAIT} s")
        taken = time.monotonic() - begin
        source.wait(30)
        relay.stop()
        far.stop()
        return count / taken

    def protocol(self):
        """What the receiving machine costs by itself: no socket, no disk."""
        lines = dict(line.split() for line in relays.run(PROTOCOL).splitlines())
        data, command = float(lines["data_gigabytes_a_second"]), float(lines["command_nanoseconds"])
        yield Row("message data, one core", "GB/s", {"facteur": data}, limit=(">=", 1))
        yield Row("a command", "ns", {"facteur": command}, limit=("<=", 500), digits=0)

    def size(self):
        """facteur: the stripped binary. Postfix: the programs and libraries that take part here, without OpenSSL's 5 MB."""
        daemons = "master smtpd smtp cleanup qmgr trivial-rewrite bounce pickup anvil tlsmgr scache error".split()
        files = [f"/usr/lib/postfix/sbin/{name}" for name in daemons] + glob.glob("/usr/lib/postfix/libpostfix-*.so")
        figures = {"Postfix": sum(map(os.path.getsize, files)) / meter.MIB}
        if len(self.relays) > 1:
            figures["facteur"] = os.path.getsize(relays.FACTEUR) / meter.MIB
        yield Row("stripped binary", "MiB", figures, limit=("<=", 2.5))


ROWS = {
    "rate-1": Bench.rate_1,
    "rate-20": Bench.rate_20,
    "rate-50": Bench.rate_50,
    "flushes": Bench.flushes,
    "slow-flush": Bench.slow_flush,
    "written": Bench.written,
    "memory": Bench.memory,
    "handshakes": Bench.handshakes,
    "start": Bench.start,
    "names": Bench.names,
    "recovery": Bench.recovery,
    "dead": Bench.dead,
    "distant": Bench.distant,
    "protocol": Bench.protocol,
    "size": Bench.size,
}


class OwnDisk:
    """A fresh ext4 on a loop device, or a plain folder where there is none to be had (no root, a container)."""

    def __init__(self, base):
        self.dir = tempfile.mkdtemp(dir=base, prefix="disk.")
        os.chmod(self.dir, 0o755)
        self.image = self.dir + ".img"
        self.device = None
        try:
            # Written in full and initialised now, so that the file system has nothing left to do in the background.
            relays.run("dd", "if=/dev/zero", f"of={self.image}", "bs=1M", "count=768", "status=none", "conv=fsync")
            relays.run("mkfs.ext4", "-qF", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image)
            device = relays.run("losetup", "--find", "--show", self.image).strip()
            try:
                relays.run("mount", device, self.dir)
                self.device = device
            finally:
                # The mount keeps the device; without one it goes now.
                relays.run("losetup", "--detach", device)
        except (OSError, subprocess.CalledProcessError) as problem:
            print(f"bench: no disk of its own ({problem}): counting dirtied bytes instead", file=sys.stderr)

    def sectors(self):
        """Sectors of 512 bytes written to the device once all that is dirty has been written out; None without one."""
        if self.device is None:
            return None
        relays.run("sync", "-f", self.dir)
        with open(f"/sys/block/{os.path.basename(self.device)}/stat") as stat:
            return int(stat.read().split()[6])

    def remove(self):
        if self.device is not None:
            relays.run("umount", self.dir)
        if os.path.exists(self.image):
            os.remove(self.image)


def read_all(folder):
    """Has the system keep all files of a folder in memory."""
    for entry in os.scandir(folder):
        # A relay that was killed leaves its socket.
        if entry.is_file():
            with open(entry.path, "rb") as file:
                while file.read(1 << 20):
                    pass


def children_cpu():
    """User and system time of all children that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def drop_caches():
    """Has the system forget what it keeps of files; False where that is not allowed."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w") as drop:
            drop.write("1")
    except OSError as problem:
        print(f"bench: caches are not dropped ({problem})", file=sys.stderr)
        return False
    return True


def noun(sessions):
    return f"{sessions} session" if sessions == 1 else f"{sessions} sessions"


def strace(calls):
    """In front of a relay: stops it and what it starts at these calls, and at no others."""
    return ["strace", "-f", "--seccomp-bpf", "-qq", "-e", f"trace={calls}"]


def first(figures):
    return {name: all[0] for name, all in figures.items()}


def run_load(*arguments):
    return relays.run(LOAD, *arguments).strip()


def stop_process(process):
    if process.poll() is None:
        process.terminate()
    process.wait()


def serves():
    """Is there a facteur that has `serve` yet?"""
    try:
        help = subprocess.run([relays.FACTEUR, "serve", "--help"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return "--relay" in help.stdout + help.stderr


def main():
    parser = argparse.ArgumentParser(prog="scripts/bench", description="facteur against Postfix and against its budgets")
    parser.add_argument("row", nargs="*", help=f"only these of: {' '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="fewer messages and rounds: minutes less, and noisier")
    arguments = parser.parse_args()
    for row in arguments.row:
        if row not in ROWS:
            parser.error(f"row {row}: one of {' '.join(ROWS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    base = tempfile.mkdtemp(prefix="facteur-bench.", dir=os.environ.get("FACTEUR_BENCH_DIR", "/var/tmp"))
    os.chmod(base, 0o755)
    bench = Bench(base, arguments.quick)
    if len(bench.relays) == 1:
        print("bench: target/release/facteur has no `serve` yet: Postfix only", file=sys.stderr)
    table, failures = Table(), 0
    try:
        table.head()
        for name in arguments.row or ROWS:
            try:
                for row in ROWS[name](bench):
                    table.line(row)
            except (RuntimeError, OSError, subprocess.SubprocessError) as problem:
                failures += 1
                print(f"{name}: not measured: {problem}", flush=True)
                bench.stop()
    finally:
        bench.stop()
        shutil.rmtree(base, ignore_errors=True)
    table.foot()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
