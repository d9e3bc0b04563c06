"""smtp-sink with its switches for bad manners as the next hop. Each costs what the true reason says, a deferral or a failure, and
the one slot that this relay has (`--outbound 1`) comes back for the next."""

import contextlib
import os
import re
import smtplib
import subprocess

from relay import Facteur, free_port

LOST = r"deferred status=4\.4\.2 .*connection lost awaiting"
CLOSING = r"deferred .*reply=.*421"
SOFT = r"deferred status=4\.3\.0 .*reply=.*450 4\.3\.0 Error: command failed"
HARD = r"failed status=5\.3\.0 .*reply=.*500 5\.3\.0 Error: command failed"
HARD_HOST = r"deferred .*reply=.*500 5\.3\.0 Error: command failed"
DELIVERED = "delivered "

# Switches, and what the log is to say of the attempt.
CASES = [
    *((f"-q {word}", LOST) for word in ("connect", "ehlo", "mail", "rcpt", "data", ".")),
    *((f"-Q {word}", CLOSING) for word in ("connect", "ehlo", "mail", "rcpt", "data", ".")),
    *((f"-r {word}", SOFT) for word in ("connect", "mail", "rcpt", "data", ".")),
    # A host that does not want to talk has said nothing of the message; nor does EHLO, after which HELO is tried.
    ("-f connect", HARD_HOST),
    ("-f ehlo", DELIVERED),
    ("-r ehlo,helo", SOFT),
    *((f"-f {word}", HARD) for word in ("mail", "rcpt", "data", ".")),
    # It answers DATA, then 550 without reading on.
    ("-A 0", r"failed .*reply=.*550 "),
    ("-A 1", r"failed .*reply=.*550 "),
    ("-H 2 -T 1024", DELIVERED),
    ("-w 2", DELIVERED),
    ("-e", DELIVERED),
    ("-P", DELIVERED),
    ("-p -N -E", DELIVERED),
]


def sink(folder, switches):
    """smtp-sink on a port; it ends with this program's other children."""
    port = free_port()
    command = ["smtp-sink", *(switches or "").split(), "-u", "nobody", f"127.0.0.1:{port}", "100"]
    log = open(folder / "sinks.log", "a")
    return port, subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def wait_bound(port, process):
    """Without a connection: a sink with -n or -q connect would take it for a client's."""
    for _ in range(400):
        with open("/proc/net/tcp") as table:
            if any(line.split()[1].endswith(f":{port:04X}") and line.split()[3] == "0A" for line in table if ":" in line.split()[1]):
                return
        try:
            process.wait(0.02)
        except subprocess.TimeoutExpired:
            continue
        break
    raise RuntimeError(f"smtp-sink does not listen on port {port}")


def check(lab):
    folder = lab.folder / "hostile"
    folder.mkdir()
    os.chmod(folder, 0o755)
    with contextlib.ExitStack() as all:
        routes = []
        for n, (switches, _) in enumerate([*CASES, (None, None)]):
            port, process = sink(folder, switches)
            all.callback(process.wait)
            all.callback(process.terminate)
            wait_bound(port, process)
            name = f"n{n}.test" if switches else "*"
            routes += ["--route", f"{name}=smtp:[127.0.0.1]:{port}"]
        facteur = Facteur(lab.binary, folder, "facteur", "--outbound", "1", "--tls-out", "none", *routes)
        all.callback(facteur.kill_gently)
        text = b"Subject: x\r\n\r\n" + b"a line of a message that fills a window\r\n" * 20000
        with smtplib.SMTP("127.0.0.1", facteur.port, "client.test", timeout=60) as client:
            for n, _ in enumerate(CASES):
                client.sendmail("sender@client.test", f"to@n{n}.test", text)
            facteur.wait_said(r'attempt .*to="to@n\d+\.test"', 60, len(CASES))
            # The slot is free again, and so is the way of the reports.
            client.sendmail("sender@client.test", "to@fresh.test", b"Subject: fresh\r\n\r\nfresh\r\n")
        facteur.wait_said(r'attempt .*to="to@fresh\.test" .*result=delivered', 30)
        problems = []
        for n, (switches, wanted) in enumerate(CASES):
            line = facteur.wait_said(rf'attempt .*to="to@n{n}\.test"')[0]
            if not re.search(f"result={wanted}", line):
                problems.append(f"{switches}: {line.partition(' result=')[2]}, not {wanted}")
        refused = sum(wanted.startswith("failed") for _, wanted in CASES)
        facteur.wait_said(r'attempt .*to="sender@client\.test" .*result=delivered', 30, refused)
        left = sum(wanted.startswith("deferred") for _, wanted in CASES)
        listed = facteur.queue("list").splitlines()[-1]
        facteur.stop(left)
        if problems:
            raise RuntimeError("; ".join(problems))
        if not listed.startswith(f"{left} "):
            raise RuntimeError(f"{left} deferred messages were to be queued: {listed}")
        return f"{len(CASES)} ways, {left} deferred and {refused} failed with the true reason, and the one slot came back"
