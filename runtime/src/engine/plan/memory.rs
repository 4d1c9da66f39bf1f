//! Where buffers live: one arena, in which buffers that are never alive together share bytes.

use crate::layout::Size;

/// Alignment of every buffer, and slack after it, so that kernels may use whole 512-bit vectors.
pub const ALIGNMENT: usize = 64;

/// Bytes after every buffer's slack that nobody may write, where that is checked (see
/// `engine::bits::guards`).
pub const GUARD: usize = if cfg!(any(test, debug_assertions)) { ALIGNMENT } else { 0 };

/// Most bytes of an arena; kernels' offsets are 32 bits.
pub const ARENA_LIMIT: usize = 1 << 31;

/// Bytes of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// First byte.
    pub offset: usize,
    /// Length, without slack.
    pub bytes: usize,
}

impl Buffer {
    /// The first byte after its slack.
    pub fn end(&self) -> usize {
        self.offset + (self.bytes + ALIGNMENT).next_multiple_of(ALIGNMENT)
    }
}

/// A buffer that wants a place: alive from step `first` to step `last`.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// The plan's node that it is for.
    node: usize,
    /// Where it is written.
    first: usize,
    /// Where it is read last.
    last: usize,
    /// Its size.
    bytes: Size,
}

/// A buffer that was asked for and has no place yet: which of the requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Of what lasts from chunk to chunk.
    State(usize),
    /// Of what lasts for some steps of the plan.
    Scratch(usize),
}

/// What a plan asks for.
#[derive(Debug, Default)]
pub struct Requests {
    state: Vec<Request>,
    scratch: Vec<Request>,
}

impl Requests {
    /// Asks for memory of `node` that lasts from chunk to chunk.
    pub fn state(&mut self, node: usize, bytes: Size) -> Slot {
        self.state.push(Request { node, first: 0, last: 0, bytes });
        Slot::State(self.state.len() - 1)
    }

    /// Asks for memory of `node` that is used until step `last` of the plan.
    pub fn until(&mut self, node: usize, last: usize, bytes: Size) -> Slot {
        self.scratch.push(Request { node, first: node, last, bytes });
        Slot::Scratch(self.scratch.len() - 1)
    }

    /// Asks for memory that is used while `node` is computed.
    pub fn scratch(&mut self, node: usize, bytes: Size) -> Slot {
        self.until(node, node, bytes)
    }

    /// Gives every request a place: state at the start of the arena, the rest after it.
    ///
    /// # Errors
    /// When they do not fit an arena.
    pub fn place(&self) -> Result<Places, TooLarge> {
        let (state, persistent) = allocate(&self.state, 0)?;
        let (scratch, arena) = allocate(&self.scratch, persistent)?;
        Ok(Places { state, scratch, persistent, arena })
    }
}

/// Where everything that was asked for is.
#[derive(Debug)]
pub struct Places {
    state: Vec<Buffer>,
    scratch: Vec<Buffer>,
    /// Bytes of state.
    pub persistent: usize,
    /// Bytes of all.
    pub arena: usize,
}

impl Places {
    /// The buffer of a request.
    pub fn at(&self, slot: Slot) -> Buffer {
        match slot {
            Slot::State(i) => self.state[i],
            Slot::Scratch(i) => self.scratch[i],
        }
    }
}

/// Buffers that do not fit an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge {
    /// The node that asks for the largest one.
    pub node: usize,
}

/// Places every request after `start`: the largest first, each at the lowest offset that no buffer
/// alive at the same time overlaps. Returns the places and the end of the last one.
///
/// # Errors
/// When all of it does not end within [`ARENA_LIMIT`].
fn allocate(requests: &[Request], start: usize) -> Result<(Vec<Buffer>, usize), TooLarge> {
    let too_large = || TooLarge { node: requests.iter().max_by_key(|r| r.bytes).map_or(0, |r| r.node) };
    // Sums of numbers within the limit do not wrap.
    let sizes: Option<Vec<usize>> = requests.iter().map(|r| r.bytes.within(ARENA_LIMIT)).collect();
    let sizes = sizes.ok_or_else(too_large)?;
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(sizes[i]), i));
    let mut places = vec![Buffer { offset: 0, bytes: 0 }; requests.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut end = start;
    for i in order {
        let r = &requests[i];
        let padded = Buffer { offset: 0, bytes: sizes[i] }.end() + GUARD;
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&p| requests[p].first <= r.last && r.first <= requests[p].last)
            .map(|&p| (places[p].offset, places[p].end() + GUARD))
            .collect();
        taken.sort_unstable();
        let mut offset = start.next_multiple_of(ALIGNMENT);
        for (from, to) in taken {
            if offset + padded <= from {
                break;
            }
            offset = offset.max(to);
        }
        places[i] = Buffer { offset, bytes: sizes[i] };
        end = end.max(offset + padded);
        if end > ARENA_LIMIT {
            return Err(too_large());
        }
        placed.push(i);
    }
    Ok((places, end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_alive_together_never_overlap_and_others_share() {
        let r = |first, last, bytes| Request { node: first, first, last, bytes: Size::product([bytes]) };
        let requests = [r(0, 1, 1000), r(1, 2, 500), r(2, 3, 1000), r(3, 3, 10)];
        let (places, end) = allocate(&requests, 128).unwrap();
        for i in 0..4 {
            for j in 0..i {
                let together = requests[i].first <= requests[j].last && requests[j].first <= requests[i].last;
                let (a, b) = (places[i], places[j]);
                assert!(!together || a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset);
            }
        }
        assert!(end < 128 + 2510 + 3 * GUARD, "{end}");
    }

    #[test]
    fn sizes_that_no_number_holds_get_no_place() {
        let r = |node, bytes| Request { node, first: 0, last: 0, bytes };
        for large in [Size::product([1 << 32, 1 << 32]), Size::product([1 << 31, 2]), Size::product([usize::MAX]) + Size::product([1])] {
            assert_eq!(allocate(&[r(1, Size::product([8])), r(2, large)], 0), Err(TooLarge { node: 2 }));
        }
        let halves = [r(1, Size::product([ARENA_LIMIT / 2])), r(2, Size::product([ARENA_LIMIT / 2]))];
        assert!(allocate(&halves, 0).is_err(), "together they end beyond the limit");
    }
}
