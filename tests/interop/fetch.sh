#!/bin/bash
# Fetches Debian's Exim, OpenSMTPD and chasquid and unpacks them into a folder, because their packages and Postfix's exclude
# one another. Installed are only the libraries that they need. Nothing is fetched that is there already.
#
#   tests/interop/fetch.sh DIR        afterwards: DIR/usr/sbin/exim4, DIR/usr/sbin/smtpd, DIR/usr/bin/chasquid …
set -eu

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

mkdir -p "$1"
cd "$1"
missing=()
for need in exim4-daemon-light:usr/sbin/exim4 opensmtpd:usr/sbin/smtpd chasquid:usr/bin/chasquid; do
    [ -x "${need#*:}" ] || missing+=("${need%%:*}")
done
[ ${#missing[@]} -gt 0 ] || exit 0

echo "fetch.sh: fetching ${missing[*]}"
as_root apt-get -q update
rm -rf packages
mkdir packages
(cd packages && apt-get -q download "${missing[@]}")
libraries=()
for package in packages/*.deb; do
    # "libc6 (>= 2.36), debconf (>= 0.5) | debconf-2.0, libdb5.3": the libraries' names.
    read -ra names <<<"$(dpkg-deb -f "$package" Depends | tr ',' '\n' | sed -n 's/^ *\(lib[^ :]*\).*/\1/p' | tr '\n' ' ')"
    for name in "${names[@]}"; do
        dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed || libraries+=("$name")
    done
done
if [ ${#libraries[@]} -gt 0 ]; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qy install --no-install-recommends --no-remove "${libraries[@]}"
fi
for package in packages/*.deb; do
    dpkg-deb -x "$package" .
done
rm -rf packages
