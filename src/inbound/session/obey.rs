//! What a session does about each step of its machine.

use super::{Hello, Outcome, Session};
use crate::inbound::pace::Pace;
use crate::inbound::received::Trace;
use crate::inbound::transaction::{self, Mail};
use crate::inbound::verify::Refusal;
use crate::inbound::{Inbound, count};
use crate::smtp::address::Path;
use crate::smtp::intake::Summary;
use crate::smtp::parameters::{MailParameters, RcptParameters};
use crate::smtp::reply::{self, Reply};
use crate::smtp::server::{Ended, Step, Verdict};
use log::{info, warn};
use std::sync::Arc;
use std::time::Instant;

impl Session {
    /// Does what a step asks; the session's end, if that is it.
    pub(super) async fn obey(&mut self, step: Step<'_>) -> Option<Outcome> {
        match step {
            Step::Mail { sender, parameters } => self.mail_from(sender, parameters).await,
            Step::Rcpt {
                recipient,
                parameters,
            } => self.rcpt_to(recipient, parameters).await,
            Step::Data => {
                self.pace = Pace::default();
                if let Some(mail) = &mut self.mail {
                    mail.data_begins();
                }
                self.verdict(Verdict::Accept)
            }
            Step::Body(text) => {
                self.body(text).await;
                None
            }
            Step::Doomed => {
                self.doomed();
                None
            }
            Step::Refused(why) => {
                self.refused(why);
                None
            }
            Step::EndOfData(summary) => self.end_of_data(summary).await,
            Step::Hello { word, extended } => {
                self.hello = Some(Hello {
                    word: word.into(),
                    extended,
                });
                self.mail = None;
                None
            }
            Step::Reset => {
                self.mail = None;
                None
            }
            Step::Close(why) => Some(Ok(self.ended(why))),
            Step::Vanish => Some(Ok("another protocol")),
            Step::Input | Step::Next | Step::Output | Step::StartTls => None,
        }
    }

    fn verdict(&mut self, verdict: Verdict) -> Option<Outcome> {
        let inbound = Arc::clone(&self.inbound);
        let step = self.say(|session, out| {
            let settings = session.settings(&inbound);
            session.server.verdict(&settings, verdict, out)
        });
        self.closed_by(step)
    }

    fn closed_by(&self, step: Step<'_>) -> Option<Outcome> {
        match step {
            Step::Close(why) => Some(Ok(self.ended(why))),
            _ => None,
        }
    }

    async fn mail_from(
        &mut self,
        sender: Path<'_>,
        parameters: MailParameters<'_>,
    ) -> Option<Outcome> {
        let inbound = Arc::clone(&self.inbound);
        let client = (self.peer.ip(), self.trust);
        match Mail::begin(&inbound, client, sender, parameters).await {
            Ok(mail) => {
                self.mail = Some(Box::new(mail));
                self.verdict(Verdict::Accept)
            }
            Err(refusal) => {
                info!(
                    "refused session=i{} from={:?} reply={:?}",
                    self.number,
                    sender.to_string(),
                    refusal.0
                );
                self.verdict(Verdict::Refuse(refusal))
            }
        }
    }

    async fn rcpt_to(
        &mut self,
        recipient: Path<'_>,
        parameters: RcptParameters<'_>,
    ) -> Option<Outcome> {
        let allowed = match transaction::recipient(&self.inbound, self.trust, recipient) {
            Ok(allowed) => {
                let asks = &mut self.asks;
                self.inbound.verified(self.trust, allowed, asks).await
            }
            Err(refusal) => Err(refusal.into()),
        };
        let answer = match (allowed, &mut self.mail) {
            (Ok(allowed), Some(mail)) => {
                let routes = &self.inbound.names.routes;
                let taken = mail.recipient(routes, allowed, parameters).await;
                taken.map_err(Refusal::Ours)
            }
            (Ok(_), None) => Err(reply::BAD_SEQUENCE.into()),
            (Err(refusal), _) => Err(refusal),
        };
        let Err(refusal) = answer else {
            return self.verdict(Verdict::Accept);
        };
        count(&self.inbound.counters.refused_recipients);
        let sender = self.mail.as_ref().map_or("", |mail| &mail.sender);
        let number = self.number;
        info!(
            "refused session=i{number} from={sender:?} to={:?} reply={:?}",
            recipient.to_string(),
            refusal.to_string().escape_default()
        );
        match refusal.words() {
            Ok(words) => {
                let step = self.say(|session, out| session.server.refuse_in_words(words, out));
                self.closed_by(step)
            }
            Err(reply) => self.verdict(Verdict::Refuse(reply)),
        }
    }

    async fn body(&mut self, text: &[u8]) {
        let Some(mail) = &mut self.mail else { return };
        if let Err(refusal) = mail.body(text).await {
            self.server.doom(refusal);
            self.doomed();
        }
    }

    /// The message will be refused at its end: its room is free at once.
    fn doomed(&mut self) {
        if let Some(mail) = &mut self.mail {
            mail.give_up();
        }
    }

    /// The message was refused at its end.
    fn refused(&mut self, why: Reply) {
        if let Some(mail) = self.mail.take() {
            self.log_refused(&mail.id(), &mail.sender, mail.recipients, why);
        }
    }

    fn log_refused(&self, id: &str, sender: &str, recipients: usize, why: Reply) {
        let number = self.number;
        info!(
            "refused session=i{number} id={id} from={sender:?} recipients={recipients} reply={:?}",
            why.0
        );
    }

    async fn end_of_data(&mut self, summary: Summary) -> Option<Outcome> {
        let Some(mail) = self.mail.take() else {
            return self.verdict(Verdict::Refuse(reply::DISK_ERROR));
        };
        if summary.mended && !self.mended {
            self.mended = true;
            warn!(
                "mended session=i{} client={}: a bare CR or LF was made CR LF",
                self.number, self.peer
            );
        }
        let (id, sender, recipients) = (mail.id(), mail.sender.clone(), mail.recipients);
        let inbound = Arc::clone(&self.inbound);
        let committed = mail
            .commit(self.trace(&inbound), self.trust, &summary)
            .await;
        let number = self.number;
        match committed {
            Ok(durable) => {
                let tls = self
                    .server
                    .tls()
                    .map_or_else(|| "none".into(), ToString::to_string);
                info!(
                    "accepted session=i{number} id={id} from={sender:?} recipients={recipients} size={} tls={tls:?}",
                    summary.size
                );
                count(&self.inbound.counters.messages);
                self.messages += 1;
                self.fruitless_since = Instant::now();
                self.say(|session, out| session.server.accepted(durable, out));
                None
            }
            Err(refusal) => {
                self.log_refused(&id, &sender, recipients, refusal);
                self.verdict(Verdict::Refuse(refusal))
            }
        }
    }

    fn trace<'a>(&'a self, inbound: &'a Inbound) -> Trace<'a> {
        Trace {
            hello: self.hello.as_ref().map_or("", |hello| &hello.word),
            extended: self.hello.as_ref().is_some_and(|hello| hello.extended),
            client: self.peer.ip(),
            hostname: &inbound.hostname,
            tls: self.server.tls(),
            utf8: false,
            id: String::new(),
            only_recipient: None,
            now: (inbound.clock)() / 1_000_000,
        }
    }

    fn ended(&self, why: Ended) -> &'static str {
        if why == Ended::Injection {
            warn!(
                "injection session=i{} client={}: commands behind STARTTLS in clear",
                self.number, self.peer
            );
        }
        match why {
            Ended::Quit => "quit",
            Ended::TooManyErrors => "too many errors",
            Ended::BareLineEnd => "bare CR or LF in a command",
            Ended::Injection => "commands behind STARTTLS",
            Ended::BadChunk => "a chunk without a size",
            Ended::FarTooBig => "message far too big",
            Ended::Shut => "shut",
        }
    }
}
