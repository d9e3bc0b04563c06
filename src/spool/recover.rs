//! From the files to a queue: what a start does.

use super::batch::Current;
use super::disk::{Disk, DiskFile};
use super::entry::Entry;
use super::folder::Folder;
use super::header::SegmentHeader;
use super::lost::{self, Lost};
use super::marks::{Gap, Range};
use super::queue::Queue;
use super::record::{self, BLOCK};
use super::replay::{Recovered, Replay};
use super::scan::{Found, Scanner, Tail};
use super::seal::{Life, Sealer};
use super::segments::Segments;
use super::shared::State;
use super::shares::Shares;
use super::{Finding, Id, LaneOf, OpenError};
use crate::limits;
use std::collections::HashMap;
use std::io;

/// What was found.
pub struct Recovery {
    pub state: State,
    pub current: Option<Current>,
    /// Torn ranges, to be noted in the log.
    pub holes: Vec<Range>,
    /// Those that the log knows already.
    pub noted: Vec<Range>,
    pub findings: Vec<Finding>,
    /// Damaged messages of which somebody can be told.
    pub lost: Vec<Lost>,
}

impl Recovery {
    /// Some segments are set aside. What generations they have is not known, and no other may have one of theirs, should
    /// they be readable again at a later start.
    pub fn set_aside(&mut self, aside: usize, segments: u32) {
        if aside > 0 {
            let most = 2 * u64::from(segments);
            self.state.segments.skip_generations(most);
        }
    }
}

/// Reads every segment of the log and makes the queue.
///
/// # Errors
/// [`OpenError`]; damage is logged and set aside instead.
pub fn recover(
    folder: &Folder,
    disk: &dyn Disk,
    (salt, sealer): (u64, Option<&Sealer>),
    headers: &[SegmentHeader],
    lane_of: &LaneOf,
) -> Result<Recovery, OpenError> {
    let Log {
        mut segments,
        mut replay,
        newest,
    } = read_log(folder, disk, (salt, sealer), headers, lane_of)?;
    let mut findings = Vec::new();
    let mut holes = judge_gaps(&mut replay, &mut segments, &mut findings);
    let current = newest.map(|newest| resume(newest, &mut segments, &mut holes));
    let mut noted = std::mem::take(&mut replay.resumed);
    noted.retain(|range| segments.number(range.generation).is_some());
    let mut damaged = replay.take_damaged();
    holes.iter().for_each(|hole| damaged.refuse(*hole));
    let mut wanted: HashMap<u64, u128> = damaged
        .left()
        .filter(|(id, _)| !replay.knows(*id))
        .collect();
    let (queue, shares) = fill_queue(
        replay,
        &mut segments,
        (&mut findings, &mut holes, &mut wanted),
    );
    let lost = match wanted.is_empty() {
        true => Vec::new(),
        false => lost::read(folder, disk, (salt, sealer), headers, &wanted),
    };
    segments.untold = lost.iter().map(|one| one.id.number()).collect();
    if lost.len() >= limits::SPOOL_LOST {
        // The next start tells of the rest: what has no id is told by none.
        segments.untold.insert(0);
    }
    Ok(Recovery {
        state: State {
            queue,
            segments,
            shares,
        },
        current,
        holes,
        noted,
        findings,
        lost,
    })
}

/// The log, read to its end.
struct Log {
    segments: Segments,
    replay: Replay,
    newest: Option<Newest>,
}

/// The segment that was written last, and where it ends.
struct Newest {
    file: Box<dyn DiskFile>,
    life: Option<Life>,
    header: SegmentHeader,
    tail: Tail,
}

/// Reads the segments in the order in which they were written.
fn read_log(
    folder: &Folder,
    disk: &dyn Disk,
    (salt, sealer): (u64, Option<&Sealer>),
    headers: &[SegmentHeader],
    lane_of: &LaneOf,
) -> Result<Log, OpenError> {
    let mut log = Log {
        segments: Segments::default(),
        replay: Replay::default(),
        newest: None,
    };
    let mut used: Vec<&SegmentHeader> = Vec::new();
    for header in headers {
        match header.generation {
            0 => log.segments.add_unused(header.segment),
            _ => used.push(header),
        }
    }
    used.sort_by_key(|header| header.generation);
    let mut window = Vec::new();
    for (number, &header) in used.iter().enumerate() {
        log.segments
            .add_recovered(header.generation, header.segment);
        let path = folder.segment(header.segment);
        let io = |problem| OpenError::io(&path, &problem);
        let file = disk.open(&path).map_err(io)?;
        let is_newest = number + 1 == used.len();
        if is_newest {
            // What the system still holds from before a kill must be on the disk before anything is built on it.
            file.sync_data().map_err(io)?;
        }
        let what = (salt, sealer, header);
        let tail = scan(&*file, what, &mut window, &mut log.replay, lane_of).map_err(io)?;
        match is_newest {
            true => {
                let life = life(sealer, header).map_err(io)?;
                let header = *header;
                log.newest = Some(Newest {
                    file,
                    life,
                    header,
                    tail,
                });
            }
            false if !tail.sealed => log.replay.gap(unsealed(header, tail)),
            false => {}
        }
    }
    Ok(log)
}

/// Reads a segment into the replay; `window` is memory that is used again.
fn scan(
    file: &dyn DiskFile,
    (salt, sealer, header): (u64, Option<&Sealer>, &SegmentHeader),
    window: &mut Vec<u8>,
    replay: &mut Replay,
    lane_of: &LaneOf,
) -> io::Result<Tail> {
    let numbers = (header.generation, header.segment);
    let life = life(sealer, header)?;
    let mut scanner = Scanner::new(file, salt, numbers, life, std::mem::take(window));
    let tail = scanner.run(|found| match found {
        Found::Record {
            place,
            header,
            payload,
        } => replay.record(place, &header, payload, lane_of),
        Found::Gap(gap) => replay.gap(gap),
        Found::Unreadable(range) => log::error!("spool {range}"),
    })?;
    *window = scanner.into_window();
    if file.length()? < limits::SPOOL_SEGMENT as u64 {
        replay.cut_off.push(header.generation);
    }
    Ok(tail)
}

/// What opens a life's records, and seals what is added to it.
pub fn life(sealer: Option<&Sealer>, header: &SegmentHeader) -> io::Result<Option<Life>> {
    let sealer = sealer.filter(|_| header.is_sealed());
    let life = sealer.map(|sealer| sealer.life(header.generation, header.segment));
    life.transpose()
}

/// A segment that is not the newest ends where nothing says that it does.
fn unsealed(header: &SegmentHeader, tail: Tail) -> Gap {
    Gap {
        place: record::Place {
            generation: header.generation,
            segment: header.segment,
            offset: tail.offset,
        },
        to: record::END,
        id: None,
        kind: None,
    }
}

/// Tells damage from what a power cut tore; returns the torn ranges.
///
/// A gap is damage of what was synced if anything was written after its batch: a later batch, a newer segment or a clean
/// stop. Only the log's last batch can be torn. Nor can a crash shorten a file, which has its length before its first use:
/// of one that is cut off, the octets that would prove the gap are those that are gone.
fn judge_gaps(
    replay: &mut Replay,
    segments: &mut Segments,
    findings: &mut Vec<Finding>,
) -> Vec<Range> {
    let mut holes = Vec::new();
    for gap in std::mem::take(&mut replay.gaps) {
        let at = (gap.place.generation, gap.place.offset);
        let known = replay
            .resumed
            .iter()
            .any(|range| range.generation == at.0 && range.from <= at.1 && gap.to <= range.to);
        if known {
            continue;
        }
        let (segment, offset, to) = (gap.place.segment, gap.place.offset, gap.to);
        let proven = replay.last_batch > at || replay.closed.is_some_and(|closed| closed > at);
        if proven || replay.cut_off.contains(&at.0) {
            let id = gap.id.map(Id);
            findings.push(Finding::Damage {
                segment,
                offset,
                to,
                id,
            });
            segments.set_damaged(gap.place.generation);
        } else {
            findings.push(Finding::Torn {
                segment,
                offset,
                to,
            });
            holes.push(Range {
                generation: at.0,
                from: offset,
                to,
            });
        }
    }
    holes
}

/// Goes on in the newest segment, behind every trace.
fn resume(newest: Newest, segments: &mut Segments, holes: &mut Vec<Range>) -> Current {
    let Newest {
        file,
        life,
        header,
        tail,
    } = newest;
    let generation = header.generation;
    let at = tail.offset.next_multiple_of(BLOCK as u32);
    if tail.offset != at {
        // A batch without its padding: nothing is amiss, as long as the next start knows.
        holes.push(Range {
            generation,
            from: tail.offset,
            to: at,
        });
    }
    segments.room = record::END.saturating_sub(at);
    segments.set_current(Some(generation));
    Current {
        file,
        generation,
        number: header.segment,
        batch: at,
        written: at,
        life,
    }
}

/// Messages that are held, and the DSNs that hold them.
#[derive(Default)]
struct Held {
    /// By the message's id: slots, and their recipients.
    slots: HashMap<u64, Vec<(u32, u128)>>,
    /// DSNs and their slots; what they refer to.
    dsns: Vec<((u64, u32), (u64, u128))>,
}

impl Held {
    fn see(&mut self, entry: &Entry, slot: u32, refers: Option<(u64, u128)>) {
        if entry.is_held() {
            let slots = self.slots.entry(entry.id).or_default();
            slots.push((slot, entry.remaining()));
        } else if let Some(refers) = refers {
            self.dsns.push(((entry.id, slot), refers));
        }
    }

    /// What is held stands apart for each DSN.
    fn join(self, queue: &mut Queue) {
        for (dsn, (id, mask)) in self.dsns {
            let slots = self.slots.get(&id);
            let its = |(_, held): &&(u32, u128)| held & mask != 0;
            if let Some((slot, _)) = slots.and_then(|slots| slots.iter().find(its)) {
                queue.hold_again(*slot, dsn);
            }
        }
    }
}

/// The queue. Of a message in the log's last batch nobody was told: that a part of it is missing is no loss, and noted as
/// the other torn places are, so that the next start does not take it for one.
fn fill_queue(
    mut replay: Replay,
    segments: &mut Segments,
    (findings, holes, lost): (&mut Vec<Finding>, &mut Vec<Range>, &mut HashMap<u64, u128>),
) -> (Queue, Shares) {
    let mut queue = Queue::new(replay.last_id);
    let (last_batch, closed) = (replay.last_batch, replay.closed);
    let mut shares = std::mem::take(&mut replay.shares);
    let mut held = Held::default();
    for message in replay.into_messages() {
        let at = (message.place.generation, message.place.offset);
        if message.broken && at >= last_batch && closed.is_none_or(|closed| closed < at) {
            holes.push(Range {
                generation: at.0,
                from: at.1,
                to: at.1 + record::ALIGN as u32,
            });
            continue;
        }
        if message.broken {
            findings.push(set_lost(&message, segments, lost));
            continue;
        }
        let mut first = None;
        for entry in message.entries {
            queue.reserve_recovered(entry.remaining().count_ones());
            let slot = match first {
                Some(slot) => queue.insert_beside(slot, entry),
                None => {
                    segments.hold(message.generations.iter());
                    shares.add(entry.weight);
                    queue.insert(entry, &message.generations).0
                }
            };
            first = first.or(Some(slot));
            held.see(&entry, slot, message.refers);
        }
    }
    held.join(&mut queue);
    segments.refresh();
    (queue, shares)
}

/// A part of the message is missing: somebody is to be told of what was left to do. Of what is held, a DSN tells already.
fn set_lost(
    message: &Recovered,
    segments: &mut Segments,
    lost: &mut HashMap<u64, u128>,
) -> Finding {
    let left = message.entries.iter().filter(|entry| !entry.is_held());
    let left = left.map(Entry::remaining);
    lost.insert(message.id, !left.fold(0, |all, mask| all | mask));
    for generation in message.generations.iter() {
        segments.set_damaged(generation);
    }
    Finding::Lost {
        id: Id(message.id),
        segment: message.place.segment,
        offset: message.place.offset,
    }
}
