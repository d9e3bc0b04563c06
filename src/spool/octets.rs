//! A message's octets, as they are read from its parts.

use super::items::{Item, Items, Summary};
use super::message::{ReadError, read};
use super::record::{self, Place};
use super::shared::Shared;
use std::ops::Range;
use std::sync::Arc;

/// The head and the parts of a message, which of them is in memory, and what comes next.
pub struct Text {
    pub shared: Arc<Shared>,
    id: u64,
    head: Vec<u8>,
    head_given: bool,
    pub parts: Vec<Place>,
    pub payload: Vec<u8>,
    loaded: usize,
    /// The part and the place in it that come next.
    part: usize,
    at: usize,
}

/// Octets that are in memory.
pub enum Piece {
    Head,
    Body(Range<usize>),
}

/// What comes next.
pub enum Next {
    Piece(Piece),
    /// The octets of another message.
    Refers,
    End,
}

impl Text {
    /// Finds the parts of a message whose final one is at a place, and reads that.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn open(
        shared: Arc<Shared>,
        id: u64,
        place: Place,
    ) -> Result<(Self, Summary), ReadError> {
        let answer = read(&shared, id, place, Vec::new(), true).await?;
        let mut parts = answer.before;
        parts.push(place);
        let mut text = Self {
            shared,
            id,
            head: Vec::new(),
            head_given: false,
            loaded: parts.len() - 1,
            parts,
            payload: answer.payload,
            part: 0,
            at: record::PART_FIELDS,
        };
        let mut summary = Summary::default();
        for item in Items::of(&text.payload) {
            match item {
                Item::Head(head) => text.head = head.to_vec(),
                Item::Facts(facts) => summary = facts,
                _ => {}
            }
        }
        Ok((text, summary))
    }

    /// Brings a part into memory.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn load(&mut self, part: usize) -> Result<(), ReadError> {
        if self.loaded != part
            && let Some(&place) = self.parts.get(part)
        {
            let memory = std::mem::take(&mut self.payload);
            self.loaded = usize::MAX;
            self.payload = read(&self.shared, self.id, place, memory, false)
                .await?
                .payload;
            self.loaded = part;
        }
        Ok(())
    }

    /// What comes next: the head's lines, then the body.
    ///
    /// # Errors
    /// [`ReadError`].
    pub async fn next(&mut self) -> Result<Next, ReadError> {
        if !self.head_given {
            self.head_given = true;
            if !self.head.is_empty() {
                return Ok(Next::Piece(Piece::Head));
            }
        }
        while self.part < self.parts.len() {
            self.load(self.part).await?;
            let mut items = Items::from(&self.payload, self.at);
            while let Some(item) = items.next() {
                let next = match item {
                    Item::Body(body) if !body.is_empty() => {
                        Next::Piece(Piece::Body(items.at - body.len()..items.at))
                    }
                    Item::Refers => Next::Refers,
                    _ => continue,
                };
                self.at = items.at;
                return Ok(next);
            }
            self.part += 1;
            self.at = record::PART_FIELDS;
        }
        Ok(Next::End)
    }

    /// The octets of the last piece.
    #[must_use]
    pub fn get(&self, piece: Piece) -> &[u8] {
        match piece {
            Piece::Head => &self.head,
            Piece::Body(range) => self.payload.get(range).unwrap_or_default(),
        }
    }

    /// Starts over at the head.
    pub fn rewind(&mut self) {
        self.head_given = false;
        self.part = 0;
        self.at = record::PART_FIELDS;
    }
}
