"""The mail that goes through a peer: of all sizes and shapes, counted by Message-ID and recipient, compared octet for octet."""

import hashlib
import re
import smtplib
import ssl
import threading
import time
from dataclasses import dataclass

USERS = [f"u{n}" for n in range(8)]
UTF8_USER = "ü8"
THREADS = 8
# OpenSMTPD takes a hundred of a session.
SESSION_MESSAGES = 90
# Clients whose sessions got 421 (more than 64 of one stranger) come back after a minute.
PATIENCE = 300


@dataclass
class Mail:
    sender: str
    users: list
    options: list
    octets: bytes


def digest(body):
    """Of the body as it stands: only line ends may change, to LF in a Maildir."""
    return hashlib.sha256(body.replace(b"\r\n", b"\n")).hexdigest()


def body(n):
    """The n-th message's body and what of the envelope follows from it."""
    shapes = [
        b"short\n",
        b"".join(b"line %d of a page of text, as most mail is\n" % line for line in range(90)),
        "café, déjà vu, naïveté: 8 bit, \u20ac\n".encode() * 20,
        b".\n..\n.hidden? no\n\nQUIT\n.\n.\n\nFrom here on it is no header\n>From there\n.",
        b"x" * 998 + b"\n" + b"." * 998 + b"\n" + b"y" * 997 + b"\n",
        b"to several recipients\n",
        b"",
        b"%06d a line of a long message, which fills several buffers\n" % n * (20000 if n % 256 == 7 else 1000),
        b"trailing blanks \t \n \n\t\n\n\n\n",
        "ünder SMTPUTF8\n".encode(),
    ]
    return shapes[n % len(shapes)]


def mix(count, run, utf8):
    """`count` messages to in.test; every tenth has UTF-8 addresses and header, where the peer can do that."""
    for n in range(count):
        text = body(n)
        if text and not text.endswith(b"\n"):
            text += b"\n"
        shape = n % 10
        users = USERS[n % 5 : n % 5 + 3] if shape == 5 else [USERS[n % 8]]
        sender, options, subject = f"sender{n}@client.test", [], f"the {n}th"
        if shape == 2:
            options = ["BODY=8BITMIME"]
        if shape == 9 and utf8:
            sender, options, subject, users = "jürgen@client.test", ["SMTPUTF8", "BODY=8BITMIME"], "größer", [UTF8_USER]
        elif shape == 9:
            options = ["BODY=8BITMIME"]
        header = (
            f"From: Somebody <{sender}>\r\nTo: undisclosed-recipients:;\r\nSubject: {subject}\r\n"
            f"Date: Tue, 24 Nov 2026 12:00:00 +0000\r\nMessage-ID: <{n}.{run}@client.test>\r\nX-Digest: {digest(text)}\r\n"
            "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
        )
        yield Mail(sender, users, options, header.encode() + text.replace(b"\n", b"\r\n"))


def hand_over(client, mail):
    """A message, again while chasquid's queue is full: it holds 200."""
    to = [f"{user}@in.test" for user in mail.users]
    end = time.monotonic() + PATIENCE
    while True:
        try:
            refused = client.sendmail(mail.sender, to, mail.octets, mail.options)
        except smtplib.SMTPDataError as problem:
            if b"Queue size too big" not in problem.smtp_error or time.monotonic() > end:
                raise
            time.sleep(0.5)
            continue
        if refused:
            raise RuntimeError(f"refused: {refused}")
        return


def send(mails, port, login=None):
    """Over several sessions at once. `login` is a user and a password, given inside TLS."""
    mails, lock, problems = iter(list(mails)), threading.Lock(), []

    def session():
        try:
            while talk():
                pass
        except (OSError, RuntimeError, smtplib.SMTPException) as problem:
            problems.append(problem)

    def talk():
        """One connection. Whether there is more to send."""
        with smtplib.SMTP("127.0.0.1", port, "client.test", timeout=60) as client:
            if login:
                client.starttls(context=ssl._create_unverified_context())
                client.login(*login)
            client.ehlo_or_helo_if_needed()
            for _ in range(SESSION_MESSAGES):
                with lock:
                    mail = next(mails, None)
                if mail is None:
                    return False
                hand_over(client, mail)
        return True

    threads = [threading.Thread(target=session) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if problems:
        raise RuntimeError(f"{len(problems)} of {THREADS} sessions failed: {problems[0]!r}")


def expected(mails, run):
    return sorted((f"<{n}.{run}@client.test>", user) for n, mail in enumerate(mails) for user in mail.users)


def arrived(folder):
    """What stands in the Maildirs folder/USER: a sorted list of (Message-ID, user), and what of it was changed on the way."""
    found, changed = [], []
    for file in folder.glob("*/new/*"):
        octets = file.read_bytes().replace(b"\r\n", b"\n")
        header, _, text = octets.partition(b"\n\n")
        of = lambda name: re.search(rb"^%s:[ \n\t]*(\S+)" % name, header, re.M | re.I).group(1).decode()
        found.append((of(b"Message-ID"), file.parts[-3]))
        if of(b"X-Digest") != digest(text):
            changed.append((found[-1], file.read_bytes()))
    return sorted(found), changed


def wait(folder, count, alive):
    """Until so many files have arrived."""
    end = time.monotonic() + PATIENCE
    while (got := sum(1 for _ in folder.glob("*/new/*"))) < count:
        alive()
        if time.monotonic() > end:
            raise RuntimeError(f"{got} of {count} arrived within {PATIENCE} s")
        time.sleep(0.05)


def compare(wanted, folder):
    """Each once, each unchanged."""
    found, changed = arrived(folder)
    lost = sorted(set(wanted) - set(found))
    twice = sorted({one for one in found if found.count(one) > 1}) if len(found) != len(set(found)) else []
    other = sorted(set(found) - set(wanted))
    if lost or twice or other or changed:
        what = changed[0][1][-300:] if changed else b""
        raise RuntimeError(f"lost {lost[:3]}, twice {twice[:3]}, never sent {other[:3]}, changed {[c[0] for c in changed[:3]]} {what!r}")
