//! Messages that are taken out of their lanes before a worker has them.

use super::{Lanes, NONE};

impl<T, W, F> Lanes<T, W, F> {
    /// Takes out the waiting messages that are wanted. Linear in what waits.
    pub fn pull(&mut self, wanted: impl Fn(&T) -> bool) -> Vec<T> {
        let mut pulled = Vec::new();
        for state in self.lanes.values_mut() {
            let (mut before, mut place) = (NONE, state.head);
            while let Some(node) = self.nodes.get_mut(place as usize) {
                let next = node.next;
                if !node.ticket.as_ref().is_some_and(&wanted) {
                    (before, place) = (place, next);
                    continue;
                }
                pulled.extend(node.ticket.take());
                node.next = self.free;
                self.free = place;
                match self.nodes.get_mut(before as usize) {
                    Some(before) => before.next = next,
                    None => state.head = next,
                }
                if next == NONE {
                    state.tail = before;
                }
                place = next;
            }
        }
        // As if the last worker had left them.
        let lines = &mut self.lines;
        self.lanes.retain(|&key, state| {
            let stays = state.workers > 0 || state.head != NONE;
            if state.in_line && !stays {
                lines.quit(state.standing, key);
            }
            stays
        });
        pulled
    }
}
