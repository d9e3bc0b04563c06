"""The two relays under measurement, started in the same way: everything in on one port goes out to the sink's."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import meter

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
POSTFIX = os.path.join(ROOT, "tests/support/postfix.sh")
# Another build of the binary (musl, another feature set) may be named by FACTEUR_BIN.
FACTEUR = os.environ.get("FACTEUR_BIN") or os.path.join(ROOT, "target/release/facteur")
SPOOL_MIB = 256
SEGMENT_MIB = 4


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def run(*command):
    return subprocess.run(command, check=True, text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout


def with_names(count):
    """A release build whose table has `count` names, each with an ECDSA certificate of its own.

    It is made from this source by links, with another config/domains and certs/, in a folder below target/ that is kept.
    Its version is another, so that it can share this build's folder, and all libraries, without being taken for it.
    """
    tree = os.path.join(ROOT, "target/bench", f"names-{count}")
    os.makedirs(os.path.join(tree, "config"), exist_ok=True)
    for name in "build.rs src tests config/limits.toml config/flags".split():
        link = os.path.join(tree, name)
        if not os.path.lexists(link):
            os.symlink(os.path.join(ROOT, name), link)
    binary = f"facteur-{count}-names"
    shutil.copy(os.path.join(ROOT, "Cargo.lock"), tree)
    with open(os.path.join(ROOT, "Cargo.toml")) as manifest:
        name, version, rest = re.split(r'^version = "(.*)"\n', manifest.read(), maxsplit=1, flags=re.M)
    with open(os.path.join(tree, "Cargo.toml"), "w") as manifest:
        manifest.write(f'{name}version = "{version}-{count}-names"\nautobins = false\n{rest}')
        manifest.write(f'\n[[bin]]\nname = "{binary}"\npath = "src/main.rs"\n')
    if not os.path.exists(os.path.join(tree, "config/domains")):
        run(os.path.join(ROOT, "target/release/examples/load"), "names", tree, str(count))
    began = time.monotonic()
    build = ["cargo", "build", "--quiet", "--release", "--bin", binary, "--target-dir", os.path.join(ROOT, "target")]
    subprocess.run(build, check=True, cwd=tree, stdin=subprocess.DEVNULL)
    print(f"bench: built with {count} names in {time.monotonic() - began:.0f} s", file=sys.stderr)
    binary = os.path.join(ROOT, "target/release", binary)
    if f" names={count}\n" not in run(binary, "--version"):
        raise RuntimeError(f"{binary} has another table")
    return binary


class Facteur:
    name = "facteur"
    binary = FACTEUR
    # Without --certs: the compiled-in table's certificates are the only ones.
    table_only = False
    spool_mib = SPOOL_MIB
    # No smarthost: by DNS.
    by_mx = False
    # Flags of this run beside those of all.
    flags = ()

    def __init__(self, base, certificate):
        self.dir = os.path.join(base, "facteur")
        self.base = base
        self.certificate = certificate
        self.process = None

    def command(self, port, sink):
        certs = [] if self.table_only else ["--certs", os.path.join(self.dir, "certs"), "--default-cert", "localhost"]
        return [
            self.binary, "serve", "--listen", f"127.0.0.1:{port}", *([] if self.by_mx else ["--relay", f"127.0.0.1:{sink}"]),
            "--spool", os.path.join(self.dir, "spool"), "--spool-size", f"{self.spool_mib}M",
            "--hostname", "bench.localhost", "--log", "warn", *certs, *self.flags,
        ]  # fmt: skip

    def queue(self):
        """The flags with which `facteur queue` finds the spool."""
        return ["--spool", os.path.join(self.dir, "spool"), *self.flags]

    def prepare(self):
        """The folder with the bench's certificate, laid as certbot does."""
        shutil.rmtree(self.dir, ignore_errors=True)
        folder = os.path.join(self.dir, "certs", "localhost")
        os.makedirs(folder)
        chain, key = self.certificate
        shutil.copy(chain, os.path.join(folder, "fullchain.pem"))
        shutil.copy(key, os.path.join(folder, "privkey.pem"))

    def start(self, port, sink, under=(), zeroed=True):
        self.prepare()
        self.start_again(port, sink, under, zeroed)

    def start_again(self, port, sink, under=(), zeroed=True):
        """With what is in its folder."""
        self.under = under
        self.log = open(os.path.join(self.base, "facteur.log"), "a")
        self.process = subprocess.Popen(
            [*under, *self.command(port, sink)],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, cwd=self.dir,
        )  # fmt: skip
        meter.wait_listening(port, lambda: self.process.poll() is None)
        if zeroed:
            self.wait_zeroed()

    def wait_zeroed(self):
        """The first boot zeroes the spool in the background: it is not part of any figure."""
        spool = os.path.join(self.dir, "spool")
        end = time.monotonic() + 120
        while time.monotonic() < end:
            if sum(name.endswith(".seg") for name in os.listdir(spool)) >= self.spool_mib // SEGMENT_MIB:
                time.sleep(0.5)
                return
            time.sleep(0.1)
        raise RuntimeError(f"{spool}: not zeroed within 120 s")

    def root(self):
        return self.process.pid

    def stop(self):
        if self.process and self.process.poll() is None:
            # Under strace it is the child that gets the signal: strace would leave it running, and ends with it.
            below = meter.tree(self.process.pid)[1:] if self.under else []
            for pid in below or [self.process.pid]:
                os.kill(pid, signal.SIGTERM)
            try:
                self.process.wait(90)
            except subprocess.TimeoutExpired:
                for pid in [*below, self.process.pid]:
                    os.kill(pid, signal.SIGKILL)
                self.process.wait()
            if self.process.returncode != 0:
                print(f"bench: facteur ended with {self.process.returncode}", file=sys.stderr)
        self.process = None


class Postfix:
    """Debian's Postfix with Debian's settings (see tests/support/postfix.sh), 400 smtpd processes allowed instead of 100.

    in_flow_delay is 0, not 1s: the default slows clients down on purpose where mail comes in faster than it goes out, and
    would make the figures smaller for a reason that is not speed.
    """

    name = "Postfix"
    settings = ["in_flow_delay=0"]

    def __init__(self, base, certificate):
        self.dir = os.path.join(base, "postfix")
        self.certificate = certificate
        self.started = False

    def start(self, port, sink, under=()):
        shutil.rmtree(self.dir, ignore_errors=True)
        os.makedirs(self.dir)
        shutil.copy(self.certificate[0], os.path.join(self.dir, "cert.pem"))
        shutil.copy(self.certificate[1], os.path.join(self.dir, "key.pem"))
        # `under` (strace) goes before `postfix start`, and follows the master that it leaves behind.
        environment = {**os.environ, "POSTFIX_UNDER": " ".join(under)}
        command = [POSTFIX, "start", "relay", self.dir, str(port), str(sink), *self.settings]
        self.launcher = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL)
        self.started = True
        if not under and self.launcher.wait(30) != 0:
            raise RuntimeError("Postfix did not start")
        meter.wait_listening(port, lambda: self.launcher.poll() in (None, 0))

    def root(self):
        return int(run(POSTFIX, "pid", self.dir))

    def stop(self):
        if self.started:
            subprocess.run([POSTFIX, "stop", self.dir], check=False)
            self.launcher.wait(30)
        self.started = False


class Sink:
    """smtp-sink, which ends by itself when it has counted `count` messages."""

    def __init__(self, base, count):
        self.port = free_port()
        self.count = count
        self.log = open(os.path.join(base, "sink.log"), "w+")
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        self.process = subprocess.Popen(
            ["smtp-sink", *user, "-c", "-M", str(count), f"127.0.0.1:{self.port}", "1000"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
        )  # fmt: skip
        meter.wait_listening(self.port, lambda: self.process.poll() is None)

    def wait(self, seconds):
        """Until all are counted. (The timer ends the sink, as `wait` with a timeout polls and would blur the figure.)"""
        timer = threading.Timer(seconds, self.process.terminate)
        timer.start()
        status = self.process.wait()
        timer.cancel()
        if status != 0:
            self.log.seek(0)
            counted = re.findall(r"mesg=(\d+)", self.log.read()) or ["0"]
            raise RuntimeError(f"the sink has {counted[-1]} of {self.count} messages after {seconds} s")

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait()
        self.log.close()
