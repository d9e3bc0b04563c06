//! What the owner of a bad, odd or misplaced certificate is told: the thing, what is wrong with it and what would be right.

mod certificates;
mod support;

use std::path::Path;

use certificates::{Authority, Folder as Certs, Made, issued, made, made_named};
use support::facteur::{Facteur, command_of, refused};
use support::{Folder, free_port, program, said, succeed};

/// What `facteur check` says with these flags and `--certs`.
fn check(dir: &Path, flags: &[&str]) -> String {
    let folder = Folder::new();
    let listen = format!("127.0.0.1:{}", free_port());
    let dir = dir.to_str().expect("UTF-8");
    let own = ["check", "--spool-size", "24M", "--listen", &listen];
    let own = [&own[..], &["--certs", dir, "--hostname", "relay.test"]].concat();
    let words = [&own[..], flags].concat();
    said(
        &command_of(folder.as_ref(), &words)
            .output()
            .expect("facteur runs"),
    )
}

#[track_caller]
fn line<'a>(text: &'a str, words: &[&str]) -> &'a str {
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    let found = text.lines().find(has_all);
    found.unwrap_or_else(|| panic!("{words:?} in no line of {text}"))
}

/// A self-signed certificate by OpenSSL, whose key was made by this command of it, in a folder of this name.
fn lineage(certs: &Certs, name: &str, key: &str) {
    let dir = certs.path().join(name);
    std::fs::create_dir_all(&dir).expect("a folder");
    let script = format!(
        "openssl {key} > privkey.pem && openssl req -x509 -new -key privkey.pem -subj /CN={name} -days 90 \
         -addext subjectAltName=DNS:{name} -out fullchain.pem"
    );
    succeed(
        program("sh", "dash")
            .args(["-c", &script])
            .current_dir(&dir),
    );
}

#[test]
fn a_key_that_cannot_be_used_is_named_with_those_that_can() {
    let certs = Certs::new();
    let usable = match cfg!(feature = "aws-lc-rs") {
        true => "RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, and Ed25519 can",
        false => "RSA of 2048 to 4096 bits, ECDSA on P-256 or P-384, and Ed25519 can",
    };
    let bad = [
        ("rsa.test", "genrsa 1024", "RSA 1024"),
        ("pkcs1.test", "genrsa -traditional 1024", "RSA 1024"),
        (
            "k1.test",
            "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:secp256k1",
            "ECDSA secp256k1",
        ),
        (
            "sec1.test",
            "ecparam -name secp256k1 -genkey -noout",
            "ECDSA secp256k1",
        ),
        (
            "pool.test",
            "ecparam -name brainpoolP256r1 -genkey -noout",
            "ECDSA brainpoolP256r1",
        ),
        ("448.test", "genpkey -algorithm ED448", "Ed448"),
        (
            "pss.test",
            "genpkey -algorithm RSA-PSS -pkeyopt rsa_keygen_bits:2048",
            "RSA-PSS",
        ),
    ];
    for (name, key, _) in bad {
        lineage(&certs, name, key);
    }
    let good = [
        ("3072.test", "genrsa 3072", "RSA 3072"),
        (
            "384.test",
            "ecparam -name secp384r1 -genkey -noout",
            "P-384",
        ),
        ("519.test", "genpkey -algorithm ED25519", "Ed25519"),
    ];
    for (name, key, _) in good {
        lineage(&certs, name, key);
    }
    if cfg!(feature = "aws-lc-rs") {
        lineage(&certs, "521.test", "ecparam -name secp521r1 -genkey -noout");
    }
    let text = check(certs.path(), &[]);
    for (name, _, kind) in bad {
        let told = line(&text, &["warning: certificate skipped", name]);
        let why = format!("the private key is {kind}, which cannot be used: {usable}\"");
        assert!(told.ends_with(&why), "{told}");
    }
    for (name, _, kind) in good {
        line(&text, &["ok: certificate names=", name, kind]);
    }
    if cfg!(feature = "aws-lc-rs") {
        line(&text, &["ok: certificate names=", "521.test", "P-521"]);
    }
    // Of the hostname it stops the start, in the same words.
    let dir = certs.path().to_str().expect("UTF-8");
    let folder = Folder::new();
    let ended = refused(
        folder.as_ref(),
        &[
            "--certs",
            dir,
            "--hostname",
            "rsa.test",
            "--listen",
            "127.0.0.1:0",
        ],
    );
    line(&said(&ended), &["rsa.test", "is RSA 1024", usable]);
}

#[test]
fn a_certificate_that_does_not_belong_is_named() {
    let certs = Certs::new();
    let (leaf, intermediate, root) = issued(&["mx.test"]);
    let stranger = made_named("old mail server", &["old.test"]);
    let lineage = |name: &str, chain: String| {
        let (key, der) = (leaf.key.clone(), leaf.der.clone());
        certs.lineage(name, &Made { chain, key, der });
    };
    lineage("whole", format!("{}{intermediate}{root}", leaf.chain));
    lineage(
        "odd",
        format!("{}{intermediate}{root}{}", leaf.chain, stranger.chain),
    );
    lineage("gap", format!("{}{root}", leaf.chain));
    let text = check(certs.path(), &[]);
    let told = line(&text, &["certificate skipped", "/odd "]);
    assert!(
        told.contains("unrelated certificate 4 (subject old mail server): it issued none"),
        "{told}"
    );
    line(
        &text,
        &[
            "/gap ",
            "a link of the chain is missing",
            "issued by intermediate",
        ],
    );
    line(&text, &["ok: certificate names=\"mx.test"]);
}

#[test]
fn the_folder_of_one_certificate_is_not_that_of_them_all() {
    let certs = Certs::new();
    certs.lineage("mx.test", &made(&["mx.test"]));
    certs.write("mx.test/README", "");
    let above = certs.path().display().to_string();
    let text = check(&certs.path().join("mx.test"), &[]);
    let told = line(&text, &["error: ", "--certs ", "/mx.test: "]);
    assert!(
        told.ends_with(&format!("give that of them all, --certs {above}")),
        "{told}"
    );
    line(
        &check(certs.path(), &[]),
        &["ok: certificate names=\"mx.test"],
    );
}

#[test]
fn names_that_serve_nobody_and_wildcards_are_told_as_they_are() {
    let certs = Certs::new();
    certs.lineage("w.test", &made(&["*.w.test", "*.test"]));
    let text = check(certs.path(), &[]);
    let told = line(&text, &["warning: certificate names folder="]);
    assert!(told.contains(" names=\"*.test\" reason="), "{told}");
    let text = check(certs.path(), &["--default-cert", "nowhere.test"]);
    let told = line(&text, &["--default-cert nowhere.test"]);
    assert!(told.ends_with("there are *.w.test"), "{told}");
}

#[test]
fn a_certificate_of_no_authority_in_client_ca_is_warned_of() {
    let folder = Folder::new();
    let certs = Certs::new();
    certs.lineage("relay.test", &made(&["relay.test"]));
    let (root, leaf) = (Authority::new("office"), made_named("laptop", &[]));
    let both = certs.write("clients/both.pem", &(root.pem() + &leaf.chain));
    let good = certs.write("clients/good.pem", &root.pem());
    let (both, good) = (both.to_str().expect("UTF-8"), good.to_str().expect("UTF-8"));
    let words = ["'laptop' is no authority's", "--relay-clientcert"];
    let text = check(certs.path(), &["--client-ca", both]);
    let told = line(&text, &words);
    assert!(told.starts_with("warning: --client-ca: "), "{told}");
    let text = check(certs.path(), &["--client-ca", good]);
    assert!(!text.contains("no authority"), "{text}");
    let dir = certs.path().to_str().expect("UTF-8");
    let facteur = Facteur::start(
        folder.as_ref(),
        &[
            "--certs",
            dir,
            "--hostname",
            "relay.test",
            "--client-ca",
            both,
        ],
    );
    facteur.wait_log(&["WARN", words[0], words[1]]);
    facteur.stop();
}
