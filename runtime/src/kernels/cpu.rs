//! What a CPU can do, as a set of features.

use std::fmt;

/// A set of features that kernels may use: what a machine has, or what a user allows. A feature is
/// a group of instructions that kernels use together. The sets that have a name are
/// [`Cpu::LEVELS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cpu(u8);

/// The features, a bit each.
mod feature {
    /// x86-64: AVX2, BMI2 and POPCNT.
    pub const AVX2: u8 = 1;
    /// x86-64: AVX-512 F, BW, VL, DQ, VBMI, VBMI2 and VNNI.
    pub const AVX512: u8 = 1 << 1;
    /// x86-64: AMX tiles of 8-bit integers, which the operating system lets this process use.
    pub const AMX: u8 = 1 << 2;
}

impl Cpu {
    /// Any CPU that Cranelift knows: 128-bit vectors.
    pub const PORTABLE: Cpu = Cpu(0);
    /// x86-64 with AVX2 and BMI2.
    pub const AVX2: Cpu = Cpu(feature::AVX2);
    /// x86-64 with AVX-512 F, BW, VL, DQ, VBMI, VBMI2 and VNNI (Ice Lake, Zen 4 and later).
    pub const AVX512: Cpu = Cpu(Cpu::AVX2.0 | feature::AVX512);
    /// x86-64 with AMX for 8-bit integers (Sapphire Rapids and later).
    pub const AMX: Cpu = Cpu(Cpu::AVX512.0 | feature::AMX);

    /// The sets that have a name, on the command line and in reports. Where one has all features of
    /// another, it comes later.
    pub const LEVELS: [Cpu; 4] = [Cpu::PORTABLE, Cpu::AVX2, Cpu::AVX512, Cpu::AMX];

    /// The features of this machine.
    pub fn detect() -> Cpu {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2") && is_x86_feature_detected!("popcnt");
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vbmi")
                && is_x86_feature_detected!("avx512vbmi2")
                && is_x86_feature_detected!("avx512vnni");
            let features = [
                (feature::AVX2, avx2),
                (feature::AVX512, avx512),
                // Linux is asked for tiles only where there are kernels that use them.
                (feature::AMX, avx2 && avx512 && super::x86_amx::is_available()),
            ];
            Cpu(features.iter().filter(|(_, has)| *has).map(|(feature, _)| feature).sum())
        }
        #[cfg(not(target_arch = "x86_64"))]
        Cpu::PORTABLE
    }

    /// The named sets whose features this machine has.
    pub fn available() -> impl Iterator<Item = Cpu> {
        let own = Cpu::detect();
        Cpu::LEVELS.into_iter().filter(move |&level| own.has(level))
    }

    /// Whether all features of `other` are among these.
    pub fn has(self, other: Cpu) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether these are no features at all.
    pub fn is_portable(self) -> bool {
        self.0 == 0
    }

    /// The features that both have.
    pub fn and(self, other: Cpu) -> Cpu {
        Cpu(self.0 & other.0)
    }

    /// The set of that name.
    pub fn named(name: &str) -> Option<Cpu> {
        Cpu::LEVELS.into_iter().find(|level| level.name() == name)
    }

    /// The name of the set, or of the last named one that it has all features of.
    fn name(self) -> &'static str {
        let names = ["portable", "avx2", "avx512", "amx"];
        let named = Cpu::LEVELS.into_iter().zip(names).rev().find(|(level, _)| self.has(*level));
        named.map_or("portable", |(_, name)| name)
    }
}

impl fmt::Display for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_is_found_by_the_name_that_it_prints() {
        for level in Cpu::LEVELS {
            assert_eq!(Cpu::named(&level.to_string()), Some(level));
        }
        assert_eq!(Cpu::named("sse2"), None);
    }

    #[test]
    fn a_set_without_a_name_is_called_after_what_kernels_find_in_it() {
        assert_eq!(Cpu(feature::AVX512 | feature::AMX).to_string(), "portable");
        assert_eq!(Cpu(feature::AVX2 | feature::AMX).to_string(), "avx2");
    }
}
