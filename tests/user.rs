//! `--user`: started by root, run by somebody else, with certificates that root alone may read.

mod certbot;
mod certificates;
mod starttls;
mod support;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use certbot::Certbot;
use certificates::made;
use starttls::{Session, shown};
use support::facteur::{Facteur, command, command_of, refused};
use support::{Folder, said, succeed, until};

const USER: &str = "nobody";

/// The user's id; None where the test cannot be run, which is said.
fn nobody() -> Option<u32> {
    let uid = succeed(Command::new("id").args(["-u", USER]))
        .trim()
        .parse();
    if !rustix::process::geteuid().is_root() {
        println!("SKIPPED: it takes root to become another user");
        return None;
    }
    uid.ok()
}

/// What the kernel says of a process under this title.
fn status(pid: u32, title: &str) -> String {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it lives");
    let line = status.lines().find_map(|line| line.strip_prefix(title));
    let words = line.expect("a line").split_whitespace();
    words.collect::<Vec<_>>().join(" ")
}

/// The process that reads certificates.
fn child(facteur: &Facteur) -> u32 {
    let pid = facteur.pid();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    let children = children.expect("the kernel tells");
    children.trim().parse().expect("one child")
}

fn is_gone(pid: u32) -> Option<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    status.is_err().then_some(())
}

struct Setting {
    folder: Folder,
    certbot: Certbot,
    uid: u32,
}

impl Setting {
    fn new() -> Option<Self> {
        let uid = nobody()?;
        let folder = Folder::new();
        let certbot = Certbot::in_folder(folder.as_ref());
        certbot.renew("mx.test", 1, &made(&["mx.test"]));
        Some(Self {
            folder,
            certbot,
            uid,
        })
    }

    fn start(&self) -> Facteur {
        self.start_with(&[])
    }

    fn start_with(&self, more: &[&str]) -> Facteur {
        let certs = self.certbot.live();
        let flags = [
            "--certs",
            &certs,
            "--hostname",
            "relay.test",
            "--spool",
            "spool",
        ];
        let user = ["--user", USER];
        Facteur::start(self.folder.as_ref(), &[&flags[..], &user, more].concat())
    }
}

#[test]
fn certificates_that_root_alone_may_read_are_renewed_without_root() {
    let Some(setting) = Setting::new() else {
        return;
    };
    let facteur = setting.start();
    let old = shown(facteur.port, "mx.test");
    let mut session = Session::open(facteur.port, "mx.test");
    for version in 2..4 {
        let new = made(&["mx.test"]);
        setting.certbot.renew("mx.test", version, &new);
        until("the renewed one", || {
            (shown(facteur.port, "mx.test") == new.der).then_some(())
        });
    }
    // Asked for, it comes at once as well; and so does one that was not there at start.
    let later = made(&["later.test"]);
    setting.certbot.renew("later.test", 1, &later);
    facteur.signal("HUP");
    until("the new one", || {
        (shown(facteur.port, "later.test") == later.der).then_some(())
    });
    session.say("NOOP", "250");
    assert!(session.certificate() == old);
    // What went wrong comes over as well.
    setting.certbot.link("later.test", "privkey", 2);
    facteur.wait_log(&["certificate kept as it was", "later.test", "No such file"]);
    let child = child(&facteur);
    facteur.stop();
    until("the child's end", || is_gone(child));
}

#[test]
fn neither_process_has_more_than_it_needs() {
    let Some(setting) = Setting::new() else {
        return;
    };
    let facteur = setting.start();
    let (relay, child) = (facteur.pid(), child(&facteur));
    let ids = [setting.uid; 4].map(|uid| uid.to_string()).join(" ");
    const READ_ANY_FILE: u64 = 1 << 2; // CAP_DAC_READ_SEARCH
    for (pid, capabilities) in [(relay, 0), (child, READ_ANY_FILE)] {
        assert_eq!(status(pid, "Uid:"), ids);
        assert_eq!(status(pid, "NoNewPrivs:"), "1");
        assert!(!status(pid, "Groups:").split(' ').any(|group| group == "0"));
        for set in ["CapPrm:", "CapEff:"] {
            let has = u64::from_str_radix(&status(pid, set), 16);
            assert_eq!(has, Ok(capabilities), "{set}");
        }
        assert_eq!(status(pid, "CapInh:"), "0".repeat(16));
    }
    // Every thread of the relay, not the first alone.
    for task in fs::read_dir(format!("/proc/{relay}/task")).expect("threads") {
        let status = fs::read_to_string(task.expect("a thread").path().join("status"));
        let status = status.expect("it lives");
        assert!(status.contains("NoNewPrivs:\t1") && status.contains("CapPrm:\t0000000000000000"));
    }
    facteur.stop();
}

#[test]
fn the_spool_and_its_socket_are_the_user_s_its_key_is_root_s_and_root_may_ask() {
    let Some(setting) = Setting::new() else {
        return;
    };
    // Root's, of mode 0600.
    let make_key = ["spool-key", "key"];
    succeed(&mut command_of(setting.folder.as_ref(), &make_key));
    let sealed = ["--spool-key", "key"];
    let facteur = setting.start_with(&sealed);
    let spool = setting.folder.join("spool");
    let owned = |path: &std::path::Path| {
        let about = fs::metadata(path).expect("it is there");
        (about.uid(), about.permissions().mode() & 0o777)
    };
    assert_eq!(owned(&spool), (setting.uid, 0o700));
    assert_eq!(owned(&spool.join("control")), (setting.uid, 0o600));
    let retry = ["queue", "retry", "--spool", "spool", "--spool-key", "key"];
    for running in [true, false] {
        succeed(&mut command_of(setting.folder.as_ref(), &retry));
        if running {
            facteur.terminate();
            until("its end", || is_gone_or_zombie(facteur.pid()));
        }
    }
    // What root's command wrote is the user's: the relay starts again.
    for entry in fs::read_dir(&spool).expect("a folder") {
        assert_eq!(owned(&entry.expect("a file").path()).0, setting.uid);
    }
    setting.start_with(&sealed).stop();
}

fn is_gone_or_zombie(pid: u32) -> Option<()> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"));
    let is_gone = status.map_or(true, |status| status.contains("State:\tZ"));
    is_gone.then_some(())
}

#[test]
fn a_relay_whose_child_is_gone_goes_on_and_says_so() {
    let Some(setting) = Setting::new() else {
        return;
    };
    let digest = "ab".repeat(32);
    let facteur = setting.start_with(&["--relay-clientcert", &digest]);
    let child = child(&facteur);
    let killed = Command::new("sh")
        .args(["-c", &format!("kill -KILL {child}")])
        .status();
    assert!(killed.expect("sh").success());
    facteur.wait_log(&["ERROR", "the process that reads them is gone", "signal: 9"]);
    let before = shown(facteur.port, "mx.test");
    setting.certbot.renew("mx.test", 2, &made(&["mx.test"]));
    facteur.signal("HUP");
    facteur.wait_log(&["ERROR", "certificates unchanged"]);
    // What else a signal asks for is done.
    facteur.wait_log(&["client certificates roots=0"]);
    assert!(shown(facteur.port, "mx.test") == before);
    facteur.stop();
}

#[test]
fn check_sees_that_the_reader_is_dead_and_what_is_served_instead() {
    let Some(setting) = Setting::new() else {
        return;
    };
    let facteur = setting.start();
    let (certs, listen) = (setting.certbot.live(), facteur.address());
    let relay = ["--hostname", "relay.test", "--spool", "spool"];
    let own = ["--user", USER, "--certs", &certs, "--listen", &listen];
    let words = [&["check"][..], &relay, &own, &["--resolver", "127.0.0.1:1"]].concat();
    let check = || {
        let output = command_of(setting.folder.as_ref(), &words).output();
        said(&output.expect("it runs"))
    };
    let child = child(&facteur);
    let text = check();
    let looks = format!(
        "ok: the running relay: serves 1 certificate as the disk has them, and process {child} looks"
    );
    assert!(text.contains(&looks), "{text}");
    assert!(text.contains(" relay=same\n"), "{text}");
    let killed = Command::new("sh")
        .args(["-c", &format!("kill -KILL {child}")])
        .status();
    assert!(killed.expect("sh").success());
    facteur.wait_log(&["ERROR", "the process that reads them is gone"]);
    setting.certbot.renew("mx.test", 2, &made(&["mx.test"]));
    let text = check();
    for expected in [
        "error: the running relay: the process that reads certificates is gone (",
        "warning: certificate names=\"mx.test default\"",
        "warning: the running relay: serves an older certificate names=\"mx.test default\"",
    ] {
        assert!(text.contains(expected), "{expected} in {text}");
    }
    assert!(text.contains(" relay=differs\n"), "{text}");
    facteur.signal("HUP");
    facteur.wait_log(&["WARN", "certificates kept=0 reader=gone"]);
    assert_eq!(
        facteur
            .log()
            .matches("that reads them is gone (signal")
            .count(),
        1
    );
    facteur.stop();
}

#[test]
fn a_relay_that_is_killed_leaves_no_child() {
    let Some(setting) = Setting::new() else {
        return;
    };
    let facteur = setting.start();
    let child = child(&facteur);
    facteur.kill();
    until("the child's end", || is_gone(child));
}

#[test]
fn what_cannot_be_is_one_line_that_says_what_to_do() {
    let Some(setting) = Setting::new() else {
        return;
    };
    let folder = setting.folder.as_ref();
    fs::create_dir(setting.folder.join("spool")).expect("root's folder");
    let chown = format!("chown -R {USER}: spool");
    for (user, expected) in [
        ("no-such-user", "--user no-such-user: no such user"),
        ("root", "--user root: that is root"),
        (USER, &*chown),
    ] {
        let flags = [
            "--listen",
            "127.0.0.1:0",
            "--spool",
            "spool",
            "--user",
            user,
        ];
        let output = refused(folder, &flags);
        assert_eq!(output.status.code(), Some(1));
        let said = said(&output);
        let last = said.lines().last().expect("a line");
        assert!(
            last.starts_with("facteur: --") && last.contains(expected),
            "{said}"
        );
    }
}

#[test]
fn a_spool_that_the_user_cannot_come_to_is_told_before_anything_is_made() {
    let Some(setting) = Setting::new() else {
        return;
    };
    let closed = setting.folder.join("closed");
    fs::create_dir(&closed).expect("root's folder");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o700)).expect("its mode");
    let spool = closed.join("x/spool");
    let (spool, at) = (spool.to_str().expect("UTF-8"), closed.display());
    let flags = ["--spool", spool, "--user", USER];
    let expected = format!("--spool {spool}: --user {USER} may not enter {at}: give a folder");
    let serve = [&["--listen", "127.0.0.1:0"][..], &flags].concat();
    let output = refused(setting.folder.as_ref(), &serve);
    assert!(said(&output).contains(&expected), "{}", said(&output));
    let words = [&["check", "--resolver", "127.0.0.1:1"][..], &serve].concat();
    let output = command_of(setting.folder.as_ref(), &words).output();
    let said = said(&output.expect("it runs"));
    assert!(said.contains(&format!("error: {expected}")), "{said}");
    assert!(!closed.join("x").exists(), "nothing is made");
}

#[test]
fn who_is_not_root_can_be_nobody_but_himself() {
    let Some(setting) = Setting::new() else {
        return;
    };
    let folder = setting.folder.as_ref();
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("its mode");
    let flags = [
        "--listen",
        "127.0.0.1:0",
        "--spool",
        "spool",
        "--user",
        "daemon",
    ];
    let mut other = command(folder, &flags);
    other
        .uid(setting.uid)
        .gid(setting.uid)
        .stderr(Stdio::piped());
    let output = match other.output() {
        Err(problem) => return println!("SKIPPED: {USER} cannot start the program: {problem}"),
        Ok(output) => output,
    };
    let said = said(&output);
    assert!(
        said.contains("--user daemon: only root can become another user"),
        "{said}"
    );
    let own = |command: Command| {
        let mut command = command;
        command.uid(setting.uid).gid(setting.uid);
        command.args(["--user", USER, "--spool", "own-spool"]);
        command
    };
    let mut facteur = Facteur::launch(support::free_port(), folder, &[], own);
    facteur.wait_greeting().expect("it starts");
    facteur.stop();
}

#[test]
fn the_child_can_read_nothing_but_certificates() {
    let Some(setting) = Setting::new() else {
        return;
    };
    let facteur = setting.start_with(&["--log", "debug"]);
    let line = facteur.wait_log(&["landlock="]);
    if line.contains("landlock=none") {
        return println!("SKIPPED: this kernel has no Landlock");
    }
    let made = made(&["elsewhere.test"]);
    let certs = setting.certbot.live();
    fs::create_dir(format!("{certs}/elsewhere.test")).expect("a folder");
    for (name, text) in [("fullchain.pem", &made.chain), ("privkey.pem", &made.key)] {
        let file = setting.folder.file(&format!("elsewhere/{name}"), text);
        let link = format!("{certs}/elsewhere.test/{name}");
        std::os::unix::fs::symlink(file, link).expect("a link");
    }
    let skipped = ["certificate skipped", "elsewhere.test", "Permission denied"];
    let line = facteur.wait_log(&skipped);
    assert!(line.contains("restart facteur"), "{line}");
    // The folder of that name is another one now.
    fs::rename(&certs, format!("{certs}.old")).expect("renamed");
    setting.certbot.renew("mx.test", 2, &made);
    let line = facteur.wait_log(&["certificates kept as they were", "Permission denied"]);
    assert!(line.contains("restart facteur"), "{line}");
    facteur.stop();
}

#[test]
fn the_child_s_command_is_none_for_people() {
    let folder = Folder::new();
    for words in [
        &["certificate-reader"][..],
        &["certificate-reader", "1", "1", "info", "/x"],
    ] {
        let output = command_of(folder.as_ref(), words)
            .output()
            .expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        assert!(said(&output).contains("is what serve --user starts for itself"));
    }
}

#[test]
fn root_s_check_of_a_running_relay_tells_certificates_and_handshakes() {
    let Some(setting) = Setting::new() else {
        return;
    };
    let facteur = setting.start();
    shown(facteur.port, "mx.test");
    let (certs, listen) = (setting.certbot.live(), facteur.address());
    let relay = ["--hostname", "relay.test", "--spool", "spool"];
    let own = ["--user", USER, "--certs", &certs, "--listen", &listen];
    let words = [&["check"][..], &relay, &own, &["--resolver", "127.0.0.1:1"]].concat();
    let output = command_of(setting.folder.as_ref(), &words).output();
    let said = said(&output.expect("it runs"));
    for expected in [
        "ok: certificate names=\"mx.test default\"",
        "ok: the running relay: tls entries mx.test=1\n",
    ] {
        assert!(said.contains(expected), "{said}");
    }
    facteur.stop();
}

#[test]
fn check_looks_as_the_user() {
    let Some(setting) = Setting::new() else {
        return;
    };
    let certs = setting.certbot.live();
    let check = |more: &[&str]| {
        let flags = [
            "check",
            "--hostname",
            "relay.test",
            "--listen",
            "127.0.0.1:0",
        ];
        // Nobody answers there.
        let own = [
            "--certs",
            &certs,
            "--user",
            USER,
            "--resolver",
            "127.0.0.1:1",
        ];
        let words = [&flags[..], &own, more].concat();
        let output = command_of(setting.folder.as_ref(), &words).output();
        said(&output.expect("it runs"))
    };
    for folder in ["spool", "theirs"] {
        fs::create_dir(setting.folder.join(folder)).expect("root's folder");
    }
    let mine = Some(setting.uid);
    std::os::unix::fs::chown(setting.folder.join("theirs"), mine, None).expect("given away");
    let said = check(&["--spool", "theirs", "--domain", "a.test=maildir:root-mail"]);
    assert!(said.contains("ok: certificates names=1"), "{said}");
    assert!(said.contains(&format!("ok: --user {USER}: uid")), "{said}");
    assert!(!said.contains("chown"), "{said}");
    let maildir = said.lines().find(|line| line.contains("root-mail"));
    assert!(maildir.expect("a finding").starts_with("error: "), "{said}");

    let said = check(&["--spool", "spool"]);
    assert!(said.contains(&format!("error: --spool spool: it, or a file in it, belongs to user 0, not to --user {USER}: chown -R")), "{said}");
    let said = check(&["--spool", "new"]);
    assert!(said.contains("MiB will be made"), "{said}");
}
