"""facteur, as a process of its own."""

import os
import re
import signal
import socket
import subprocess
import time


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_listening(port, alive, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        alive()
        try:
            # What greets is up; a peer that was only connected to would log a lost session.
            with socket.create_connection(("127.0.0.1", port), 5) as probe:
                if probe.recv(3) == b"220":
                    probe.sendall(b"QUIT\r\n")
                    return
        except OSError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"nothing greets on port {port} within {seconds} s")


class Facteur:
    def __init__(self, binary, folder, name, *flags):
        self.port, self.folder, self.log = free_port(), folder, folder / f"{name}.log"
        (folder / "no-flags").write_text("")
        self.spool = folder / f"{name}.spool"
        self.binary = binary
        self.process = subprocess.Popen(
            [binary, "serve", "--hostname", f"{name}.test", "--listen", f"127.0.0.1:{self.port}", "--spool", self.spool,
             "--spool-size", "128M", *flags],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=open(self.log, "w"), cwd=folder,
            env={**os.environ, "FACTEUR_FLAGS": str(folder / "no-flags")},
        )  # fmt: skip
        wait_listening(self.port, self.alive)

    def alive(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"facteur ended with {self.process.returncode}: {self.said().splitlines()[-1:]}")

    def said(self):
        return self.log.read_text("utf-8", "replace")

    def wait_said(self, pattern, seconds=30, count=1):
        """Until so many lines of its log match."""
        end = time.monotonic() + seconds
        while True:
            lines = [line for line in self.said().splitlines() if re.search(pattern, line)]
            if len(lines) >= count:
                return lines
            self.alive()
            if time.monotonic() > end:
                raise RuntimeError(f"{len(lines)} of {count} lines like {pattern!r} within {seconds} s: {self.said()[-1500:]}")
            time.sleep(0.02)

    def queue(self, *words):
        command = [self.binary, "queue", *words, "--spool", self.spool]
        env = {**os.environ, "FACTEUR_FLAGS": str(self.folder / "no-flags")}
        return subprocess.run(command, env=env, check=True, text=True, capture_output=True).stdout

    def stop(self, left=0):
        """Drains it; so many messages are to be left in its queue, no panic in its log."""
        self.kill_gently()
        if self.process.returncode != 0 or f"stopped queued={left}" not in self.said() or "panicked" in self.said():
            raise RuntimeError(f"facteur ended with {self.process.returncode}: {self.said()[-1000:]}")

    def kill_gently(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(90)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
