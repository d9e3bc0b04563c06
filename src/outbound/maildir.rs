//! Final delivery into a Maildir (<https://cr.yp.to/proto/maildir.html>): tmp, fsync, rename to new, fsync of the folder.
//!
//! A few threads do all of its file calls, so that a slow disk never holds the executor. Several, because the file system
//! commits the fsyncs that wait at the same time together; and what one of them finds waiting shares the folder's fsync.

mod files;

use crate::limits;
use files::{Folder, Partial};
use smol::channel::{Receiver, Sender, bounded};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::thread::{self, JoinHandle};

/// The way to the Maildir threads. Dropping it ends them once what was handed over is done.
#[derive(Debug)]
pub struct Maildir {
    requests: Option<Sender<Request>>,
    threads: Vec<JoinHandle<()>>,
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

/// One message on its way into one Maildir. Dropped before `finish`: nothing is delivered, the file in tmp is removed.
#[derive(Debug)]
pub struct Delivery<'m> {
    maildir: &'m Maildir,
    folder: PathBuf,
    partial: Option<Partial>,
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
    answer: Sender<io::Result<(Option<Partial>, Vec<u8>)>>,
}

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
        let threads = (0..limits::MAILDIR_THREADS).map(|_| {
            let (inbox, hostname) = (inbox.clone(), hostname.clone());
            thread::Builder::new()
                .name("maildir".to_owned())
                .stack_size(limits::MAILDIR_STACK)
                .spawn(move || serve(&inbox, &hostname))
        });
        Ok(Self {
            threads: threads.collect::<io::Result<_>>()?,
            requests: Some(requests),
        })
    }

    /// Begins a delivery into the Maildir at `folder`, which is made (0700) if it is not there. The first lines tell the
    /// envelope: Return-Path (empty for the null sender) and Delivered-To.
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
            buffer,
            carriage_return: false,
        }
    }
}

impl Drop for Maildir {
    fn drop(&mut self) {
        self.requests.take();
        for thread in self.threads.drain(..) {
            // A panic there has been reported by the thread itself.
            let _ = thread.join();
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
            if self.buffer.len() + piece.len() + 1 > limits::MAILDIR_CHUNK {
                self.request(Step::Write).await?;
            }
            self.append(piece);
        }
        Ok(())
    }

    /// All is written: returns once the message is in `new`, durably.
    ///
    /// # Errors
    /// [`MaildirError`]
    pub async fn finish(mut self) -> Result<(), MaildirError> {
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
        let Some(requests) = &self.maildir.requests else {
            return Err(MaildirError::Stopped);
        };
        let exchange = async {
            requests
                .send(request)
                .await
                .map_err(|_| MaildirError::Stopped)?;
            answered
                .recv()
                .await
                .map_err(|_| MaildirError::Stopped)?
                .map_err(MaildirError::Io)
        };
        let deadline = async {
            smol::Timer::after(limits::MAILDIR_WAIT).await;
            Err(MaildirError::Slow)
        };
        (self.partial, self.buffer) = smol::future::or(exchange, deadline).await?;
        Ok(())
    }
}

impl Drop for Delivery<'_> {
    fn drop(&mut self) {
        let (Some(partial), Some(requests)) = (self.partial.take(), &self.maildir.requests) else {
            return;
        };
        // If the thread has too much to do, the file is removed right here.
        let _ = requests.try_send(Request {
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
type Whole = (
    Partial,
    Vec<u8>,
    Sender<io::Result<(Option<Partial>, Vec<u8>)>>,
);

fn write(mut request: Request, hostname: &str, whole: &mut Vec<Whole>) {
    if request.step == Step::Abandon {
        return;
    }
    let written = match request.partial.take() {
        Some(partial) => Ok(partial),
        None => Folder::at(&request.folder).and_then(|folder| folder.create(hostname)),
    }
    .and_then(|mut partial| partial.write(&request.octets).map(|()| partial));
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
    let mut moved: Vec<(PathBuf, Whole)> = Vec::with_capacity(whole.len());
    for (mut partial, buffer, waits) in whole.drain(..) {
        match partial.sync_and_move() {
            Ok(folder) => moved.push((folder, (partial, buffer, waits))),
            Err(error) => answer(&waits, Err(error)),
        }
    }
    moved.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut synced: Option<(PathBuf, Result<(), io::ErrorKind>)> = None;
    for (folder, (partial, buffer, waits)) in moved {
        let result = match &synced {
            Some((last, result)) if *last == folder => *result,
            _ => files::sync_folder(&folder).map_err(|error| error.kind()),
        };
        synced = Some((folder, result));
        drop(partial);
        answer(
            &waits,
            result.map(|()| (None, buffer)).map_err(io::Error::from),
        );
    }
}

/// Tells the worker. One that no longer waits drops what it would have got: a [`Partial`] removes its file.
fn answer(
    waits: &Sender<io::Result<(Option<Partial>, Vec<u8>)>>,
    result: io::Result<(Option<Partial>, Vec<u8>)>,
) {
    let _ = waits.try_send(result);
}

#[cfg(test)]
mod tests;
