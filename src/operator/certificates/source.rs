//! Who looks at the disk for certificates: this process, or a child that may read what this one may not.

use super::child::{COMMAND, Orders};
use super::standing::Looker;
use crate::limits;
use crate::operator::user::User;
use crate::tls::Found;
use crate::tls::handed::{Handed, Receiver};
use crate::tls::reader::{Look, Reader};
use crate::tls::table::COMPILED;
use log::error;
use rustix::net::{RecvFlags, SendFlags};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{self, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Looks every few seconds, and when it is asked to.
pub enum Source {
    Here(Here),
    Child(Child),
    /// The child has ended, and cannot be had back: that would take root. What is left is the wish to read other files again.
    Gone(Arc<Wish>),
}

/// Why there may be another table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Something on the disk has changed.
    Changed,
    /// It was asked for.
    Asked,
    /// A look saw nothing new.
    Nothing,
    /// Time has passed, and no look came to its end.
    Silence,
    /// Nobody looks any more.
    Lost,
}

impl Source {
    /// This process looks.
    pub fn here(dirs: &[PathBuf]) -> Self {
        Self::Here(Here {
            reader: Reader::new(&COMPILED, dirs),
            wish: Arc::default(),
        })
    }

    /// A child looks that keeps root's right to read, while this process is to become `user`. Where there is nothing to
    /// look at, there is no child.
    ///
    /// # Errors
    /// One line.
    pub fn apart(dirs: &[PathBuf], user: &User) -> Result<Self, String> {
        let here = Self::here(dirs);
        match &here {
            Self::Here(looker) if looker.reader.is_idle() => Ok(here),
            _ => Child::start(dirs, user)
                .map(Self::Child)
                .map_err(|problem| format!("certificates: the process that reads them: {problem}")),
        }
    }

    /// The first look.
    ///
    /// # Errors
    /// One line.
    pub fn first(&mut self, found: &mut Found) -> Result<(), String> {
        match self {
            Self::Here(here) => {
                here.reader
                    .look(Look::Final, &mut |change| found.apply(change));
                Ok(())
            }
            Self::Child(child) => child.first(found).map_err(|problem| {
                let ended = child.ended();
                format!("certificates: the process that reads them: {problem}, {ended}")
            }),
            Self::Gone(_) => Err("certificates: nobody reads them".to_owned()),
        }
    }

    /// Who looks.
    pub fn looker(&self) -> Looker {
        match self {
            Self::Here(here) if here.reader.is_idle() => Looker::Nobody,
            Self::Here(_) => Looker::Relay,
            Self::Child(child) => Looker::Apart(child.process.id()),
            Self::Gone(_) => Looker::Gone(String::new()),
        }
    }

    /// What asks for a look.
    ///
    /// # Errors
    /// The system's.
    pub fn asker(&self) -> io::Result<Asker> {
        match self {
            Self::Here(here) => Ok(Asker::Here(Arc::clone(&here.wish))),
            Self::Child(child) => {
                let wish = Arc::clone(&child.wish);
                let stream = child.stream.try_clone()?;
                Ok(Asker::Child(stream, wish))
            }
            Self::Gone(wish) => Ok(Asker::Here(Arc::clone(wish))),
        }
    }

    /// Waits for the end of a look, and puts what is new into `found`; with [`News::Lost`], says how the reader ended.
    pub fn next(&mut self, found: &mut Found) -> (News, String) {
        let (lost, wish) = match self {
            Self::Here(here) => return (here.next(found), String::new()),
            Self::Child(child) => match child.next(found) {
                Ok(news) => return (news, String::new()),
                Err(problem) => {
                    let ended = child.ended();
                    let lost = match problem.kind() {
                        // Its own end, in other words.
                        io::ErrorKind::UnexpectedEof if !ended.is_empty() => ended,
                        _ => format!("{problem}, {ended}"),
                    };
                    (lost, Arc::clone(&child.wish))
                }
            },
            Self::Gone(wish) => {
                let news = match wish.wait(limits::CERTIFICATE_LOOK) {
                    true => News::Asked,
                    false => News::Silence,
                };
                return (news, String::new());
            }
        };
        *self = Self::Gone(wish);
        (News::Lost, lost)
    }
}

/// This process.
pub struct Here {
    reader: Reader,
    wish: Arc<Wish>,
}

impl Here {
    fn next(&mut self, found: &mut Found) -> News {
        let patience = match self.reader.is_idle() {
            true => limits::CERTIFICATE_DATES,
            false => limits::CERTIFICATE_LOOK,
        };
        let asked = self.wish.wait(patience);
        let mut changed = false;
        let how = match asked {
            true => Look::Final,
            false => Look::Patient,
        };
        self.reader.look(how, &mut |change| {
            changed = true;
            found.apply(change);
        });
        match (asked, changed) {
            (true, _) => News::Asked,
            (false, true) => News::Changed,
            (false, false) => News::Nothing,
        }
    }
}

/// The wish for a look at once. Said again before it is heard it is still one: what is asked for is the state after the last.
#[derive(Default)]
pub struct Wish {
    said: Mutex<bool>,
    heard: Condvar,
}

impl Wish {
    fn say(&self) {
        *self.said.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_one();
    }

    /// Whether it was said within this time.
    fn wait(&self, time: Duration) -> bool {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let said = self.heard.wait_timeout_while(said, time, |said| !*said);
        let mut said = said.unwrap_or_else(PoisonError::into_inner).0;
        std::mem::take(&mut *said)
    }
}

/// A process of its own.
pub struct Child {
    process: process::Child,
    stream: UnixStream,
    receiver: Receiver,
    /// Of no use while it lives.
    wish: Arc<Wish>,
}

impl Child {
    fn start(dirs: &[PathBuf], user: &User) -> io::Result<Self> {
        // It works in another folder.
        let absolute = dirs.iter().map(std::path::absolute);
        let absolute: Vec<PathBuf> = absolute.collect::<io::Result<_>>()?;
        let (stream, theirs) = UnixStream::pair()?;
        let orders = Orders {
            uid: user.uid,
            gid: user.gid,
            log: log::max_level(),
            dirs: absolute,
        };
        // Not by a path, under which there may be another version by now.
        let mut command = Command::new("/proc/self/exe");
        command.arg0("facteur").arg(COMMAND).args(orders.words());
        command.env_clear().current_dir("/");
        command.stdin(OwnedFd::from(theirs)).stdout(Stdio::null());
        Ok(Self {
            process: command.spawn()?,
            stream,
            receiver: Receiver::new(&COMPILED, dirs),
            wish: Arc::default(),
        })
    }

    fn first(&mut self, found: &mut Found) -> io::Result<()> {
        self.stream
            .set_read_timeout(Some(limits::CERTIFICATE_HAND))?;
        loop {
            let length = Receiver::length(&mut self.stream)?;
            match self.receiver.frame(&mut self.stream, length)? {
                Handed::Change(change) => found.apply(change),
                Handed::Over | Handed::OverAsAsked | Handed::Same => return Ok(()),
            }
        }
    }

    fn next(&mut self, found: &mut Found) -> io::Result<News> {
        // Its end is seen at once, as is what it hands.
        self.stream
            .set_read_timeout(Some(limits::CERTIFICATE_LOOK))?;
        match rustix::net::recv(&self.stream, &mut [0_u8], RecvFlags::PEEK) {
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(News::Silence),
            Err(problem) => return Err(problem.into()),
            Ok((_, 0)) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {}
        }
        self.stream
            .set_read_timeout(Some(limits::CERTIFICATE_HAND))?;
        loop {
            let length = Receiver::length(&mut self.stream)?;
            match self.receiver.frame(&mut self.stream, length)? {
                Handed::Change(change) => found.apply(change),
                Handed::Over => return Ok(News::Changed),
                Handed::OverAsAsked => return Ok(News::Asked),
                Handed::Same => return Ok(News::Nothing),
            }
        }
    }

    /// Its end, in words; one that does not end is ended.
    fn ended(&mut self) -> String {
        let _ = self.process.kill();
        match self.process.wait() {
            Ok(status) => status.to_string(),
            Err(_) => String::new(),
        }
    }
}

/// Asks for a look at once.
pub enum Asker {
    Here(Arc<Wish>),
    /// Where it has ended, there is a wish all the same.
    Child(UnixStream, Arc<Wish>),
}

impl Asker {
    /// Does not wait for it.
    pub fn ask(&self) {
        match self {
            Self::Here(wish) => wish.say(),
            Self::Child(stream, wish) => {
                let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
                match rustix::net::send(stream, b"?", flags) {
                    Ok(_) | Err(rustix::io::Errno::AGAIN) => {}
                    Err(problem) => {
                        error!(
                            "certificates unchanged: the process that reads them is gone ({problem})"
                        );
                        wish.say();
                    }
                }
            }
        }
    }
}
