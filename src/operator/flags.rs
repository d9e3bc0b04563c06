//! The flags of `serve`, and the levels that lie over one another: compiled in, a file, the command line.

use super::regular;
use super::values::{self, Listen, Named, Size};
use crate::net::source::Family;
use crate::policy::level::Level;
use crate::policy::relay::Network;
use crate::policy::retry::{self, Schedule};
use crate::policy::sender::Rule;
use crate::policy::target::Target;
use crate::tls::client_certificate::Fingerprint;
use argh::FromArgs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The flags that the firmware is built with.
const COMPILED: &str = include_str!("../../config/flags");

/// Where the flags file is if neither `--flags` nor `FACTEUR_FLAGS` says.
const FLAGS_FILE: &str = "/etc/facteur/flags";

/// Receive, queue and relay mail until SIGTERM.
#[derive(FromArgs, Clone, Debug, Default)]
#[argh(help_triggers("--help"))]
pub struct Flags {
    /// file of flags, one a line, under the command line (default: the environment's FACTEUR_FLAGS, else
    /// /etc/facteur/flags if it exists)
    #[argh(option, arg_name = "file")]
    pub flags: Option<PathBuf>,

    /// name in the greeting, EHLO, Received and DSNs (default: the system's host name)
    #[argh(option, arg_name = "name", from_str_fn(values::host_name))]
    pub hostname: Option<String>,

    /// SMTP with STARTTLS; LEVEL overrides --tls-in; repeat for more (default: 127.0.0.1:2525)
    #[argh(option, arg_name = "addr:port[,level]")]
    pub listen: Vec<Listen>,

    /// SMTP with implicit TLS (465); repeat for more (default: none)
    #[argh(option, arg_name = "addr:port", from_str_fn(values::socket_address))]
    pub listen_tls: Vec<SocketAddr>,

    /// inbound security level: none, may or encrypt (default: may)
    #[argh(option, arg_name = "level")]
    pub tls_in: Option<Level>,

    /// folder of certificates, DIR/NAME/fullchain.pem and privkey.pem as certbot lays them, over the compiled-in table; a
    /// renewal is noticed within seconds;
    /// repeat for more (default: none)
    #[argh(option, arg_name = "dir")]
    pub certs: Vec<PathBuf>,

    /// the certificate for no or an unknown server name (default: the hostname's, else the table's default, else the
    /// first)
    #[argh(option, arg_name = "name")]
    pub default_cert: Option<String>,

    /// file of authorities (PEM) whose clients' certificates may relay anywhere; read again at SIGHUP (default: none, and
    /// clients are not asked for a certificate)
    #[argh(option, arg_name = "file")]
    pub client_ca: Option<PathBuf>,

    /// SHA-256 of a client's certificate or public key that may relay anywhere, 64 hexadecimal digits, colons allowed;
    /// repeat for more (default: none)
    #[argh(option, arg_name = "sha256")]
    pub relay_clientcert: Vec<Fingerprint>,

    /// inbound sessions at once; clients of --relay-from and all others leave 8 to each other (default: 256)
    #[argh(option, arg_name = "n", from_str_fn(values::count))]
    pub sessions: Option<u16>,

    /// sessions of one IPv4 address or IPv6 /64, one when 90 % of the slots are taken; clients of --relay-from and those
    /// known by a certificate are exempt (default: a quarter of --sessions)
    #[argh(option, arg_name = "n", from_str_fn(values::count))]
    pub sessions_per_address: Option<u16>,

    /// largest message in octets, with K, M or G; at most a quarter of the spool (default: 25M,
    /// or that quarter)
    #[argh(option, arg_name = "size")]
    pub message_size: Option<Size>,

    /// network that may relay anywhere; any given replaces the default; repeat for more (default: 127.0.0.0/8 and
    /// ::1/128)
    #[argh(option, arg_name = "cidr")]
    pub relay_from: Vec<Network>,

    /// accept mail for NAME from anyone and hand it to TARGET, which is smtp:HOST[:PORT], smtps:HOST[:PORT],
    /// lmtp:HOST:PORT, lmtp:/SOCKET or maildir:DIR (without one: backup MX, by DNS); repeat for more (default: none)
    #[argh(option, arg_name = "name[=target]", from_str_fn(values::domain))]
    pub domain: Vec<Named>,

    /// file of the addresses that exist in the --domains, one a line, user@name or @name for all; others get 550 5.1.1 at
    /// RCPT; read again at SIGHUP (default: none, and each --domain takes every local part)
    #[argh(option, arg_name = "file")]
    pub recipients: Option<PathBuf>,

    /// file of aliases(5) for this machine (the hostname, localhost, localhost.localdomain, the system's name without its
    /// domain) and each --domain with a maildir target; addresses only, no programs and no files; other names of the hostname
    /// are unknown then, unless a --domain, or a --route for it or its .parent, leads there; read again at SIGHUP (default: none)
    #[argh(option, arg_name = "file")]
    pub alias: Option<PathBuf>,

    /// where Postmaster's mail and the relay's own notes go (default: the alias, else postmaster@ the first --domain)
    #[argh(option, arg_name = "address", from_str_fn(values::mailbox))]
    pub postmaster: Option<String>,

    /// ask the smtp or lmtp target of a --domain at RCPT whether the recipient exists (cached); only its 5xx refuses
    /// (default: off)
    #[argh(switch)]
    pub verify_rcpt: bool,

    /// undo --verify-rcpt of a flags file
    #[argh(switch)]
    pub no_verify_rcpt: bool,

    /// smarthost for what no route names, HOST[:PORT] or smtps:HOST[:PORT], never by MX (default: none, MX by DNS)
    #[argh(option, arg_name = "host[:port]", from_str_fn(Target::smarthost))]
    pub relay: Option<Target>,

    /// envelope sender for mail that goes out by SMTP, in place of one of this machine (no domain, one without a dot, the
    /// hostname, the system's name, localhost.localdomain), or of MATCH, which is an address or @domain; repeat for more
    /// (default: none)
    #[argh(option, arg_name = "[match=]address")]
    pub relay_sender: Vec<Rule>,

    /// replace such addresses in the From field, too (default: off)
    #[argh(switch)]
    pub relay_sender_header: bool,

    /// undo --relay-sender-header of a flags file
    #[argh(switch)]
    pub no_relay_sender_header: bool,

    /// next hop for NAME, .name for its subdomains, * for the rest; repeat for more (default: none)
    #[argh(option, arg_name = "name=target", from_str_fn(values::route))]
    pub route: Vec<Named>,

    /// outbound security level: none, may or encrypt (default: may)
    #[argh(option, arg_name = "level")]
    pub tls_out: Option<Level>,

    /// retry schedule, from FIRST doubling to LAST, in s, m, h or d (default: 5m..4h)
    #[argh(option, arg_name = "first..last")]
    pub retry: Option<Schedule>,

    /// age at which mail bounces, in s, m, h or d (default: 5d)
    #[argh(option, arg_name = "duration", from_str_fn(retry::duration))]
    pub lifetime: Option<Duration>,

    /// outbound connections at once (default: 32)
    #[argh(option, arg_name = "n", from_str_fn(values::count))]
    pub outbound: Option<u16>,

    /// address that outbound connections come from, one of each family; repeat for the other (default: the system's choice)
    #[argh(option, arg_name = "addr", from_str_fn(values::address))]
    pub outbound_address: Vec<IpAddr>,

    /// addresses of next hops that are dialled: 4, 6 or any (default: any)
    #[argh(option, arg_name = "4|6|any")]
    pub outbound_family: Option<Family>,

    /// DNS server; repeat for more (default: those of /etc/resolv.conf)
    #[argh(option, arg_name = "addr[:port]", from_str_fn(values::resolver))]
    pub resolver: Vec<SocketAddr>,

    /// port of next hops found by MX (default: 25)
    #[argh(option, arg_name = "port", from_str_fn(values::count))]
    pub smtp_port: Option<u16>,

    /// dial loopback addresses that MX answers give, for labs and tests (default: off)
    #[argh(switch)]
    pub mx_loopback: bool,

    /// undo --mx-loopback of a flags file
    #[argh(switch)]
    pub no_mx_loopback: bool,

    /// folder of the queue (default: facteur-spool)
    #[argh(option, arg_name = "dir", from_str_fn(values::folder))]
    pub spool: Option<PathBuf>,

    /// size of the queue in octets, with K, M or G; fixed, a larger one later grows it (default: 256M)
    #[argh(option, arg_name = "size")]
    pub spool_size: Option<Size>,

    /// file of the key that seals the queue at rest, mode 0600; facteur spool-key makes one (default: none, the queue is
    /// in clear)
    #[argh(option, arg_name = "file")]
    pub spool_key: Option<PathBuf>,

    /// user to become when the ports are bound, for a start by root; a process that is left behind reads certificates that
    /// only root may read (default: none)
    #[argh(option, arg_name = "name")]
    pub user: Option<String>,

    /// error, warn, info, debug or trace, to standard error (default: info)
    #[argh(option, arg_name = "level", from_str_fn(values::log_level))]
    pub log: Option<log::LevelFilter>,
}

/// Why no flags came of the arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The help was asked for: this is it.
    Help(String),
    /// One line that names the flag, what was given and what is accepted.
    Wrong(String),
}

impl Flags {
    /// The command line over the flags file over the compiled-in flags.
    ///
    /// # Errors
    /// [`Stop`].
    pub fn of(arguments: &[String], environment: Option<PathBuf>) -> Result<Self, Stop> {
        let line = Self::parse(&spelled_out(arguments))?;
        let file = match (
            &line.flags,
            environment.filter(|path| !path.as_os_str().is_empty()),
        ) {
            (Some(file), _) => Self::of_file(file, "--flags ")?,
            (None, Some(file)) => Self::of_file(&file, "FACTEUR_FLAGS=")?,
            (None, None) if Path::new(FLAGS_FILE).exists() => {
                Self::of_file(Path::new(FLAGS_FILE), "")?
            }
            (None, None) => Self::default(),
        };
        let compiled = Self::of_text(COMPILED, "config/flags")?;
        Ok(line.over(file).over(compiled))
    }

    /// Reads a flags file; `named_by` stands before its name when it cannot be read.
    fn of_file(path: &Path, named_by: &str) -> Result<Self, Stop> {
        if path == Path::new("/dev/null") {
            return Ok(Self::default()); // who names it wants none
        }
        let text = regular::open(path)
            .and_then(io::read_to_string)
            .map_err(|problem| Stop::Wrong(format!("{named_by}{}: {problem}", path.display())))?;
        Self::of_text(&text, &path.display().to_string())
    }

    /// A flags file: one flag a line, with its dashes or without, its value to the line's end.
    fn of_text(text: &str, name: &str) -> Result<Self, Stop> {
        let mut all = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let arguments = file_line(line);
            let place = |why: String| Stop::Wrong(format!("{name}:{}: {why}", number + 1));
            match Self::parse(&arguments) {
                Ok(flags) if flags.flags.is_some() => {
                    return Err(place("--flags may not stand in a file".into()));
                }
                Ok(_) => all.extend(arguments),
                Err(Stop::Help(_)) => return Err(place(format!("{line:?} is no flag"))),
                Err(Stop::Wrong(why)) => return Err(place(why)),
            }
        }
        Self::parse(&all).map_err(|stop| match stop {
            Stop::Wrong(why) => Stop::Wrong(format!("{name}: {why}")),
            help @ Stop::Help(_) => help,
        })
    }

    fn parse(arguments: &[String]) -> Result<Self, Stop> {
        let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let parsed = Self::from_args(&["facteur", "serve"], &words);
        parsed.map_err(|exit| match exit.status {
            Ok(()) => Stop::Help(exit.output),
            Err(()) => {
                let line = exit
                    .output
                    .lines()
                    .find(|line| !line.trim().is_empty())
                    .unwrap_or("wrong flags");
                let hint = if line.contains("Unrecognized") {
                    ": see facteur serve --help"
                } else {
                    ""
                };
                Stop::Wrong(format!("{line}{hint}"))
            }
        })
    }

    /// These flags, and where they say nothing, the lower ones.
    fn over(self, lower: Self) -> Self {
        fn all<V>(upper: Vec<V>, lower: Vec<V>) -> Vec<V> {
            if upper.is_empty() { lower } else { upper }
        }
        Self {
            flags: self.flags.or(lower.flags),
            hostname: self.hostname.or(lower.hostname),
            listen: all(self.listen, lower.listen),
            listen_tls: all(self.listen_tls, lower.listen_tls),
            tls_in: self.tls_in.or(lower.tls_in),
            certs: all(self.certs, lower.certs),
            default_cert: self.default_cert.or(lower.default_cert),
            client_ca: self.client_ca.or(lower.client_ca),
            relay_clientcert: all(self.relay_clientcert, lower.relay_clientcert),
            sessions: self.sessions.or(lower.sessions),
            sessions_per_address: self.sessions_per_address.or(lower.sessions_per_address),
            message_size: self.message_size.or(lower.message_size),
            relay_from: all(self.relay_from, lower.relay_from),
            domain: all(self.domain, lower.domain),
            recipients: self.recipients.or(lower.recipients),
            alias: self.alias.or(lower.alias),
            postmaster: self.postmaster.or(lower.postmaster),
            relay: self.relay.or(lower.relay),
            relay_sender: all(self.relay_sender, lower.relay_sender),
            relay_sender_header: self.relay_sender_header
                || (lower.relay_sender_header && !self.no_relay_sender_header),
            no_relay_sender_header: self.no_relay_sender_header || lower.no_relay_sender_header,
            route: all(self.route, lower.route),
            tls_out: self.tls_out.or(lower.tls_out),
            retry: self.retry.or(lower.retry),
            lifetime: self.lifetime.or(lower.lifetime),
            outbound: self.outbound.or(lower.outbound),
            outbound_address: all(self.outbound_address, lower.outbound_address),
            outbound_family: self.outbound_family.or(lower.outbound_family),
            resolver: all(self.resolver, lower.resolver),
            smtp_port: self.smtp_port.or(lower.smtp_port),
            verify_rcpt: self.verify_rcpt || (lower.verify_rcpt && !self.no_verify_rcpt),
            no_verify_rcpt: self.no_verify_rcpt || lower.no_verify_rcpt,
            mx_loopback: self.mx_loopback || (lower.mx_loopback && !self.no_mx_loopback),
            no_mx_loopback: self.no_mx_loopback || lower.no_mx_loopback,
            spool: self.spool.or(lower.spool),
            spool_size: self.spool_size.or(lower.spool_size),
            spool_key: self.spool_key.or(lower.spool_key),
            user: self.user.or(lower.user),
            log: self.log.or(lower.log),
        }
    }
}

/// `--x=y` as two words, `-h` as `--help`.
pub(super) fn spelled_out(arguments: &[String]) -> Vec<String> {
    let mut words = Vec::with_capacity(arguments.len() + 1);
    for argument in arguments {
        match argument.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => {
                words.extend([flag.to_owned(), value.to_owned()])
            }
            _ if argument == "-h" => words.push("--help".into()),
            _ => words.push(argument.clone()),
        }
    }
    words
}

/// `name value`, `--name value` or `--name=value` as words.
fn file_line(line: &str) -> Vec<String> {
    let bare = line.strip_prefix("--").unwrap_or(line);
    match bare.split_once([' ', '\t', '=']) {
        Some((name, value)) => vec![format!("--{name}"), value.trim_start().to_owned()],
        None => vec![format!("--{bare}")],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(line: &str) -> Result<Flags, Stop> {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        Flags::of(&arguments, Some("/dev/null".into()))
    }

    fn wrong(line: &str) -> String {
        match of(line) {
            Err(Stop::Wrong(why)) => why,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_command_line_lies_over_the_compiled_in_flags() {
        let flags = of("").unwrap();
        assert_eq!(flags.domain.len(), 1);
        assert_eq!(flags.domain[0].name, "localhost");
        let flags = of("--domain a.example --domain=b.example=smtp:[c]").unwrap();
        assert_eq!(
            flags
                .domain
                .iter()
                .map(|named| named.name.as_str())
                .collect::<Vec<_>>(),
            ["a.example", "b.example"]
        );
    }

    #[test]
    fn a_file_is_read_with_dashes_or_without() {
        let text = "# a comment\n\nsessions 10\n--message-size=1M\n --spool /var/spool/my facteur \nmx-loopback\n";
        let flags = Flags::of_text(text, "f").unwrap();
        assert_eq!(
            (flags.sessions, flags.message_size, flags.mx_loopback),
            (Some(10), Some(Size(1 << 20)), true)
        );
        assert_eq!(flags.spool, Some("/var/spool/my facteur".into()));
        let line = Flags {
            no_mx_loopback: true,
            ..Flags::default()
        };
        assert!(!line.over(flags).mx_loopback);
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line_that_names_it() {
        for (line, parts) in [
            ("--listne 1", ["--listne", "--help"]),
            ("--sessions many", ["--sessions", "many"]),
            ("--tls-in starttls", ["--tls-in", "encrypt"]),
            ("--sessions", ["--sessions", ""]),
            ("--sessions 1 --sessions 2", ["--sessions", ""]),
            ("serve", ["serve", ""]),
            ("--flags /nowhere/flags", ["/nowhere/flags", "No such file"]),
            ("--domain a.example=uucp:x", ["--domain", "maildir:DIR"]),
        ] {
            let why = wrong(line);
            assert!(
                parts.iter().all(|part| why.contains(part)) && !why.contains('\n'),
                "{line}: {why}"
            );
        }
        let Err(Stop::Wrong(why)) = Flags::of_text("sessions 1\nsesions 2\n", "my.flags") else {
            panic!("wrong")
        };
        assert!(why.starts_with("my.flags:2: "), "{why}");
    }

    #[test]
    fn help_tells_every_flag_with_its_default() {
        let Err(Stop::Help(help)) = of("-h") else {
            panic!("help")
        };
        let flags = help.lines().filter(|line| line.starts_with("  --")).count();
        let defaults = help.matches("(default:").count();
        // --help itself and what undoes a switch have none.
        let undoing = help.matches("  --no-").count();
        assert_eq!(flags, defaults + 1 + undoing, "{help}");
        assert!(help.contains("--message-size") && help.contains("25M"));
    }
}
