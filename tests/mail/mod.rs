//! An envelope for the tests of the sending machine.

use facteur::smtp::client::Envelope;

#[derive(Clone)]
pub struct Mail {
    pub sender: &'static str,
    pub recipients: Vec<String>,
    pub eight_bit: bool,
    /// Its size, where it may go by BDAT.
    pub chunk: Option<u64>,
}

pub fn mail(recipients: &[&str]) -> Mail {
    Mail {
        sender: "s@x",
        recipients: recipients.iter().map(|&r| r.to_owned()).collect(),
        eight_bit: false,
        chunk: None,
    }
}

impl Envelope for Mail {
    fn sender(&self) -> &str {
        self.sender
    }
    fn recipients(&self) -> usize {
        self.recipients.len()
    }
    fn recipient(&self, index: usize) -> &str {
        &self.recipients[index]
    }
    fn size(&self) -> u64 {
        1234
    }
    fn chunk(&self) -> Option<u64> {
        self.chunk
    }
    fn has_8bit_body(&self) -> bool {
        self.eight_bit
    }
    fn has_utf8_headers(&self) -> bool {
        false
    }
    fn requires_tls(&self) -> bool {
        false
    }
}
