//! Where buffers live: one arena, in which buffers that are never alive together share bytes.

/// Alignment of every buffer, and slack behind it, so that kernels may use whole 512-bit vectors.
pub const ALIGNMENT: usize = 64;

/// Bytes of the arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// First byte.
    pub offset: usize,
    /// Length, without slack.
    pub bytes: usize,
}

/// A buffer that wants a place: alive from step `first` to step `last`.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Where it is written.
    pub first: usize,
    /// Where it is read last.
    pub last: usize,
    /// Its size.
    pub bytes: usize,
}

/// Places every request behind `start`: the largest first, each at the lowest offset that no buffer alive at the same
/// time overlaps. Returns the places and the end of the last one.
pub fn allocate(requests: &[Request], start: usize) -> (Vec<Buffer>, usize) {
    let padded = |r: &Request| (r.bytes + ALIGNMENT).next_multiple_of(ALIGNMENT);
    let mut order: Vec<usize> = (0..requests.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(requests[i].bytes), i));
    let mut places = vec![Buffer { offset: 0, bytes: 0 }; requests.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut end = start;
    for i in order {
        let r = &requests[i];
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&p| requests[p].first <= r.last && r.first <= requests[p].last)
            .map(|&p| (places[p].offset, places[p].offset + padded(&requests[p])))
            .collect();
        taken.sort_unstable();
        let mut offset = start.next_multiple_of(ALIGNMENT);
        for (from, to) in taken {
            if offset + padded(r) <= from {
                break;
            }
            offset = offset.max(to);
        }
        places[i] = Buffer { offset, bytes: r.bytes };
        end = end.max(offset + padded(r));
        placed.push(i);
    }
    (places, end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_alive_together_never_overlap_and_others_share() {
        let r = |first, last, bytes| Request { first, last, bytes };
        let requests = [r(0, 1, 1000), r(1, 2, 500), r(2, 3, 1000), r(3, 3, 10)];
        let (places, end) = allocate(&requests, 128);
        for i in 0..4 {
            for j in 0..i {
                let together = requests[i].first <= requests[j].last && requests[j].first <= requests[i].last;
                let (a, b) = (places[i], places[j]);
                assert!(!together || a.offset + a.bytes <= b.offset || b.offset + b.bytes <= a.offset);
            }
        }
        assert!(end < 128 + 2510, "{end}");
    }
}
