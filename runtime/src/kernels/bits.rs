//! Spike masks: reading them, counting them, moving bits between them.

/// Calls `visit` with every set channel of the mask of `bytes` bytes at `mask`.
///
/// # Safety
/// `bytes` bytes must be readable at `mask`; `bytes` is what [`crate::layout::mask_bytes`] gives.
#[inline(always)]
pub unsafe fn for_each_channel(mask: *const u8, bytes: usize, mut visit: impl FnMut(usize)) {
    let mut word = |at: usize, mut bits: u64| {
        while bits != 0 {
            visit(at * 64 + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    };
    // SAFETY: the caller says the bytes are there.
    unsafe {
        match bytes {
            2 => word(0, u64::from(mask.cast::<u16>().read_unaligned())),
            4 => word(0, u64::from(mask.cast::<u32>().read_unaligned())),
            _ => (0..bytes / 8).for_each(|w| word(w, mask.cast::<u64>().add(w).read_unaligned())),
        }
    }
}

/// Calls `visit` with every set bit of `mask`.
#[inline]
pub fn for_each_set(mask: &[u8], mut visit: impl FnMut(usize)) {
    for at in (0..mask.len()).step_by(8) {
        let mut bits = load(mask, at);
        while bits != 0 {
            visit(at * 8 + bits.trailing_zeros() as usize);
            bits &= bits - 1;
        }
    }
}

/// Sets in `to` the bits `to_bit..to_bit + length` that are set in `from` at `from_bit..`.
pub fn copy(from: &[u8], from_bit: usize, to: &mut [u8], to_bit: usize, length: usize) {
    let mut done = 0;
    while done < length {
        let (f, t) = (from_bit + done, to_bit + done);
        let (fs, ts) = (f % 8, t % 8);
        let n = (length - done).min(56 - fs.max(ts));
        let bits = (load(from, f / 8) >> fs) & ((1u64 << n) - 1);
        let bytes = (bits << ts).to_le_bytes();
        to[t / 8..].iter_mut().zip(bytes).for_each(|(d, b)| *d |= b);
        done += n;
    }
}

/// Up to eight bytes from `at`, little-endian, zeros past the end.
fn load(bytes: &[u8], at: usize) -> u64 {
    match bytes[at..].first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => bytes[at..].iter().rev().fold(0, |v, &b| v << 8 | u64::from(b)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_copied_between_any_two_places() {
        let from: Vec<u8> = (0..40u32).map(|i| (i.wrapping_mul(2654435761) >> 13) as u8).collect();
        let bit = |b: &[u8], i: usize| b[i / 8] >> (i % 8) & 1;
        for (f, t, n) in [(0, 0, 64), (3, 0, 61), (0, 5, 130), (7, 1, 200), (13, 64, 1), (0, 16, 16)] {
            let mut to = vec![0u8; 40];
            copy(&from, f, &mut to, t, n);
            for i in 0..to.len() * 8 {
                let expected = if (t..t + n).contains(&i) { bit(&from, f + i - t) } else { 0 };
                assert_eq!(bit(&to, i), expected, "bit {i} of {f}->{t} x{n}");
            }
        }
    }
}
