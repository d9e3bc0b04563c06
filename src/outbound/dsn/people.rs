//! The part for people: what happened to whom, why, and what they can do, in the order of how much it matters.

use super::text::{clean, wrap};
use super::words::{self, advice, introduction, opening};
use super::{Action, Cause, Dsn, Form, Reader, Report};
use crate::limits;
use crate::smtp::date::Date;
use std::fmt::Write as _;

impl Dsn<'_> {
    pub(super) fn for_people(&self) -> String {
        let mut text = format!("This is the mail relay at {}.\r\n", self.hostname);
        if let Reader::Postmaster { sender, untold } = self.reader {
            text += "\r\n";
            let sender = clean(sender, Form::Global);
            wrap(&mut text, "", &words::for_postmaster(&sender, untold));
        }
        let mut explained = 0;
        for action in [
            Action::Failed,
            Action::Delayed,
            Action::Delivered,
            Action::Relayed,
            Action::Expanded,
        ] {
            let its = |report: &&Report| report.cause.action() == action;
            let its: Vec<&Report> = self.reports.iter().filter(its).collect();
            if !its.is_empty() {
                self.section(&mut text, action, &its, &mut explained);
            }
        }
        text += "\r\n";
        let end = words::end(self.reports, self.reader);
        let number = format!("{end} message here was {}.", self.original_id);
        wrap(&mut text, "", &number);
        text
    }

    /// The recipients of one fate. `explained` counts those of all sections.
    fn section(&self, text: &mut String, action: Action, its: &[&Report], explained: &mut usize) {
        *text += "\r\n";
        wrap(text, "", opening(action, its, self.reader));
        let room = limits::DSN_EXPLAINED
            .saturating_sub(*explained)
            .min(its.len());
        let (at_length, rest) = its.split_at(room);
        *explained += room;
        if !matches!(action, Action::Failed | Action::Delayed) {
            *text += "\r\n";
        }
        for report in at_length {
            match action {
                Action::Failed | Action::Delayed => explain(text, report),
                Action::Delivered | Action::Relayed | Action::Expanded => list(text, report),
            }
        }
        if !rest.is_empty() {
            *text += "\r\nThe same goes for these, of which the report below tells more:\r\n\r\n";
            rest.iter().for_each(|report| list(text, report));
        }
        if let Some(Cause::Delayed { until }) = its.first().map(|report| report.cause) {
            *text += "\r\n";
            wrap(text, "", &words::patience(Date(until)));
        } else if let Some(words) = words::closing(action) {
            *text += "\r\n";
            wrap(text, "", words);
        }
    }
}

fn list(text: &mut String, report: &Report) {
    let _ = write!(text, "    {}\r\n", clean(&report.address, Form::Global));
}

fn explain(text: &mut String, report: &Report) {
    *text += "\r\n";
    list(text, report);
    *text += "\r\n";
    let words = clean(&introduction(report), Form::Global);
    wrap(text, "  ", &words);
    wrap(text, "    ", &clean(&report.diagnostic, Form::Global));
    if report.cause.is_failure() {
        *text += "\r\n";
        wrap(text, "  ", advice(&report.status, report.cause));
    }
}
