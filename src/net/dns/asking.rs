//! Questions under way: who asks the same one meanwhile waits for its answer instead of asking again.
//!
//! A thousand messages for one smarthost cost one question, not a thousand, also before there is an answer to keep.

use super::DnsError;
use super::answer::Heard;
use super::question::Question;
use smol::channel::{self, Receiver, Sender};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

type Outcome = Result<Heard, DnsError>;

/// As many as there are look-ups at work, at most.
#[derive(Debug, Default)]
pub(super) struct Asking(Mutex<HashMap<Question, Arc<Asked>>>);

#[derive(Debug)]
pub(super) struct Asked {
    outcome: OnceLock<Outcome>,
    /// Closes when the question has come to its end.
    ended: Receiver<()>,
}

/// What to do about a question.
pub(super) enum Turn<'a> {
    Ask(Asker<'a>),
    Wait(Arc<Asked>),
}

/// Who asks. Dropped before there is an outcome, it lets one of those who wait ask.
pub(super) struct Asker<'a> {
    asking: &'a Asking,
    question: &'a Question,
    asked: Arc<Asked>,
    _ends: Sender<()>,
}

impl Asking {
    pub(super) fn turn<'a>(&'a self, question: &'a Question) -> Turn<'a> {
        let mut table = self.table();
        if let Some(asked) = table.get(question) {
            return Turn::Wait(Arc::clone(asked));
        }
        let (ends, ended) = channel::bounded(1);
        let asked = Arc::new(Asked {
            outcome: OnceLock::new(),
            ended,
        });
        table.insert(question.clone(), Arc::clone(&asked));
        Turn::Ask(Asker {
            asking: self,
            question,
            asked,
            _ends: ends,
        })
    }

    /// From now on nobody waits for a question asked before.
    pub(super) fn forget(&self) {
        self.table().clear();
    }

    fn table(&self) -> MutexGuard<'_, HashMap<Question, Arc<Asked>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// None where the asker has gone without one.
    pub(super) async fn outcome(&self) -> Option<Outcome> {
        let _ = self.ended.recv().await;
        self.outcome.get().cloned()
    }
}

impl Asker<'_> {
    pub(super) fn tell(self, outcome: Outcome) -> Outcome {
        let _ = self.asked.outcome.set(outcome.clone());
        outcome
    }
}

impl Drop for Asker<'_> {
    fn drop(&mut self) {
        let mut table = self.asking.table();
        // After `forget` it may be another's.
        if table
            .get(self.question)
            .is_some_and(|asked| Arc::ptr_eq(asked, &self.asked))
        {
            table.remove(self.question);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::base::Rtype;

    fn asker<'a>(asking: &'a Asking, question: &'a Question) -> Asker<'a> {
        match asking.turn(question) {
            Turn::Ask(asker) => asker,
            Turn::Wait(_) => panic!("nobody asks it"),
        }
    }

    fn waiting<'a>(asking: &'a Asking, question: &'a Question) -> Arc<Asked> {
        match asking.turn(question) {
            Turn::Wait(asked) => asked,
            Turn::Ask(_) => panic!("somebody asks it"),
        }
    }

    #[test]
    fn who_waits_gets_the_outcome_or_the_turn() {
        let asking = Asking::default();
        let question = Question::new("a.test", Rtype::A).unwrap();
        let first = asker(&asking, &question);
        let (one, two) = (waiting(&asking, &question), waiting(&asking, &question));
        let _ = first.tell(Err(DnsError::NoData));
        for asked in [one, two] {
            let outcome = smol::block_on(asked.outcome());
            assert_eq!(outcome, Some(Err(DnsError::NoData)));
        }
        let cut_off = asker(&asking, &question);
        let waits = waiting(&asking, &question);
        drop(cut_off);
        assert_eq!(smol::block_on(waits.outcome()), None);
        drop(asker(&asking, &question));
    }

    #[test]
    fn after_forgetting_the_question_is_asked_anew() {
        let asking = Asking::default();
        let question = Question::new("a.test", Rtype::A).unwrap();
        let old = asker(&asking, &question);
        asking.forget();
        let new = asker(&asking, &question);
        drop(old);
        let waits = waiting(&asking, &question);
        let _ = new.tell(Err(DnsError::NoSuchName));
        assert_eq!(
            smol::block_on(waits.outcome()),
            Some(Err(DnsError::NoSuchName))
        );
        assert!(asking.table().is_empty());
    }
}
