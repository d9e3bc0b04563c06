//! Reports as an independent reader finds them: Python's email package.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::io::Write;
use std::process::{Command, Stdio};

/// What Python's email package finds in a message from a Maildir.
pub fn python(message: &str, script: &str) -> String {
    let program = format!(
        "import sys, email, email.policy\nm = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)\n{script}"
    );
    let mut child = Command::new("python3")
        .args(["-c", &program])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is there: scripts/test installs it");
    child
        .stdin
        .take()
        .unwrap()
        .write_all(message.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// The subject, and a line for each recipient. What breaks a rule of RFC 3464 or of MIME is a panic.
pub fn fields(report: &str) -> String {
    python(report, "
from email.utils import parsedate_to_datetime as date
def walk(part):
    assert not part.defects, (part.get_content_type(), part.defects)
    for inner in part.iter_parts() if part.get_content_maintype() == 'multipart' else []: walk(inner)
walk(m)
assert m.get_content_type() == 'multipart/report' and m.get_param('report-type') == 'delivery-status'
parts = list(m.iter_parts())
assert [p.get_content_type() for p in parts[:2]] == ['text/plain', 'message/delivery-status'], parts
assert parts[2].get_content_type() in ('text/rfc822-headers', 'message/rfc822'), parts
about, *each = parts[1].get_payload()
assert about['Reporting-MTA'] == 'dns; relay.example' and date(about['Arrival-Date'])
print(m['Subject'])
for r in each:
    assert date(r['Last-Attempt-Date']) and len(r.keys()) == len(set(r.keys()))
    print(r['Final-Recipient'], r['Action'], r['Status'], r['Diagnostic-Code'], r['Remote-MTA'])
")
}
