//! Kernels in safe Rust: one source, compiled with the instructions of every set.

/// Hands these kernels to the macro `$then`, each with the path of its source and its signature.
macro_rules! safe_kernels {
    ($then:ident $($with:tt)*) => {
        $then! { [$($with)*]
            /// Counts of neurons with currents `[pixel][lane]` by division in `f64`, `pitch` bytes
            /// a pixel: see [`crate::kernels::counted::Neurons::fire`].
            divide = crate::kernels::counted::divide,
                (currents: &[i32], lanes: usize, inverse: &[f64], most: u8, counts: &mut [u8], pitch: usize);
            /// Adds up the spikes that the bytes of all pixels of `row` stand for, `pitch` bytes a
            /// pixel, by channel.
            add_up = crate::kernels::counted::add_up,
                (row: &[u8], pitch: usize, meaning: crate::kernels::counted::Meaning, sums: &mut [u32]);
            /// Adds to `currents` (`[pixel][lane]`) the counts of every tap times its weights: tap
            /// `k` of pixel `p` begins at byte `p·pitch + taps[k]` of `windows`, its row of weights
            /// is the `k`th of `weights`.
            channels = crate::kernels::counted::channels,
                (windows: &[u8], pitch: usize, taps: &[usize], weights: &[i32], lanes: usize, currents: &mut [i32]);
            /// The largest count of all taps, which begin as those of `channels`, for `pixel` bytes
            /// from `out` to `out`.
            maximum = crate::kernels::counted::maximum,
                (windows: &[u8], pitch: usize, taps: &[usize], out: &mut [u8], pixel: usize);
            /// One step of multi-lane neurons: see [`crate::kernels::stepped::Stepped::fire`].
            fire_lanes = crate::kernels::stepped::fire_lanes,
                (threshold: (&[i32], usize), row: &[i32], rule: crate::kernels::stepped::Rule, zero: u8,
                pixels: &mut crate::kernels::stepped::Pixels) -> bool;
            /// One step of ternary neurons: see [`crate::kernels::stepped::Stepped::fire`].
            fire_ternary = crate::kernels::stepped::fire_ternary,
                (threshold: (&[i32], usize), row: &[i32], rule: crate::kernels::stepped::Rule, most: i32, zero: u8,
                pixels: &mut crate::kernels::stepped::Pixels) -> bool;
            /// Adds to every sum a byte's distance from `zero`.
            accumulate = crate::kernels::stepped::accumulate, (bytes: &[u8], zero: u8, sums: &mut [i32]);
            /// How far the largest of all sums that a window sees has risen above `maximum`: window
            /// after window, whose taps begin where `parts` say: sums, distances of taps, distance
            /// from window to window. Writes the rise, above `zero`, to `out`; `largest` is scratch
            /// for one pixel.
            rise = crate::kernels::stepped::rise,
                (parts: &[(&[i32], &[usize], usize)], zero: u8, maximum: &mut [i32], largest: &mut [i32], out: &mut [u8]);
            /// Adds `x` to `sums`.
            add = crate::kernels::stepped::add, (x: &[i32], sums: &mut [i32]);
            /// Adds every bit of the words at every `stride`th byte of `masks` to its counter; the
            /// last word may be cut off.
            add_bits = crate::kernels::count::add_bits, (masks: &[u8], stride: usize, counters: &mut [u8; 64]);
            /// The maximum of a word of channels over the taps of one window. `masks` are the taps'
            /// masks, `behind` is how far each tap's count is ahead of the maximum (at most zero),
            /// and is used up. Writes the same word of `out` and returns how far the maximum has
            /// risen.
            pool = crate::kernels::cumulative::pool,
                (masks: &[&[u8]], behind: &mut [crate::kernels::cumulative::PerChannel], out: &mut [u8],
                word: crate::kernels::cumulative::Word) -> crate::kernels::cumulative::PerChannel;
            /// Real currents to integers: see [`crate::encode`].
            encode = crate::kernels::encode::encode_body, (x: &[f32], scale: &[f32], limit: i32, out: &mut [i32]);
        }
    };
}

/// The table of these kernels, and a safe method of [`crate::kernels::KernelSet`] for each.
macro_rules! declare {
    ([] $($(#[$doc:meta])* $name:ident = $source:path, ($($arg:ident: $ty:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        /// The kernels in safe Rust, as one set compiled them.
        #[derive(Clone, Copy)]
        pub struct SafeKernels {
            $(pub(super) $name: unsafe fn($($ty),*) $(-> $result)?,)*
        }

        impl SafeKernels {
            /// For any CPU.
            pub(super) const PORTABLE: SafeKernels = SafeKernels { $($name: $source,)* };
        }

        impl super::KernelSet {
            $($(#[$doc])*
            #[inline]
            pub fn $name(&self, $($arg: $ty),*) $(-> $result)? {
                // SAFETY: safe code that needs the set's instructions alone, and the CPU has them
                // (`KernelSet::of`).
                unsafe { (self.safe.$name)($($arg),*) }
            })*
        }
    };
}

/// The table of these kernels, compiled with `$features`.
#[cfg(target_arch = "x86_64")]
macro_rules! compile {
    ([$features:literal] $($(#[$doc:meta])* $name:ident = $source:path, ($($arg:ident: $ty:ty),* $(,)?) $(-> $result:ty)?;)*) => {
        $(#[target_feature(enable = $features)]
        fn $name($($arg: $ty),*) $(-> $result)? {
            $source($($arg),*)
        })*

        /// The kernels in safe Rust, with the instructions of this set.
        pub(super) const COMPILED: crate::kernels::one_source::SafeKernels =
            crate::kernels::one_source::SafeKernels { $($name,)* };
    };
}

safe_kernels!(declare);
