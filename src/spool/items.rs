//! What a part's payload holds: its own fields, then tagged items. An item of an unknown tag is skipped.

use super::marks::Left;
use super::record::{self, Place};
use super::{Addressee, Facts, Reported, Role, Sender, Source};
use crate::smtp::parameters::{Notify, Ret};

const SENDER: u8 = 1;
const RECIPIENT: u8 = 2;
const BODY: u8 = 3;
const HEAD: u8 = 4;
const FACTS: u8 = 5;
const RETURN: u8 = 6;
const ENVID: u8 = 7;
const REPORTS: u8 = 8;
const LEFT: u8 = 11;
const SOURCE_TAG: u8 = 12;
const CHECK: u8 = 13;
const REFERS: u8 = 14;
const ASKS: u8 = 16;
/// Inside a Recipient.
const NOTIFY: u8 = 9;
const ORCPT: u8 = 10;
const EXPANDED: u8 = 15;

/// Octets of the item behind an envelope.
pub const ENVELOPE_CHECK: usize = ITEM + 4;

/// Ends the envelope of a message's first part by its own checksum: who was to get a message whose body is damaged later
/// is known for certain.
pub fn put_envelope_check(out: &mut Vec<u8>) {
    let crc = crc32fast::hash(out.get(record::PART_FIELDS..).unwrap_or_default());
    put(out, CHECK, &crc.to_le_bytes());
}

/// Whether the envelope at a payload's front is what was written.
#[must_use]
pub fn envelope_is_whole(payload: &[u8]) -> bool {
    let mut items = Items::of(payload);
    loop {
        let end = items.at;
        match items.next_raw() {
            Some((CHECK, crc)) => {
                let envelope = payload.get(record::PART_FIELDS..end).unwrap_or_default();
                return crc == crc32fast::hash(envelope).to_le_bytes();
            }
            Some((BODY, _)) | None => return false,
            Some(_) => {}
        }
    }
}

/// Octets of an item before its content: tag, and length in four octets.
pub const ITEM: usize = 5;

/// An item of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    Sender(&'a str),
    Recipient(Addressee<'a>),
    /// What is asked from now on for a recipient before it, by its number.
    Asks(u8, Notify),
    Body(&'a [u8]),
    Head(&'a [u8]),
    Facts(Summary),
    Return(Ret),
    Envid(&'a str),
    /// Of another message's recipients.
    Reports(u64, Reported),
    /// In the copy of a message: entries as a checkpoint has them, without offsets.
    Left(&'a [u8]),
    Source(Source),
    /// The message that this one reports on has its place here.
    Refers,
}

/// A message as a whole, in its final part.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub facts: Facts,
    /// Unix seconds.
    pub accepted: u64,
    /// Octets of head and body.
    pub size: u64,
    pub recipients: u8,
}

/// Appends an item.
fn put(out: &mut Vec<u8>, tag: u8, content: &[u8]) {
    out.push(tag);
    out.extend_from_slice(&(content.len() as u32).to_le_bytes());
    out.extend_from_slice(content);
}

/// Appends MAIL's items.
pub fn put_sender(out: &mut Vec<u8>, sender: &Sender<'_>) {
    put(out, SENDER, sender.address.as_bytes());
    if let Some(ret) = sender.ret {
        put(out, RETURN, &[u8::from(ret == Ret::Full)]);
    }
    if let Some(envid) = sender.envid {
        put(out, ENVID, envid.as_bytes());
    }
}

/// Octets that a recipient takes.
#[must_use]
pub fn recipient_length(recipient: &Addressee<'_>) -> usize {
    let notify = recipient.notify.map_or(0, |_| ITEM + 1);
    let orcpt = recipient.orcpt.map_or(0, |orcpt| ITEM + orcpt.len());
    let role = match recipient.role {
        Role::Mailbox => 0,
        Role::Expanded => ITEM,
    };
    2 * ITEM + recipient.address.len() + notify + orcpt + role
}

/// Appends a recipient: items within an item, the address first.
pub fn put_recipient(out: &mut Vec<u8>, recipient: &Addressee<'_>) {
    out.push(RECIPIENT);
    out.extend_from_slice(&((recipient_length(recipient) - ITEM) as u32).to_le_bytes());
    put(out, RECIPIENT, recipient.address.as_bytes());
    if let Some(notify) = recipient.notify {
        put(out, NOTIFY, &[bits(notify)]);
    }
    if let Some(orcpt) = recipient.orcpt {
        put(out, ORCPT, orcpt.as_bytes());
    }
    if recipient.role == Role::Expanded {
        put(out, EXPANDED, b"");
    }
}

fn bits(notify: Notify) -> u8 {
    u8::from(notify.success) | u8::from(notify.failure) << 1 | u8::from(notify.delay) << 2
}

fn notify(bits: u8) -> Notify {
    Notify {
        success: bits & 1 != 0,
        failure: bits & 2 != 0,
        delay: bits & 4 != 0,
    }
}

/// Octets of what [`put_wish`] appends.
pub const WISH: usize = ITEM + 2;

/// Appends what is asked for a recipient from now on.
pub fn put_wish(out: &mut Vec<u8>, ordinal: u8, notify: Notify) {
    put(out, ASKS, &[ordinal, bits(notify)]);
}

/// Opens a body item: its content is appended by the caller, its length set by [`close_body`].
pub fn open_body(out: &mut Vec<u8>) -> usize {
    put(out, BODY, b"");
    out.len()
}

/// Sets the length of the body item whose content began at `start`.
pub fn close_body(out: &mut [u8], start: usize) {
    let length = (out.len() - start) as u32;
    if let Some(field) = out.get_mut(start - 4..start) {
        field.copy_from_slice(&length.to_le_bytes());
    }
}

/// Appends the place of the message that a DSN reports on, among the octets of its body.
pub fn put_refers(out: &mut Vec<u8>) {
    put(out, REFERS, b"");
}

/// Octets of everything that [`put_last`] appends, beyond the head itself.
pub const LAST: usize = 3 * ITEM + 19 + 56;

/// Appends the final part's items.
pub fn put_last(
    out: &mut Vec<u8>,
    head: &[u8],
    summary: Summary,
    reports: Option<(u64, Reported)>,
) {
    put(out, HEAD, head);
    let mut content = [0; 18];
    content[..8].copy_from_slice(&summary.accepted.to_le_bytes());
    content[8..16].copy_from_slice(&summary.size.to_le_bytes());
    content[16] = u8::from(summary.facts.eight_bit_body)
        | u8::from(summary.facts.utf8_headers) << 1
        | u8::from(summary.facts.utf8_address) << 2
        | u8::from(summary.facts.require_tls) << 3
        | u8::from(summary.facts.note) << 4;
    content[17] = summary.recipients;
    put(out, FACTS, &content);
    if let Some((id, reported)) = reports {
        let mut content = [0; 56];
        content[..8].copy_from_slice(&id.to_le_bytes());
        let done = reported.done | reported.delivered;
        content[8..24].copy_from_slice(&done.to_le_bytes());
        content[24..40].copy_from_slice(&reported.delayed.to_le_bytes());
        content[40..].copy_from_slice(&reported.held.to_le_bytes());
        put(out, REPORTS, &content);
    }
}

/// Octets of what [`put_source`] appends.
pub const SOURCE: usize = ITEM + 8;

/// Appends where a stranger's message came from.
pub fn put_source(out: &mut Vec<u8>, source: Source) {
    put(out, SOURCE_TAG, &source.number().to_le_bytes());
}

/// The final part of a message's copy: the same items, and what is left to do.
#[must_use]
pub fn copy_of_final(payload: &[u8], left: &[Left]) -> Vec<u8> {
    let mut copy = payload.get(..record::PART_FIELDS).unwrap_or(&[]).to_vec();
    let mut items = Items::of(payload);
    while let Some((tag, content)) = items.next_raw() {
        if tag != LEFT {
            put(&mut copy, tag, content);
        }
    }
    let mut content = Vec::new();
    left.iter().for_each(|left| left.put(&mut content));
    put(&mut copy, LEFT, &content);
    copy
}

/// A part's own fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFields {
    /// From 0.
    pub number: u32,
    /// The part before it.
    pub previous: Option<Place>,
}

impl PartFields {
    /// The fields as bytes. Offset 0, which is a segment's header, stands for none.
    #[must_use]
    pub fn bytes(&self) -> [u8; record::PART_FIELDS] {
        let mut bytes = [0; record::PART_FIELDS];
        bytes[..4].copy_from_slice(&self.number.to_le_bytes());
        if let Some(place) = self.previous {
            bytes[4..8].copy_from_slice(&place.segment.to_le_bytes());
            bytes[8..16].copy_from_slice(&place.generation.to_le_bytes());
            bytes[16..].copy_from_slice(&place.offset.to_le_bytes());
        }
        bytes
    }

    /// The fields at the start of a part's payload.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Self> {
        let previous = Place {
            segment: record::u32_at(payload, 4)?,
            generation: record::u64_at(payload, 8)?,
            offset: record::u32_at(payload, 16)?,
        };
        Some(Self {
            number: record::u32_at(payload, 0)?,
            previous: (previous.offset != 0).then_some(previous),
        })
    }
}

/// Reads the items of a part's payload, from `at` on; the next one's place comes with each.
pub struct Items<'a> {
    payload: &'a [u8],
    pub at: usize,
}

impl<'a> Items<'a> {
    /// All items of a payload.
    #[must_use]
    pub fn of(payload: &'a [u8]) -> Self {
        Self::from(payload, record::PART_FIELDS)
    }

    /// The items from a place on.
    #[must_use]
    pub fn from(payload: &'a [u8], at: usize) -> Self {
        Self { payload, at }
    }

    /// The next item's tag and content, whatever it is.
    fn next_raw(&mut self) -> Option<(u8, &'a [u8])> {
        let tag = *self.payload.get(self.at)?;
        let length = record::u32_at(self.payload, self.at + 1)? as usize;
        let start = self.at + ITEM;
        let content = self.payload.get(start..start.checked_add(length)?)?;
        self.at = start + length;
        Some((tag, content))
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        loop {
            let (tag, content) = self.next_raw()?;
            if let Some(item) = item(tag, content) {
                return Some(item);
            }
        }
    }
}

/// A recipient's inner items; unknown ones are skipped here, too.
fn recipient(content: &[u8]) -> Option<Addressee<'_>> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    let mut inner = Items::from(content, 0);
    let (_, address) = inner.next_raw()?;
    let mut recipient = Addressee::from(text(address)?);
    while let Some((tag, content)) = inner.next_raw() {
        match tag {
            NOTIFY => {
                recipient.notify = content.first().map(|&bits| notify(bits));
            }
            ORCPT => recipient.orcpt = text(content),
            EXPANDED => recipient.role = Role::Expanded,
            _ => {}
        }
    }
    Some(recipient)
}

fn item(tag: u8, content: &[u8]) -> Option<Item<'_>> {
    let text = |bytes| std::str::from_utf8(bytes).ok();
    Some(match tag {
        SENDER => Item::Sender(text(content)?),
        RECIPIENT => Item::Recipient(recipient(content)?),
        BODY => Item::Body(content),
        HEAD => Item::Head(content),
        FACTS => Item::Facts(Summary {
            accepted: record::u64_at(content, 0)?,
            size: record::u64_at(content, 8)?,
            facts: {
                let bits = *content.get(16)?;
                Facts {
                    eight_bit_body: bits & 1 != 0,
                    utf8_headers: bits & 2 != 0,
                    utf8_address: bits & 4 != 0,
                    require_tls: bits & 8 != 0,
                    note: bits & 16 != 0,
                }
            },
            recipients: *content.get(17)?,
        }),
        RETURN => Item::Return(match content.first()? {
            0 => Ret::Headers,
            _ => Ret::Full,
        }),
        ENVID => Item::Envid(text(content)?),
        REPORTS => {
            let reported = Reported {
                done: record::u128_at(content, 8)?,
                delivered: 0,
                delayed: record::u128_at(content, 24).unwrap_or(0),
                held: record::u128_at(content, 40).unwrap_or(0),
            };
            Item::Reports(record::u64_at(content, 0)?, reported)
        }
        ASKS => Item::Asks(*content.first()?, notify(*content.get(1)?)),
        LEFT => Item::Left(content),
        REFERS => Item::Refers,
        SOURCE_TAG => Item::Source(Source::of_number(record::u64_at(content, 0)?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_are_read_as_written_and_unknown_ones_skipped() {
        let mut payload = PartFields {
            number: 0,
            previous: None,
        }
        .bytes()
        .to_vec();
        let sender = Sender {
            address: "a@b",
            ret: Some(Ret::Headers),
            envid: Some("x+2B"),
        };
        put_sender(&mut payload, &sender);
        put(&mut payload, 200, b"from the future");
        let plain = Addressee::from("c@d");
        let wishes = Addressee {
            notify: Some(Notify {
                success: true,
                failure: false,
                delay: true,
            }),
            orcpt: Some("rfc822;e+40f"),
            ..Addressee::from("e@f")
        };
        let never = Addressee {
            notify: Some(Notify::default()),
            role: Role::Expanded,
            ..plain
        };
        for recipient in [&plain, &wishes, &never] {
            let start = payload.len();
            put_recipient(&mut payload, recipient);
            assert_eq!(payload.len() - start, recipient_length(recipient));
        }
        let start = payload.len();
        put_wish(&mut payload, 2, wishes.notify.unwrap());
        assert_eq!(payload.len() - start, WISH);
        let start = open_body(&mut payload);
        payload.extend_from_slice(b"hello");
        close_body(&mut payload, start);
        let summary = Summary {
            facts: Facts {
                utf8_headers: true,
                require_tls: true,
                note: true,
                ..Facts::default()
            },
            accepted: 5,
            size: 6,
            recipients: 1,
        };
        let reported = Reported {
            done: 1 << 100,
            delivered: 0,
            delayed: 1 << 7,
            held: 1 << 9,
        };
        put_refers(&mut payload);
        put_last(&mut payload, b"H: 1", summary, Some((9, reported)));
        put_source(&mut payload, Source::of_number(7));
        let items: Vec<_> = Items::of(&payload).collect();
        let expected = [
            Item::Sender("a@b"),
            Item::Return(Ret::Headers),
            Item::Envid("x+2B"),
            Item::Recipient(plain),
            Item::Recipient(wishes),
            Item::Recipient(never),
            Item::Asks(2, wishes.notify.unwrap()),
            Item::Body(b"hello"),
            Item::Refers,
            Item::Head(b"H: 1"),
            Item::Facts(summary),
            Item::Reports(9, reported),
            Item::Source(Source::of_number(7)),
        ];
        assert_eq!(items, expected);
        for cut in 0..payload.len() {
            assert!(Items::of(&payload[..cut]).count() < expected.len());
        }
    }

    #[test]
    fn a_recipient_may_hold_items_from_the_future_and_need_hold_none() {
        let mut inner = Vec::new();
        put(&mut inner, RECIPIENT, b"c@d");
        let plain = Addressee::from("c@d");
        assert_eq!(recipient(&inner), Some(plain), "as before NOTIFY was kept");
        put(&mut inner, 200, b"from the future");
        put(&mut inner, ORCPT, b"rfc822;x");
        let with_orcpt = Addressee {
            orcpt: Some("rfc822;x"),
            ..plain
        };
        assert_eq!(recipient(&inner), Some(with_orcpt));
    }
}
