#!/bin/bash
# A Postfix instance of its own for the tests and the bench: private configuration, queue, log and ports above 1024 on
# loopback. It never reads or touches /etc/postfix/main.cf, and a system Postfix beside it is left alone.
#
#   postfix.sh start nexthop DIR PORT [KEY=VALUE…]          takes mail with STARTTLS, keeps it in a Maildir
#   postfix.sh start relay   DIR PORT SINKPORT [KEY=VALUE…] relays everything to 127.0.0.1:SINKPORT
#   postfix.sh pid DIR          its master's process id
#   postfix.sh list DIR         the files of the messages that arrived (nexthop)
#   postfix.sh stop DIR         stops it; the folder stays, for its log
#
# KEY=VALUE are lines for main.cf. The certificate is DIR/cert.pem and DIR/key.pem; one for localhost is made if there is
# none. The log is DIR/log. Root is needed, as Postfix needs it.
set -eu

fail() {
    echo "postfix.sh: $*" >&2
    exit 1
}

certificate() {
    if [ ! -e "$dir/cert.pem" ]; then
        openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=localhost \
            -addext subjectAltName=DNS:localhost -keyout "$dir/key.pem" -out "$dir/cert.pem" 2>"$dir/openssl.log" ||
            fail "openssl made no certificate: $(tail -n 1 "$dir/openssl.log")"
    fi
    chmod 600 "$dir/key.pem"
}

# Debian's settings (/usr/share/postfix/main.cf.debian) but for what the private folders need. maxproc is Debian's default
# of 100 for all services but smtpd, which gets 400 so that it can hold 200 sessions. No limit on clients applies: they
# spare $mynetworks, by default.
main_cf() {
    cat <<CF
compatibility_level = 3.6
queue_directory = $dir/queue
data_directory = $dir/data
maillog_file = $dir/log
maillog_file_prefixes = $dir
multi_instance_enable = no
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = postfix.localhost
mydestination =
mynetworks = 127.0.0.0/8
local_recipient_maps =
alias_maps =
alias_database =
biff = no
append_dot_mydomain = no
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_tls_security_level = may
smtpd_tls_chain_files = $dir/key.pem, $dir/cert.pem
smtpd_tls_received_header = yes
smtpd_tls_loglevel = 1
smtp_tls_security_level = may
CF
}

nexthop_cf() {
    # Everything for *.test goes to one Maildir. nobody owns it: virtual(8) does not deliver as root.
    cat <<CF
virtual_mailbox_domains = static:all
virtual_mailbox_maps = static:maildir/
virtual_mailbox_base = $dir
virtual_uid_maps = static:$(id -u nobody)
virtual_gid_maps = static:$(id -g nobody)
virtual_mailbox_limit = 0
mailbox_size_limit = 0
CF
    install -d -o nobody -g "$(id -gn nobody)" "$dir"/maildir{,/new,/cur,/tmp}
}

relay_cf() {
    echo "relayhost = [127.0.0.1]:$1"
}

master_cf() {
    cat <<CF
127.0.0.1:$port inet n - n - 400 smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
CF
}

start() {
    role=$1 dir=$2 port=$3
    shift 3
    mkdir -p "$dir"
    dir=$(realpath "$dir")
    chmod 755 "$dir"
    install -d -o postfix "$dir/data"
    install -d "$dir/queue" "$dir/etc"
    certificate
    main_cf >"$dir/etc/main.cf"
    master_cf >"$dir/etc/master.cf"
    case $role in
    nexthop) nexthop_cf >>"$dir/etc/main.cf" ;;
    relay)
        relay_cf "$1" >>"$dir/etc/main.cf"
        shift
        ;;
    *) fail "role $role: nexthop or relay" ;;
    esac
    [ $# -eq 0 ] || postconf -c "$dir/etc" -e "$@"
    # Returns once the master listens.
    # shellcheck disable=SC2086
    ${POSTFIX_UNDER:-} postfix -c "$dir/etc" start >"$dir/start.log" 2>&1 </dev/null ||
        fail "it did not start: $(cat "$dir/start.log" "$dir/log" 2>/dev/null | tail -n 5)"
}

pid() { tr -d ' ' <"$1/queue/pid/master.pid"; }

stop() {
    postfix -c "$1/etc" stop >>"$1/start.log" 2>&1 </dev/null || true
}

[ "$(id -u)" = 0 ] || fail "Postfix has to be started by root; run the tests as root (CI does) or by sudo"
[ -x /usr/sbin/postfix ] || fail "Postfix is missing: apt-get install postfix"
PATH=$PATH:/usr/sbin

case ${1-} in
start) shift && start "$@" ;;
stop) stop "$2" ;;
pid) pid "$2" ;;
list) find "$2/maildir/new" -type f ;;
*) fail "start, stop, pid or list (see the top of this file)" ;;
esac
