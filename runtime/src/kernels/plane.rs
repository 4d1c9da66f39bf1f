//! Spikes to byte planes: what is the same for every set of kernels.

use super::matrix::PlaneShape;

/// Walks the plane: zeroes its borders, and calls `pixel` with the masks of every pixel in it,
/// where its bytes go, the distance from step to step there, and the number of steps.
///
/// # Safety
/// `masks` and `plane` are as `shape` says, with 64 bytes of slack after each.
#[inline(always)]
pub unsafe fn walk(masks: *const u8, plane: *mut u8, steps: usize, shape: &PlaneShape, mut pixel: impl FnMut(*const u8, *mut u8, usize)) {
    // SAFETY: the caller's.
    unsafe {
        let (row_pitch, step_pitch, bytes) = (shape.row_pitch(), shape.step_pitch(), shape.pixel as usize);
        let [width, columns, pad] = [shape.input[1] as usize, shape.size[1] as usize, shape.pad[1] as usize];
        // Windows may see nothing but padding, or end before the row does.
        let left = pad.min(columns);
        let inside = width.min(columns - left);
        debug_assert!(steps <= shape.chunk as usize && shape.bytes().within(u32::MAX as usize).is_some());
        for row in 0..shape.size[0] as usize {
            let to = plane.add(row * row_pitch);
            let y = row.wrapping_sub(shape.pad[0] as usize);
            if y >= shape.input[0] as usize {
                to.write_bytes(0, steps * step_pitch);
                continue;
            }
            let right = left + inside;
            if left > 0 || right < columns {
                for t in 0..steps {
                    to.add(t * step_pitch).write_bytes(0, left * bytes);
                    to.add(t * step_pitch + right * bytes).write_bytes(0, (columns - right) * bytes);
                }
            }
            for x in 0..inside {
                let masks = masks.add((y * width + x) * shape.chunk as usize * shape.mask as usize);
                pixel(masks, to.add((left + x) * bytes), step_pitch);
            }
        }
    }
}
