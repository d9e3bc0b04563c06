"""A place of its own for the peers: a network that is a loopback device only, and users and folders that Debian's builds have
compiled in, laid over this machine's for this process and its children. Nothing of it is left when they end."""

import fcntl
import os
import pathlib
import socket
import struct
import subprocess
import sys

# Name, and uid and gid. Their numbers are this place's alone.
USERS = {"Debian-exim": 64101, "opensmtpd": 64102, "opensmtpq": 64103, "mailbox": 64104}


def enter():
    """Starts this program again inside; returns there."""
    if os.environ.get("PEERS_INSIDE") == "1":
        return
    command = ["unshare", "--mount", "--net", "--propagation", "private", "--", sys.executable, "-B", *sys.argv]
    os.environ["PEERS_INSIDE"] = "1"
    os.execvp(command[0], command)


def furnish(folder, unpacked):
    """`folder`: a new one for copies; `unpacked`: where fetch.sh unpacked the packages."""
    loopback_up()
    passwd, group = pathlib.Path("/etc/passwd").read_text(), pathlib.Path("/etc/group").read_text()
    known = {line.split(":")[0] for line in passwd.splitlines()}
    for name, number in USERS.items():
        if name not in known:
            passwd += f"{name}:x:{number}:{number}::{folder}:/bin/sh\n"
            group += f"{name}:x:{number}:\n"
    lay(folder, "/etc/passwd", passwd)
    lay(folder, "/etc/group", group)
    # The stub of __main__, which is on port 53 here.
    lay(folder, "/etc/resolv.conf", "nameserver 127.0.0.1\n")
    for place in ("/var/spool", "/var/lib"):
        mount("-t", "tmpfs", "none", place)
    mount("--bind", unpacked / "usr/libexec", "/usr/libexec")
    for place in ("/var/spool/smtpd", "/var/lib/opensmtpd/empty", "/var/lib/exim4"):
        os.makedirs(place)
    os.chmod("/var/spool/smtpd", 0o711)


def lay(folder, place, text):
    copy = folder / place.replace("/", "_")
    copy.write_text(text)
    mount("--bind", copy, place)


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)


def loopback_up():
    SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        asked = fcntl.ioctl(handle, SIOCGIFFLAGS, struct.pack("16sH22x", b"lo", 0))
        (flags,) = struct.unpack_from("16xH", asked)
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))
