//! Which neurons of a population a fit looks at, and what it sees there.

use super::activations::channel_of;
use super::past::Reader;
use rayon::prelude::*;

/// Places of a population: the same positions for every channel, others for each sample.
///
/// What is seen there is kept per channel, sample by sample, position by position.
pub struct Places {
    /// Per sample, the elements of each channel at the chosen positions, channel by channel.
    elements: Vec<Vec<usize>>,
    /// Number of channels.
    pub channels: usize,
    /// Positions per sample.
    pub positions: usize,
}

/// Currents and targets at the chosen places, channel by channel.
pub struct Observed {
    /// Per channel, step-major; a single step when it is the same in all.
    pub current: Vec<Vec<f32>>,
    /// The ANN's pre-activation, per channel.
    pub analog: Vec<Vec<f32>>,
}

impl Observed {
    /// Adds `lengths` times `change`, given per channel and place, to the current of every step.
    pub fn add(&mut self, change: &[Vec<f32>], lengths: &[f32]) {
        self.current.par_iter_mut().zip(change).zip(lengths).for_each(|((current, change), length)| {
            let steps = current.chunks_exact_mut(change.len());
            steps.for_each(|step| step.iter_mut().zip(change).for_each(|(i, d)| *i += length * d));
        });
    }
}

impl Places {
    /// Spreads about `most / samples` positions over a population of `shape` with channels along `axis`.
    pub fn choose(shape: &[usize], axis: usize, samples: usize, most: usize) -> Places {
        let n: usize = shape.iter().product();
        let channels = shape.get(axis).copied().unwrap_or(1);
        let mut of_channel: Vec<Vec<usize>> = vec![Vec::new(); channels];
        (0..n).for_each(|i| of_channel[channel_of(shape, axis, i)].push(i));
        let space = n / channels;
        let positions = (most / samples).clamp(1, space);
        let elements = (0..samples)
            .map(|s| {
                // A stride through the positions from a start that moves with the sample by a prime.
                let chosen: Vec<usize> = (0..positions).map(|k| (k * space / positions + s * 7919) % space).collect();
                of_channel.iter().flat_map(|elements| chosen.iter().map(|&p| elements[p]).collect::<Vec<_>>()).collect()
            })
            .collect();
        Places { elements, channels, positions }
    }

    /// Number of places in `samples` samples.
    pub fn count(&self, samples: usize) -> usize {
        samples * self.positions
    }

    /// The chosen elements of `channel` in `sample`.
    pub fn of(&self, sample: usize, channel: usize) -> &[usize] {
        &self.elements[sample][channel * self.positions..(channel + 1) * self.positions]
    }

    /// Elements of one value of the population per channel, as at the first place of each.
    pub fn per_channel(&self, values: &[f32]) -> Vec<f32> {
        (0..self.channels).map(|c| values[self.of(0, c)[0]]).collect()
    }

    /// Calls `value` for every sample and keeps what it returns at the chosen places, per channel.
    pub fn gather(&self, value: impl Fn(usize) -> Vec<f32> + Sync) -> Vec<Vec<f32>> {
        let at_places = |sample: usize| -> Vec<f32> {
            let value = value(sample);
            self.elements[sample].iter().map(|&e| value[e]).collect()
        };
        let samples: Vec<Vec<f32>> = (0..self.elements.len()).into_par_iter().map(at_places).collect();
        let row = |c: usize| c * self.positions..(c + 1) * self.positions;
        (0..self.channels).map(|c| samples.iter().flat_map(|s| s[row(c)].to_vec()).collect()).collect()
    }

    /// What the reader's value is there, in every step and for the ANN.
    pub fn observe(&self, reader: &Reader<'_>) -> Observed {
        let at_places = |sample: usize| -> (Vec<f32>, Vec<f32>) {
            let trace = reader.trace(sample);
            let at = &self.elements[sample];
            let current = trace.current.chunks_exact(trace.analog.len()).flat_map(|step| at.iter().map(|&e| step[e])).collect();
            (at.iter().map(|&e| trace.analog[e]).collect(), current)
        };
        let samples: Vec<(Vec<f32>, Vec<f32>)> = (0..self.elements.len()).into_par_iter().map(at_places).collect();
        let of_sample = self.channels * self.positions;
        let steps = samples.first().map_or(0, |(_, current)| current.len() / of_sample);
        let row = |values: &[f32], c: usize| values[c * self.positions..(c + 1) * self.positions].to_vec();
        let current = |c: usize| (0..steps).flat_map(|t| samples.iter().flat_map(move |(_, i)| row(&i[t * of_sample..], c))).collect();
        let analog = |c: usize| samples.iter().flat_map(|(z, _)| row(z, c)).collect();
        Observed {
            current: (0..self.channels).into_par_iter().map(current).collect(),
            analog: (0..self.channels).into_par_iter().map(analog).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_within_the_population_and_the_same_for_every_channel() {
        let places = Places::choose(&[3, 4, 5], 0, 10, 60);
        assert_eq!((places.channels, places.positions, places.elements.len()), (3, 6, 10));
        for sample in 0..10 {
            for channel in 0..3 {
                for (i, &element) in places.of(sample, channel).iter().enumerate() {
                    assert_eq!(element / 20, channel);
                    assert_eq!(element % 20, places.of(sample, 0)[i]);
                }
            }
        }
    }
}
