//! What the log says, read from its oldest record to its newest.

use super::LaneOf;
use super::damaged::Damaged;
use super::entry::Weight;
use super::generations::Generations;
use super::items::{Item, Items, PartFields};
use super::known::{Group, Known};
use super::marks::{Gap, Left, Mark, Range};
use super::queue::{self, Entry};
use super::record::{Header, Kind, Place};
use super::shares::{Shares, Source};
use super::tries::Tries;
use super::{Reported, Role};
use crate::limits;
use std::collections::HashMap;

/// A message of which parts were seen, but not the final one.
struct Open {
    last: Place,
    number: u32,
    generations: Generations,
    recipients: u8,
    lane: Option<u32>,
    octets: u64,
}

/// What only a final part has.
#[derive(Default)]
struct End {
    /// How many the message has.
    recipients: Option<u8>,
    /// Another message's recipients, of which it tells.
    reported: Option<(u64, Reported)>,
    source: Option<Source>,
    /// It is a copy: what was to be done then.
    left: Option<Vec<Left>>,
}

impl Open {
    /// Adds a part's items.
    fn add(&mut self, payload: &[u8], lane_of: &LaneOf) -> End {
        self.octets += payload.len() as u64;
        let mut end = End::default();
        for item in Items::of(payload) {
            match item {
                Item::Recipient(recipient) => {
                    self.recipients = self.recipients.saturating_add(1);
                    self.lane = Some(match recipient.role {
                        Role::Mailbox => queue::joined(self.lane, lane_of(recipient.address)),
                        // Its report waits for no next hop.
                        Role::Expanded => queue::MIXED,
                    });
                }
                Item::Facts(summary) => end.recipients = Some(summary.recipients),
                Item::Reports(id, reported) => end.reported = Some((id, reported)),
                Item::Source(source) => end.source = Some(source),
                Item::Left(entries) => end.left = Some(Left::read_all(entries)),
                _ => {}
            }
        }
        end
    }
}

/// What a message says about another one. It counts only with the message: were it applied at once, a DSN whose commit
/// failed would end its original in silence.
struct Finish {
    /// The message's final part.
    generation: u64,
    offset: u32,
    what: Finished,
}

/// What needs nothing more.
enum Finished {
    /// Recipients that a DSN tells of.
    Recipients(u64, Reported),
    /// Where a message was before it was moved.
    Original(Place),
}

/// The queue as the log tells it.
#[derive(Default)]
pub struct Replay {
    /// In the log's order; one large piece of memory, so that all of it goes back to the system.
    known: Vec<Known>,
    /// Those of which something is left.
    by_id: HashMap<u64, usize>,
    open: HashMap<u64, Open>,
    /// Not yet applied. To finish is to take recipients away, which nothing later brings back: it may be done late.
    finishes: Vec<Finish>,
    /// By the DSN's id: the message that it refers to, and the recipients that are held for it.
    holds: HashMap<u64, (u64, u128)>,
    pub shares: Shares,
    pub gaps: Vec<Gap>,
    /// Generations of segments whose files are shorter than they were made.
    pub cut_off: Vec<u64>,
    damaged: Damaged,
    pub resumed: Vec<Range>,
    /// The log was closed cleanly: the batch that says so, which is behind all others.
    pub closed: Option<(u64, u32)>,
    /// The last batch with a valid record, but for those of notes: its generation and first octet.
    pub last_batch: (u64, u32),
    pub last_id: u64,
}

/// A message that recovery queues, or cannot.
pub struct Recovered {
    pub entries: Vec<Entry>,
    pub generations: Generations,
    pub id: u64,
    pub place: Place,
    pub broken: bool,
    /// A DSN's: the message that it refers to, and the recipients that are held for it.
    pub refers: Option<(u64, u128)>,
}

impl Replay {
    /// A gap where a record should be.
    pub fn gap(&mut self, gap: Gap) {
        self.last_id = self.last_id.max(gap.id.unwrap_or(0));
        self.damaged.gap(&gap);
        self.gaps.push(gap);
    }

    /// The next record.
    pub fn record(&mut self, place: Place, header: &Header, payload: &[u8], lane_of: &LaneOf) {
        // Notes of what is torn are written behind it, and prove nothing.
        if header.batch != 0 {
            let block = super::record::BLOCK as u32;
            self.last_batch = (place.generation, u32::from(header.batch) * block);
        }
        self.last_id = self.last_id.max(header.id);
        let understood = match header.kind {
            Kind::Part | Kind::Final => self.part(place, header, payload, lane_of),
            Kind::Done | Kind::Defer => {
                Mark::read(header.kind, header.id, payload).map(|mark| self.mark(mark))
            }
            Kind::Checkpoint => self.checkpoint(payload),
            Kind::Resume => self.resume(payload),
            Kind::Closed => {
                self.closed = Some(self.last_batch);
                Some(())
            }
            Kind::Padding | Kind::End => Some(()),
        };
        if understood.is_none() {
            self.gap(Gap {
                place,
                to: place.offset + header.span(),
                id: Some(header.id),
                kind: Some(header.kind),
            });
        }
    }

    fn part(
        &mut self,
        place: Place,
        header: &Header,
        payload: &[u8],
        lane_of: &LaneOf,
    ) -> Option<()> {
        let fields = PartFields::read(payload)?;
        let (mut message, follows) = self.continued(place, header.id, fields);
        (message.last, message.number) = (place, fields.number);
        message.generations.add(place.generation);
        let end = message.add(payload, lane_of);
        if header.kind == Kind::Part {
            if follows {
                self.open.insert(header.id, message);
            }
            return Some(());
        }
        let recipients = end.recipients?;
        let broken = !follows || message.recipients != recipients;
        // Of a DSN that nobody will get, nothing follows: its original is tried again.
        if let Some((id, reported)) = end.reported.filter(|_| !broken) {
            self.finish_later(place, Finished::Recipients(id, reported));
        }
        let known = Known {
            id: header.id,
            place,
            weight: Weight::new(self.shares.of(end.source), message.octets),
            generations: message.generations,
            lane: message.lane.unwrap_or(0),
            first: Group {
                mask: queue::all(recipients),
                next: 0,
                tries: Tries::default(),
            },
            more: Vec::new(),
            broken,
        };
        match end.left {
            Some(left) => self.copied(known, &left),
            None => self.add(known),
        }
        // Behind what forgets those of messages that are gone.
        let refers = end
            .reported
            .filter(|(_, reported)| !broken && reported.held != 0);
        if let Some((id, reported)) = refers {
            self.holds.insert(header.id, (id, reported.held));
        }
        Some(())
    }

    /// The message that a part goes on with, and whether it does: all before it was there.
    fn continued(&mut self, place: Place, id: u64, fields: PartFields) -> (Open, bool) {
        // Before a first part, others are of a copy that was given up, or of an original that is damaged.
        let before = self.open.remove(&id);
        let before = before.filter(|_| fields.previous.is_some());
        let follows = match (&before, fields.previous) {
            (None, None) => fields.number == 0,
            (Some(open), Some(previous)) => {
                open.last == previous && open.number.checked_add(1) == Some(fields.number)
            }
            _ => false,
        };
        let message = before.filter(|_| follows).unwrap_or(Open {
            last: place,
            number: 0,
            generations: Generations::of(place.generation),
            recipients: 0,
            lane: None,
            octets: 0,
        });
        (message, follows)
    }

    fn add(&mut self, known: Known) {
        self.drop_finished();
        self.damaged.forget(known.id);
        self.by_id.insert(known.id, self.known.len());
        self.known.push(known);
    }

    /// A message that was moved. Until the copy is proved its original stays; of a copy that is not whole nothing follows,
    /// as long as the original is there.
    fn copied(&mut self, mut copy: Known, left: &[Left]) {
        copy.take(u128::MAX);
        left.iter().for_each(|left| copy.add(Group::of(left)));
        let original = self.by_id.get(&copy.id).and_then(|&at| self.known.get(at));
        if let Some(place) = original.map(|original| original.place) {
            if copy.broken {
                return;
            }
            self.finish_later(copy.place, Finished::Original(place));
        }
        self.add(copy);
    }

    fn mark(&mut self, mark: Mark) {
        if let Mark::Done { id, mask } = mark {
            self.damaged.done(id, mask);
        }
        // Or else its message is gone, and its segment used again.
        let at = self.by_id.get(&mark.id());
        let Some(known) = at.and_then(|&at| self.known.get_mut(at)) else {
            return;
        };
        match mark {
            Mark::Done { mask, .. } => {
                known.take(mask);
            }
            Mark::Defer {
                mask, next, tries, ..
            } => {
                let mask = known.take(mask);
                known.add(Group { mask, next, tries });
            }
        }
        if !known.is_live() {
            self.by_id.remove(&mark.id());
        }
    }

    /// That is never taken back, so that it may be noted late, too.
    fn delay_told(&mut self, id: u64, mask: u128) {
        let at = self.by_id.get(&id);
        if let Some(known) = at.and_then(|&at| self.known.get_mut(at)) {
            known.tell(mask);
        }
    }

    /// Until its DSN is gone; from this, too, only Done leads away.
    fn hold(&mut self, id: u64, mask: u128) {
        self.damaged.done(id, mask);
        let at = self.by_id.get(&id);
        if let Some(known) = at.and_then(|&at| self.known.get_mut(at)) {
            known.hold(mask);
        }
    }

    /// What is held for a DSN that is gone is finished.
    fn let_go(&mut self) {
        let mut held: HashMap<u64, u128> = HashMap::new();
        let there = |known: &&Known| known.is_live() && !known.broken;
        for known in self.known.iter().filter(there) {
            if let Some((id, mask)) = self.holds.get(&known.id) {
                *held.entry(*id).or_default() |= mask;
            }
        }
        for known in &mut self.known {
            let wanted = held.get(&known.id).copied().unwrap_or(0);
            let gone = known.held() & !wanted;
            known.take(gone);
        }
    }

    fn finish_later(&mut self, at: Place, what: Finished) {
        if self.finishes.len() >= limits::SPOOL_FORGET {
            // The note of a failed commit is the first record behind it.
            self.finish(at.generation.saturating_sub(1));
        }
        self.finishes.push(Finish {
            generation: at.generation,
            offset: at.offset,
            what,
        });
    }

    /// Applies what the DSNs and copies of all generations before this one say.
    fn finish(&mut self, before: u64) {
        let all = std::mem::take(&mut self.finishes);
        let (proved, rest) = all
            .into_iter()
            .partition(|finish| finish.generation < before);
        self.finishes = rest;
        let proved: Vec<Finish> = proved;
        for finish in proved {
            match finish.what {
                Finished::Recipients(id, reported) => {
                    let mask = reported.done;
                    self.mark(Mark::Done { id, mask });
                    self.delay_told(id, reported.delayed);
                    self.hold(id, reported.held);
                }
                Finished::Original(place) => {
                    for original in self.within(Range::at(place)) {
                        original.take(u128::MAX);
                    }
                }
            }
        }
    }

    /// Of the messages in the range, only those listed are live.
    fn checkpoint(&mut self, payload: &[u8]) -> Option<()> {
        let range = Range::read(payload)?;
        let left = Left::read_all(payload.get(16..)?);
        self.damaged.checkpoint(range, &left);
        for known in self.within(range) {
            known.take(u128::MAX);
            let offset = known.place.offset;
            let start = left.partition_point(|left| left.offset < offset);
            for left in left[start..].iter().take_while(|l| l.offset == offset) {
                known.add(Group::of(left));
            }
        }
        self.forget_finished(range);
        Some(())
    }

    /// What stands in the range was refused.
    fn resume(&mut self, payload: &[u8]) -> Option<()> {
        let range = Range::read(payload)?;
        if !self.resumed.contains(&range) {
            self.resumed.push(range);
        }
        for known in self.within(range) {
            known.take(u128::MAX);
        }
        self.damaged.refuse(range);
        self.forget_finished(range);
        let refused = |finish: &Finish| range.holds(finish.generation, finish.offset);
        let all = std::mem::take(&mut self.finishes);
        let (refused, rest) = all.into_iter().partition(refused);
        self.finishes = rest;
        let refused: Vec<Finish> = refused;
        for finish in refused {
            if let Finished::Original(place) = finish.what {
                self.is_known_again(place);
            }
        }
        Some(())
    }

    /// The copy of a message was refused: marks concern its original again.
    fn is_known_again(&mut self, place: Place) {
        let (at, _) = self.bounds(Range::at(place));
        if let Some(original) = self.known.get(at).filter(|known| known.place == place) {
            self.by_id.insert(original.id, at);
        }
    }

    /// Where the messages are whose final part is in a range.
    fn bounds(&self, range: Range) -> (usize, usize) {
        let before = |offset: u32| {
            self.known.partition_point(|known| {
                (known.place.generation, known.place.offset) < (range.generation, offset)
            })
        };
        (before(range.from), before(range.to))
    }

    /// The messages whose final part is in a range.
    fn within(&mut self, range: Range) -> &mut [Known] {
        let (start, end) = self.bounds(range);
        self.known.get_mut(start..end).unwrap_or_default()
    }

    /// Those of them that are finished are looked up no more; a copy elsewhere may be.
    fn forget_finished(&mut self, range: Range) {
        let (start, end) = self.bounds(range);
        for at in start..end {
            let finished = self.known.get(at).filter(|known| !known.is_live());
            if let Some(id) = finished.map(|known| known.id)
                && self.by_id.get(&id) == Some(&at)
            {
                self.by_id.remove(&id);
            }
        }
    }

    /// Keeps the memory to twice what is live.
    fn drop_finished(&mut self) {
        if self.known.len() < limits::SPOOL_FORGET || self.known.len() < 2 * self.by_id.len() {
            return;
        }
        self.known.retain(Known::is_live);
        let places = self.known.iter().enumerate();
        self.by_id = places.map(|(at, known)| (known.id, at)).collect();
        let by_id = &self.by_id;
        self.holds.retain(|id, _| by_id.contains_key(id));
    }

    /// The damaged messages that are left at the log's end.
    pub fn take_damaged(&mut self) -> Damaged {
        self.finish(u64::MAX);
        std::mem::take(&mut self.damaged)
    }

    /// Whether something is left of a message, as far as the log was read.
    #[must_use]
    pub fn knows(&self, id: u64) -> bool {
        self.by_id.contains_key(&id)
    }

    /// The messages that are left at the log's end, which proves what no note of a failure took back.
    pub fn into_messages(mut self) -> impl Iterator<Item = Recovered> {
        self.finish(u64::MAX);
        self.let_go();
        let holds = self.holds;
        self.known
            .into_iter()
            .filter(Known::is_live)
            .map(move |known| {
                let entry = |group: &Group| {
                    let mut entry = Entry::new(known.id, known.place, 0);
                    entry.set_remaining(group.mask);
                    entry.set_next(group.next);
                    entry.tries = group.tries;
                    (entry.lane, entry.weight) = (known.lane, known.weight);
                    entry
                };
                Recovered {
                    entries: known
                        .groups()
                        .filter(|group| group.mask != 0)
                        .map(entry)
                        .collect(),
                    generations: known.generations,
                    id: known.id,
                    place: known.place,
                    broken: known.broken,
                    refers: holds.get(&known.id).copied(),
                }
            })
    }
}
