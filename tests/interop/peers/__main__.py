"""Other people's mail servers and facteur: each as facteur's next hop and as a client that relays to facteur, with STARTTLS
and without. What is sent arrives once, and unchanged.

    python3 tests/interop/peers BINARY UNPACKED COUNT [PEER…]

UNPACKED is where tests/interop/fetch.sh unpacked the packages. COUNT messages go each way. A line for each way that
held; exit status 1 if one did not. The PEER `hostile` is smtp-sink with its bad manners. Takes root: it works in namespaces of its own.
"""

import collections
import functools
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

import hostile
import mail
import namespace
from relay import Facteur
from servers import PEERS

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
import dns_stub  # noqa: E402



class Lab:
    def __init__(self, binary, unpacked, count, folder):
        self.binary, self.unpacked, self.count, self.folder = binary, unpacked, count, folder
        self.certificate = folder / "cert.pem", folder / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", self.certificate[1],
             "-out", self.certificate[0]], check=True, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def as_next_hop(self, kind, tls):
        """Clients hand the mix to facteur, and facteur to the peer, which keeps it."""
        run, folder = f"{kind.name}-hop-{tls:d}".lower(), self.folder / f"{kind.name}-hop-{tls:d}"
        peer = kind(self.unpacked, folder, self.certificate)
        facteur = None
        try:
            peer.box(tls)
            # chasquid's queue takes 200 messages, and answers 451 beyond.
            level = ["--tls-out", kind.level if tls else "none", "--retry", "1s..4s"]
            facteur = Facteur(self.binary, folder, "facteur", "--relay", f"127.0.0.1:{peer.port}", *level)
            said = self.through(peer, facteur, run, facteur.port, None, peer.mail)
            return said + security(facteur, r' tls="(\S+).*" result=open', tls, peer.level == "may")
        finally:
            stop(facteur, peer)

    def as_client(self, kind, tls):
        """Clients hand the mix to the peer, and the peer to facteur, to which it is a stranger."""
        run, folder = f"{kind.name}-client-{tls:d}".lower(), self.folder / f"{kind.name}-client-{tls:d}"
        peer = kind(self.unpacked, folder, self.certificate)
        facteur = None
        try:
            boxes = folder / "kept"
            level = ["--tls-in", "encrypt" if tls else "none", "--relay-from", "192.0.2.0/24"]
            facteur = Facteur(self.binary, folder, "facteur", "--domain", f"in.test=maildir:{boxes}/{{user}}", *level)
            peer.client(facteur.port, tls)
            said = self.through(peer, facteur, run, peer.port, peer.login, boxes)
            return said + security(facteur, r' tls="(\S+?)[ "].* messages=[1-9]', tls, False)
        finally:
            stop(facteur, peer)

    def through(self, peer, facteur, run, port, login, boxes):
        mails = list(mail.mix(self.count, run, peer.utf8))
        wanted = mail.expected(mails, run)
        began = time.monotonic()
        mail.send(mails, port, login)
        mail.wait(boxes, len(wanted), facteur.alive)
        taken = time.monotonic() - began
        # What would come a second time comes before the end of the drain.
        facteur.stop()
        mail.compare(wanted, boxes)
        return f"{self.count} messages, {len(wanted)} deliveries, none lost, none twice, none changed, {taken:.1f} s"


def ways(kind):
    """What is to be tried with a peer: a title and a function for each way."""

    def rows(lab):
        for way in (lab.as_next_hop, lab.as_client):
            for tls in (False, True):
                title = f"{kind.name} {way.__name__.replace('_', ' ')}, {'STARTTLS' if tls else 'clear'}"
                yield title, functools.partial(way, kind, tls)

    return rows


def bad_manners(lab):
    yield "smtp-sink's bad manners", functools.partial(hostile.check, lab)


ROWS = {name: ways(kind) for name, kind in PEERS.items()}
ROWS["hostile"] = bad_manners


def security(facteur, pattern, tls, lenient):
    """With which TLS versions, by facteur's log, the sessions were that carried mail."""
    sessions = collections.Counter(version.strip('"') for version in re.findall(pattern, facteur.said()))
    sessions["clear"] += sessions.pop("none", 0)
    sessions += collections.Counter()
    if not sessions or (tls and "clear" in sessions and not lenient) or (not tls and set(sessions) != {"clear"}):
        raise RuntimeError(f"sessions by TLS version: {dict(sessions)}")
    return "; " + ", ".join(f"{count} sessions {version}" for version, count in sessions.items())


def stop(*running):
    for one in running:
        if one:
            one.kill_gently() if isinstance(one, Facteur) else one.stop()


def known(name):
    """What the peers ask the DNS: everything below .test is on this machine."""
    return ("mx.in.test", "127.0.0.1") if name.endswith(".test") else None


def main():
    binary, unpacked, count, *names = sys.argv[1:]
    binary, unpacked = pathlib.Path(binary).resolve(), pathlib.Path(unpacked).resolve()
    for name in names:
        if name not in ROWS:
            sys.exit(f"peers: {name}: one of {' '.join(ROWS)}")
    namespace.enter()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="facteur-peers.", dir=os.environ.get("TMPDIR", "/tmp")))
    os.chmod(folder, 0o755)
    failed = 0
    try:
        namespace.furnish(folder, unpacked)
        dns_stub.Stub(known, port=53)
        lab = Lab(binary, unpacked, int(count), folder)
        for name in names or ROWS:
            for title, row in ROWS[name](lab):
                try:
                    print(f"{title}: {row()}", flush=True)
                except (RuntimeError, OSError, subprocess.SubprocessError) as problem:
                    failed += 1
                    print(f"{title}: FAILED: {problem}", flush=True)
        return 1 if failed else 0
    finally:
        if failed and os.environ.get("PEERS_KEEP"):
            print(f"peers: kept {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
