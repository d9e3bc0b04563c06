//! Who looks at the disk for certificates.

use crate::limits;
use crate::tls::Found;
use crate::tls::reader::{Look, Reader};
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};

/// Looks every few seconds, and when it is asked to.
pub struct Source {
    reader: Reader,
    asked: Receiver<()>,
    asker: SyncSender<()>,
}

/// Why there may be another table.
pub enum News {
    /// Something on the disk has changed.
    Changed,
    /// It was asked for.
    Asked,
    /// There will be none.
    End,
}

impl Source {
    /// This process looks.
    pub fn here(reader: Reader) -> Self {
        // One that waits is as good as many: what is asked for is the state after the last.
        let (asker, asked) = sync_channel(1);
        Self {
            reader,
            asked,
            asker,
        }
    }

    /// The first look.
    ///
    /// # Errors
    /// One line.
    pub fn first(&mut self, found: &mut Found) -> Result<(), String> {
        self.reader
            .look(Look::Final, &mut |change| found.apply(change));
        Ok(())
    }

    /// What asks for a look.
    ///
    /// # Errors
    /// The system's.
    pub fn asker(&self) -> io::Result<Asker> {
        Ok(Asker(self.asker.clone()))
    }

    /// Waits until there is something new, and puts it into `found`.
    pub fn next(&mut self, found: &mut Found) -> News {
        loop {
            let asked = match self.reader.is_idle() {
                true => self
                    .asked
                    .recv()
                    .map_err(|_| RecvTimeoutError::Disconnected),
                false => self.asked.recv_timeout(limits::CERTIFICATE_LOOK),
            };
            let mut changed = false;
            let mut tell = |change| {
                changed = true;
                found.apply(change);
            };
            match asked {
                Ok(()) => {
                    self.reader.look(Look::Final, &mut tell);
                    return News::Asked;
                }
                Err(RecvTimeoutError::Timeout) => self.reader.look(Look::Patient, &mut tell),
                Err(RecvTimeoutError::Disconnected) => return News::End,
            }
            if changed {
                return News::Changed;
            }
        }
    }
}

/// Asks for a look at once.
pub struct Asker(SyncSender<()>);

impl Asker {
    /// Does not wait for it.
    pub fn ask(&self) {
        // Full: a look is to come.
        let _ = self.0.try_send(());
    }
}
