//! What has been taken for an end of data by some server and is none, and what an attacker puts behind it (SMTP smuggling).

#![allow(dead_code, reason = "each test uses a part of it")]

/// CR LF `.` CR LF ends a message; none of these do, however much they look like it.
pub const FALSE_ENDINGS: [&str; 47] = [
    // The dot's line begins or ends with LF or CR alone.
    "\n.\n",
    "\n.\r\n",
    "\r\n.\n",
    "\r.\r",
    "\r.\r\n",
    "\r\n.\r",
    "\n.\r",
    "\r.\n",
    "\n\r.\n\r",
    "\n\r.\r\n",
    // A CR too many.
    "\r\n.\r\r\n",
    "\r\r\n.\n",
    "\n.\r\r\n",
    "\r\n.\r\r",
    "\r.\r\r\n",
    "\r\r.\r\r",
    "\r\r.\r\n",
    "\r\r\n.\r\r\n",
    "\r\n.\r\r\r\r\n",
    // A LF too many.
    "\n\n.\n\n",
    "\r\n\n.\n\r\n",
    "\n\n.\r\n",
    "\r\n.\n\n",
    "\r\n.\n\r\n",
    // NUL and other octets between.
    "\r\n\0.\r\n",
    "\r\n.\0\r\n",
    "\r\n.\r\0\n",
    "\r\0\n.\r\n",
    "\r\n.\r\0\r\n",
    "\n\0.\n",
    "\r\n. \r\n",
    "\r\n .\r\n",
    "\r\n.\t\n",
    "\r\n\u{8}.\r\n",
    "\r\n.\u{1a}\r\n",
    "\r\n.\u{b}\n",
    "\r\n.\u{c}\r",
    "\u{85}.\u{85}",
    "\u{2028}.\u{2028}",
    // More dots.
    "\n..\r\n",
    "\r\n..\n",
    "\r\n..\r\n",
    "\r\n...\r\n",
    "\n..\n",
    ".\n.\n",
    "\n.\n.\n",
    "\r\n.\n.\r\r\n",
];

/// What would be a message of its own behind an end of data; its own end is left to the caller.
pub fn smuggled(line_end: &str) -> String {
    let lines = [
        "MAIL FROM:<smuggled@evil.test>",
        "RCPT TO:<smuggled@victim.test>",
        "DATA",
        "Subject: smuggled",
        "",
        "SMUGGLED",
    ];
    lines.map(|line| format!("{line}{line_end}")).concat()
}

/// A CR or LF that stands alone: where, with what is around it.
pub fn bare(octets: &[u8]) -> Option<String> {
    let at = (0..octets.len()).find(|&at| match octets[at] {
        b'\r' => octets.get(at + 1) != Some(&b'\n'),
        b'\n' => at == 0 || octets[at - 1] != b'\r',
        _ => false,
    })?;
    let around = &octets[at.saturating_sub(20)..(at + 20).min(octets.len())];
    Some(format!("at {at}: {:?}", String::from_utf8_lossy(around)))
}
