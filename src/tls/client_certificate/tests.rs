use super::super::certificates::{
    Authority, Folder, Made, der, made, made_between, made_for, version_1,
};
use super::*;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};

const DAY: u64 = 86_400;

/// A day on which the clock is set.
const TODAY: u64 = 21_000;

const UNKNOWN: Verdict = Verdict::Unverified("no path to --client-ca");

/// A self-signed certificate with an RSA key of 1024 bits: openssl req -x509 -newkey rsa:1024 -subj /CN=small
const SMALL: &str = "\
-----BEGIN CERTIFICATE-----\n\
MIIB/jCCAWegAwIBAgIUdUMKYkJj/t+KhTCmHJ/80SfsHZIwDQYJKoZIhvcNAQEL\n\
BQAwEDEOMAwGA1UEAwwFc21hbGwwIBcNMjYxMTI0MTIwNzI4WhgPMjEyNjEwMzEx\n\
MjA3MjhaMBAxDjAMBgNVBAMMBXNtYWxsMIGfMA0GCSqGSIb3DQEBAQUAA4GNADCB\n\
iQKBgQDMk5R5UdDp3sGMCGRjjSHtc/yY2LcOwp180qTMiP5NMXQ2J/hRUqbNg730\n\
YLkHJzHbxxnpW8n/Nn2eRBmjbeR9ZWtx+7iKB2qqAkMI73odUySqcSoTUvh3ZAOc\n\
WjjvjbFxy1JuQ08Dz3myFLJLnT/Cf+woup0VunW7hib8WiF6IQIDAQABo1MwUTAd\n\
BgNVHQ4EFgQUXf3d4gkCL4lmxYY1Hxc/1XvpiNkwHwYDVR0jBBgwFoAUXf3d4gkC\n\
L4lmxYY1Hxc/1XvpiNkwDwYDVR0TAQH/BAUwAwEB/zANBgkqhkiG9w0BAQsFAAOB\n\
gQArZpaJ5JG4yrboK4fjE1aAxznZpcWn//W10rHeTsWjMutBdUqzUw68UoAZJV9N\n\
HvIZ/fLCVVUhYhRyXfBt+JRGUc1/xRxaTKvQwvcjKlgAcq7e5su+siq8MZOsbQts\n\
+8O8GFpW86eUvlzSXx6FhMe45Lp4DAL1OxEPn9RHTFOlXA==\n\
-----END CERTIFICATE-----\n\
";

fn clients(ca: &str, fingerprints: &[Fingerprint]) -> Clients {
    let folder = Folder::new();
    let file = (!ca.is_empty()).then(|| folder.write("ca.pem", ca));
    Clients::read(file.as_deref(), fingerprints.to_vec()).unwrap()
}

/// What a client with these certificates (DER) is worth today.
fn verdict(clients: &Clients, chain: &[&[u8]]) -> Verdict {
    let chain: Vec<_> = chain.iter().map(|&der| CertificateDer::from(der)).collect();
    clients.judge(&chain, TODAY * DAY).unwrap().verdict
}

#[test]
fn a_path_to_a_root_verifies_and_nothing_else_does() {
    let (root, other) = (Authority::new("root"), Authority::new("other"));
    let intermediate = root.below("intermediate");
    let between = der(&intermediate.pem());
    let clients = clients(&(other.pem() + &root.pem()), &[]);
    assert_eq!(clients.roots(), 2);
    let direct = root.signs_client("direct").der;
    let below = intermediate.signs_client("below").der;
    assert_eq!(verdict(&clients, &[&direct]), Verdict::Verified);
    assert_eq!(verdict(&clients, &[&below, &between]), Verdict::Verified);
    let with_root = [&below[..], &der(&root.pem()), &between];
    assert_eq!(
        verdict(&clients, &with_root),
        Verdict::Verified,
        "in any order"
    );
    assert_eq!(
        verdict(&clients, &[&below]),
        UNKNOWN,
        "the intermediate is missing"
    );
    let forged = Authority::new("root").signs_client("direct").der;
    let broken = Verdict::Unverified("its path to --client-ca is broken");
    assert_eq!(
        verdict(&clients, &[&forged]),
        broken,
        "another's key under the root's name"
    );
    assert_eq!(verdict(&clients, &[&made(&["self.example"]).der]), UNKNOWN);
    assert_eq!(
        verdict(&clients, &[&between]),
        Verdict::Unverified("an authority's own")
    );
    let mut long = vec![&below[..]];
    long.resize(limits::CLIENT_CHAIN_CERTIFICATES, &between);
    assert_eq!(verdict(&clients, &long), Verdict::Verified);
    long.push(&between);
    assert_eq!(
        verdict(&clients, &long),
        Verdict::Unverified("its chain is too long")
    );
}

#[test]
fn dates_and_purposes_count_for_an_authority_s_clients() {
    let root = Authority::new("root");
    let clients = clients(&root.pem(), &[]);
    for (usages, days, expected) in [
        (&[][..], (0, 90_000), Verdict::Verified),
        (
            &[ServerAuth, ClientAuth],
            (TODAY, TODAY + 1),
            Verdict::Verified,
        ),
        (
            &[ServerAuth],
            (0, 90_000),
            Verdict::Unverified("not made for clients"),
        ),
        (
            &[ClientAuth],
            (0, TODAY - 1),
            Verdict::Unverified("out of date"),
        ),
        (
            &[ClientAuth],
            (TODAY + 1, 90_000),
            Verdict::Unverified("out of date"),
        ),
    ] {
        let shown = root.signs("a", usages, days).der;
        assert_eq!(
            verdict(&clients, &[&shown]),
            expected,
            "{usages:?} {days:?}"
        );
    }
    let shown = [CertificateDer::from(root.signs_client("a").der)];
    let unset = clients.judge(&shown, 1_000 * DAY).unwrap();
    assert_eq!(unset.verdict, Verdict::Unverified("the clock is not set"));
}

/// openssl req -x509 makes certificates that may sign others; each is its own authority.
#[test]
fn a_root_s_own_certificate_is_a_client_s_too() {
    let own = Authority::new("laptop").pem();
    assert_eq!(
        verdict(&clients(&own, &[]), &[&der(&own)]),
        Verdict::Verified
    );
    let old = made_between(&["old.example"], 0, (TODAY - 1) * DAY);
    let expired = Verdict::Unverified("out of date");
    assert_eq!(verdict(&clients(&old.chain, &[]), &[&old.der]), expired);
}

#[test]
fn a_fingerprint_is_of_the_certificate_or_of_its_key_whatever_else_it_says() {
    let Made { der: old, .. } = made_between(&["old.example"], 0, DAY);
    let shown = CertificateDer::from(&old[..]);
    let key = EndEntityCert::try_from(&shown)
        .unwrap()
        .subject_public_key_info();
    let others = Fingerprint::of(b"another");
    for known in [Fingerprint::of(&old), Fingerprint::of(&key)] {
        let verdict = verdict(&clients("", &[others, known]), &[&old]);
        assert_eq!(verdict, Verdict::Fingerprint);
        assert!(verdict.is_known());
    }
    let clients = clients("", &[others]);
    let unknown = verdict(&clients, &[&old]);
    assert_eq!(unknown, Verdict::Unverified("unknown"));
    assert!(!unknown.is_known());
    // Only the client's own certificate: it has no other's key.
    let other = made(&["other.example"]).der;
    let beside = super::tests::clients("", &[Fingerprint::of(&old)]);
    assert_eq!(
        verdict(&beside, &[&other, &old]),
        Verdict::Unverified("unknown")
    );
    assert_eq!(clients.judge(&[], 0), None);
}

/// For these the handshake's signature is not checked: whoever has read one could show it.
#[test]
fn what_cannot_be_proven_is_worth_nothing_even_if_it_is_known() {
    let v1 = der(&version_1(&made(&["old.example"])));
    for (shown, name, why) in [
        (v1, "", "not of X.509 v3"),
        (der(SMALL), "small", "its RSA key is too small or too large"),
        (b"garbage".to_vec(), "", "not readable"),
        (Vec::new(), "", "not readable"),
    ] {
        let known = clients("", &[Fingerprint::of(&shown)]);
        let chain = [CertificateDer::from(shown)];
        let verdict = Verdict::Unverified(why);
        let name = name.into();
        assert_eq!(
            known.judge(&chain, TODAY * DAY),
            Some(Shown { name, verdict })
        );
    }
    let rsa = super::super::certificates::made_rsa(&["rsa.example"]).der;
    assert_eq!(
        verdict(&clients("", &[Fingerprint::of(&rsa)]), &[&rsa]),
        Verdict::Fingerprint
    );
}

#[test]
fn a_file_without_certificates_is_an_error() {
    let folder = Folder::new();
    let told = |path: &Path| {
        Clients::read(Some(path), Vec::new())
            .unwrap_err()
            .to_string()
    };
    for (text, part) in [
        ("", "no PEM certificate in it"),
        ("hello\n", "no PEM certificate in it"),
        (&made_for(None, &[]).key, "no PEM certificate in it"),
        (
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            "certificate 1 cannot be read",
        ),
    ] {
        let why = told(&folder.write("ca.pem", text));
        assert!(
            why.contains("ca.pem: ") && why.contains(part) && !why.contains('\n'),
            "{why}"
        );
    }
    assert!(told(&folder.path().join("nothing.pem")).contains("No such file"));
    assert!(told(folder.path()).contains("not a PEM file"));
}
