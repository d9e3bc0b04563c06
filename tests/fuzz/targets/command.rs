//! Any line is read as a command or gets a refusal of 500 to 555, and what was read reads the same once written again.

#![no_main]

use facteur::smtp::address::Path;
use facteur::smtp::command::Command;
use facteur::smtp::parameters::{MailParameters, RcptParameters};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &[u8]| {
    let read = Command::parse(line);
    if let Ok(command) = Command::parse_in_clear(line) {
        assert_eq!(read, Ok(command));
    }
    match read {
        Err(refusal) => assert!(matches!(refusal.code(), 500..=555), "{refusal:?}"),
        Ok(Command::Mail(path, rest)) => {
            if let Err(why) = MailParameters::parse(rest) {
                assert!(matches!(why.code(), 501 | 555), "{why:?}");
            }
            let written = format!("MAIL FROM:{path}{rest}");
            assert_eq!(
                Command::parse(written.as_bytes()),
                Ok(Command::Mail(path, rest))
            );
        }
        Ok(Command::Rcpt(path, rest)) => {
            assert_ne!(path, Path::Null);
            for utf8 in [false, true] {
                if let Ok(RcptParameters {
                    orcpt: Some(orcpt), ..
                }) = RcptParameters::parse(rest, utf8)
                {
                    assert!(rest.contains(orcpt.as_str()), "{orcpt:?}");
                    assert!(utf8 || orcpt.is_ascii(), "{orcpt:?}");
                }
            }
            let written = format!("RCPT TO:{path}{rest}");
            assert_eq!(
                Command::parse(written.as_bytes()),
                Ok(Command::Rcpt(path, rest))
            );
        }
        Ok(_) => {}
    }
});
