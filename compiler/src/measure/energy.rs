//! The energy of a network's arithmetic.

/// Energy of a 32-bit float addition in 45 nm, pJ (Horowitz 2014).
const AC_PICOJOULES: f64 = 0.9;
/// Energy of a 32-bit float multiplication and addition, pJ.
const MAC_PICOJOULES: f64 = 4.6;

/// Energy of spikes that cross synapses, an addition each, and of multiplications, pJ.
pub fn energy(synops: f64, macs: f64) -> f64 {
    AC_PICOJOULES * synops + MAC_PICOJOULES * macs
}
