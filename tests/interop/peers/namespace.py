"""A place of its own for the peers: a network that is a loopback device only, and users and folders that Debian's builds have
compiled in, laid over this machine's for this process and its children. Nothing of it is left when they end."""

import fcntl
import os
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
    # All of /etc: a mount on one file in it ends when somebody outside renames another over that.
    etc = folder / "etc"
    subprocess.run(["cp", "-a", "/etc", etc], check=True)
    with open(etc / "passwd", "a") as passwd, open(etc / "group", "a") as group:
        for name, number in USERS.items():
            passwd.write(f"{name}:x:{number}:{number}::{folder}:/bin/sh\n")
            group.write(f"{name}:x:{number}:\n")
    # The stub of __main__, which is on port 53 here.
    (etc / "resolv.conf").unlink(missing_ok=True)
    (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    mount("--bind", etc, "/etc")
    for place in ("/var/spool", "/var/lib"):
        mount("-t", "tmpfs", "none", place)
    mount("--bind", unpacked / "usr/libexec", "/usr/libexec")
    for place in ("/var/spool/smtpd", "/var/lib/opensmtpd/empty", "/var/lib/exim4"):
        os.makedirs(place)
    os.chmod("/var/spool/smtpd", 0o711)


def mount(*words):
    subprocess.run(["mount", *map(str, words)], check=True)


def loopback_up():
    SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
        asked = fcntl.ioctl(handle, SIOCGIFFLAGS, struct.pack("16sH22x", b"lo", 0))
        (flags,) = struct.unpack_from("16xH", asked)
        fcntl.ioctl(handle, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))
