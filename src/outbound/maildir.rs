//! Final delivery into a Maildir (<https://cr.yp.to/proto/maildir.html>): tmp, fsync, rename to new, fsync of the folder.
//!
//! A few threads do all of its file calls, so that a slow disk never holds the executor. Several, because the file system
//! commits the fsyncs that wait at the same time together; and what one of them finds waiting shares the folder's fsync.

mod files;
mod header;

use crate::limits;
use crate::net::deadline::within;
use files::{Folder, Partial};
use header::{MOST_HELD, WithoutReturnPath};
use smol::channel::{Receiver, Sender, bounded};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::thread;

/// The way to the Maildir threads. Once it is dropped, they end when what was handed over is done. Nobody waits for that:
/// a disk that stalls must not hold the relay's end, and what it may leave behind is a file in tmp.
#[derive(Debug)]
pub struct Maildir {
    requests: Sender<Request>,
}

/// Why a delivery did not happen.
#[derive(Debug)]
pub enum MaildirError {
    /// The disk or the rights; it may work later.
    Io(io::Error),
    /// No thread answered within `limits::MAILDIR_WAIT`.
    Slow,
    /// The threads are gone.
    Stopped,
}

/// One message on its way into one Maildir. Dropped before `finish`: nothing is delivered, and a thread that has time for
/// it removes the file in tmp.
#[derive(Debug)]
pub struct Delivery<'m> {
    maildir: &'m Maildir,
    folder: PathBuf,
    partial: Option<Partial>,
    header: WithoutReturnPath,
    buffer: Vec<u8>,
    carriage_return: bool,
}

#[derive(Debug)]
struct Request {
    folder: PathBuf,
    /// None: the file is to be created.
    partial: Option<Partial>,
    octets: Vec<u8>,
    step: Step,
    answer: Waits,
}

/// The file, if more is to come for it, and the buffer back.
type Written = io::Result<(Option<Partial>, Vec<u8>)>;
type Waits = Sender<Written>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// More is to come.
    Write,
    /// This was all: make it durable and visible.
    Finish,
    /// It is given up.
    Abandon,
}

impl Maildir {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(hostname: &str) -> io::Result<Self> {
        let (requests, inbox) = bounded(limits::MAILDIR_BATCH);
        let hostname = hostname.to_owned();
        for _ in 0..limits::MAILDIR_THREADS {
            let (inbox, hostname) = (inbox.clone(), hostname.clone());
            thread::Builder::new()
                .name("maildir".to_owned())
                .stack_size(limits::MAILDIR_STACK)
                .spawn(move || serve(&inbox, &hostname))?;
        }
        Ok(Self { requests })
    }

    /// One whose disk never answers, and who tells when it has been asked.
    #[cfg(test)]
    pub(super) fn stalled() -> (Self, Receiver<()>) {
        let (requests, inbox) = bounded::<Request>(limits::MAILDIR_BATCH);
        let (tell, asked) = bounded(1);
        thread::spawn(move || {
            let unanswered = inbox.recv_blocking();
            let _ = tell.send_blocking(());
            loop {
                thread::park();
                std::hint::black_box(&unanswered);
            }
        });
        (Self { requests }, asked)
    }

    /// Begins a delivery into the Maildir at `folder`, which is made (0700) if it is not there. The first lines tell the
    /// envelope: Return-Path (empty for the null sender; it takes the place of any that the message has, RFC 5321 4.4) and
    /// Delivered-To.
    #[must_use]
    pub fn deliver(&self, folder: PathBuf, sender: &str, recipient: &str) -> Delivery<'_> {
        let mut buffer = Vec::with_capacity(limits::MAILDIR_CHUNK);
        for (name, open, address, close) in [
            ("Return-Path", "<", sender, ">"),
            ("Delivered-To", "", recipient, ""),
        ] {
            buffer.extend_from_slice(format!("{name}: {open}{address}{close}\n").as_bytes());
        }
        Delivery {
            maildir: self,
            folder,
            partial: None,
            header: WithoutReturnPath::default(),
            buffer,
            carriage_return: false,
        }
    }
}

impl Delivery<'_> {
    /// The message's next octets; CR LF becomes LF, as readers of Maildirs expect.
    ///
    /// # Errors
    /// [`MaildirError`]; the delivery is over then.
    pub async fn write(&mut self, octets: &[u8]) -> Result<(), MaildirError> {
        for piece in octets.chunks(limits::MAILDIR_CHUNK / 2) {
            if self.buffer.len() + MOST_HELD + piece.len() + 1 > limits::MAILDIR_CHUNK {
                self.request(Step::Write).await?;
            }
            let mut header = std::mem::take(&mut self.header);
            header.pass(piece, |kept| self.append(kept));
            self.header = header;
        }
        Ok(())
    }

    /// All is written: returns once the message is in `new`, durably.
    ///
    /// # Errors
    /// [`MaildirError`]
    pub async fn finish(mut self) -> Result<(), MaildirError> {
        let header = std::mem::take(&mut self.header);
        self.append(header.held());
        if std::mem::take(&mut self.carriage_return) {
            self.buffer.push(b'\r');
        }
        self.request(Step::Finish).await
    }

    fn append(&mut self, piece: &[u8]) {
        let mut rest = piece;
        if std::mem::take(&mut self.carriage_return) && rest.first() != Some(&b'\n') {
            self.buffer.push(b'\r');
        }
        while let Some(at) = memchr::memchr(b'\r', rest) {
            let (line, after) = rest.split_at(at);
            self.buffer.extend_from_slice(line);
            rest = after.get(1..).unwrap_or_default();
            match rest.first() {
                Some(b'\n') => {}
                Some(_) => self.buffer.push(b'\r'),
                None => self.carriage_return = true,
            }
        }
        self.buffer.extend_from_slice(rest);
    }

    async fn request(&mut self, step: Step) -> Result<(), MaildirError> {
        let (answer, answered) = bounded(1);
        let request = Request {
            folder: self.folder.clone(),
            partial: self.partial.take(),
            octets: std::mem::take(&mut self.buffer),
            step,
            answer,
        };
        let exchange = async {
            let sent = self.maildir.requests.send(request).await;
            sent.map_err(|_| MaildirError::Stopped)?;
            let answer = answered.recv().await.map_err(|_| MaildirError::Stopped)?;
            answer.map_err(MaildirError::Io)
        };
        let answer = within(limits::MAILDIR_WAIT, async { Ok(exchange.await) });
        (self.partial, self.buffer) = answer.await.map_err(|_| MaildirError::Slow)??;
        Ok(())
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        let Some(partial) = self.partial.take() else {
            return;
        };
        // If the threads have too much to do, the file stays in tmp: no file call is made on the executor.
        let _ = self.maildir.requests.try_send(Request {
            folder: PathBuf::new(),
            partial: Some(partial),
            octets: Vec::new(),
            step: Step::Abandon,
            answer: bounded(1).0,
        });
    }
}

impl MaildirError {
    /// The enhanced status code (RFC 3463) of the deferral.
    #[must_use]
    pub fn status(&self) -> &'static str {
        match self {
            Self::Io(error) if error.kind() == io::ErrorKind::QuotaExceeded => "4.2.2",
            Self::Io(error) if error.kind() == io::ErrorKind::StorageFull => "4.3.1",
            _ => "4.3.0",
        }
    }

    /// Whether no later attempt can do better: the local part makes no folder name here (5.1.1).
    #[must_use]
    pub fn is_permanent(&self) -> bool {
        matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::InvalidFilename)
    }
}

impl fmt::Display for MaildirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "{error}"),
            Self::Slow => write!(
                f,
                "the disk did not answer within {:?}",
                limits::MAILDIR_WAIT
            ),
            Self::Stopped => f.write_str("the relay is stopping"),
        }
    }
}

/// A thread: takes what waits, writes it all, then makes all that is whole durable.
fn serve(inbox: &Receiver<Request>, hostname: &str) {
    let mut whole = Vec::with_capacity(limits::MAILDIR_BATCH);
    while let Ok(first) = inbox.recv_blocking() {
        let mut next = Some(first);
        while let Some(request) = next {
            write(request, hostname, &mut whole);
            next = if whole.len() < limits::MAILDIR_BATCH {
                inbox.try_recv().ok()
            } else {
                None
            };
        }
        finish(&mut whole);
    }
}

/// A file whose last octet is written, and who waits for it.
type Whole = (Partial, Vec<u8>, Waits);

fn write(mut request: Request, hostname: &str, whole: &mut Vec<Whole>) {
    let begun = match request.partial.take() {
        Some(partial) if request.step == Step::Abandon => return partial.remove(),
        Some(partial) => Ok(partial),
        None => Folder::at(&request.folder).and_then(|folder| folder.create(hostname)),
    };
    let written = begun.and_then(|mut partial| match partial.write(&request.octets) {
        Ok(()) => Ok(partial),
        Err(error) => {
            partial.remove();
            Err(error)
        }
    });
    request.octets.clear();
    match written {
        Ok(partial) if request.step == Step::Finish => {
            whole.push((partial, request.octets, request.answer));
        }
        Ok(partial) => answer(&request.answer, Ok((Some(partial), request.octets))),
        Err(error) => answer(&request.answer, Err(error)),
    }
}

fn finish(whole: &mut Vec<Whole>) {
    let mut moved: Vec<(PathBuf, Vec<u8>, Waits)> = Vec::with_capacity(whole.len());
    for (partial, buffer, waits) in whole.drain(..) {
        match partial.sync_and_move() {
            Ok(folder) => moved.push((folder, buffer, waits)),
            Err((error, partial)) => {
                partial.remove();
                answer(&waits, Err(error));
            }
        }
    }
    moved.sort_by(|(one, ..), (other, ..)| one.cmp(other));
    let mut synced: Option<(PathBuf, Result<(), io::ErrorKind>)> = None;
    for (folder, buffer, waits) in moved {
        let result = match &synced {
            Some((last, result)) if *last == folder => *result,
            _ => files::sync_folder(&folder).map_err(|error| error.kind()),
        };
        synced = Some((folder, result));
        let result = result.map(|()| (None, buffer));
        answer(&waits, result.map_err(io::Error::from));
    }
}

/// Tells the worker. The file of one that no longer waits is removed.
fn answer(waits: &Waits, result: Written) {
    if let Err(unheard) = waits.try_send(result)
        && let Ok((Some(partial), _)) = unheard.into_inner()
    {
        partial.remove();
    }
}

#[cfg(test)]
mod tests;
