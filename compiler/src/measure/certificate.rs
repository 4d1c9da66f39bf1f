//! How much of a spiking network's work is provably exact.
//!
//! After T steps `θ·N = v(0) + Σ I − v(T)`. So a neuron's count N is `Q = clip(floor((Σ I + v(0))/θ), 0, T)`, whatever the order in
//! which current arrived, if and only if `0 <= v(T) < θ`, or N = T and `v(T) >= θ`, or N = 0 and `v(T) < 0`. Where that fails, the
//! difference of N and Q is the unevenness error. With `r = max(Σ I/θ, 0)`, what the ANN's rectifier would make of the same input, the
//! whole error is `r − N = (r − min(r, T)) + (min(r, T) − Q) + (Q − N)`: clipping, quantisation, unevenness. For n lanes T is
//! `(2ⁿ − 1)·T`.

use super::evaluation::EvaluationError;
use super::parallel::{for_each_sample, pool};
use super::window::run_window;
use crate::data::Feed;
use serde::Serialize;
use snn_ir::neuron::{Dynamics, Neuron, Reset};
use snn_ir::{Graph, Preprocessing};
use snn_runtime::{CompileError, EngineKind, Network, Session};

/// The certificate of a network on a set of samples, at one T.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Certificate {
    /// T.
    pub timesteps: u32,
    /// Number of samples.
    pub samples: usize,
    /// Per neuron population, in topological order.
    pub layers: Vec<LayerCertificate>,
}

/// The certificate of one neuron population. Errors are means of magnitudes over the neurons that are not certified, in units
/// of the balanced threshold: a count's error over T.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerCertificate {
    /// Name of its node.
    pub name: String,
    /// Number of neurons.
    pub neurons: u64,
    /// Percentage of counts that are certified exact; absent for hard reset, whose potential forgets its input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certified: Option<f64>,
    /// Input beyond what T steps can send.
    pub clipping: f64,
    /// Rounding to whole spikes.
    pub quantization: f64,
    /// Spikes too many or too few because of the order in which current arrived.
    pub unevenness: f64,
}

/// A population's parameters, per neuron.
struct Population {
    name: String,
    threshold: Vec<f64>,
    initial: Vec<f64>,
    dynamics: Dynamics,
}

/// Sums over neurons and samples.
#[derive(Clone, Copy, Default)]
struct Tally {
    certified: u64,
    others: u64,
    clipping: f64,
    quantization: f64,
    unevenness: f64,
}

impl Population {
    fn new(name: &str, neuron: &Neuron, shape: &[usize]) -> Self {
        let expanded = |t: &snn_ir::Tensor| -> Vec<f64> {
            let values = t.to_f64_vec();
            t.broadcast_indices(shape).into_iter().map(|i| values[i as usize]).collect()
        };
        Population {
            name: name.to_string(),
            threshold: expanded(&neuron.threshold),
            initial: expanded(&neuron.initial),
            dynamics: neuron.dynamics(),
        }
    }

    /// Books every neuron's count and last potential after a window of `steps`.
    fn tally(&self, counts: &[i64], membranes: &[f64], steps: u32) -> Tally {
        let (least, most) = self.dynamics.output_interval::<f64>(steps);
        let window = f64::from(self.dynamics.firing.quanta_per_step()) * f64::from(steps);
        let mut tally = Tally::default();
        for (i, (&count, &v)) in counts.iter().zip(membranes).enumerate() {
            let (theta, n) = (self.threshold[i], count as f64);
            let saturated = n >= most && v >= theta || n <= least && v < 0.0;
            if (0.0..theta).contains(&v) || saturated {
                tally.certified += 1;
                continue;
            }
            let clip = |x: f64| x.clamp(least, most);
            let whole = theta * n + v;
            let rectified = ((whole - self.initial[i]) / theta).max(least);
            let exact = self.dynamics.window_count(whole, theta, steps);
            tally.others += 1;
            tally.clipping += (rectified - clip(rectified)).abs() / window;
            tally.quantization += (clip(rectified) - exact).abs() / window;
            tally.unevenness += (exact - n).abs() / window;
        }
        tally
    }

    fn certificate(&self, tally: Tally) -> LayerCertificate {
        let mean = |sum: f64| if tally.others > 0 { sum / tally.others as f64 } else { 0.0 };
        LayerCertificate {
            name: self.name.clone(),
            neurons: self.threshold.len() as u64,
            certified: (self.dynamics.reset == Reset::Subtract)
                .then(|| 100.0 * tally.certified as f64 / (tally.certified + tally.others).max(1) as f64),
            clipping: mean(tally.clipping),
            quantization: mean(tally.quantization),
            unevenness: mean(tally.unevenness),
        }
    }
}

impl Tally {
    fn add(&mut self, other: &Tally) {
        self.certified += other.certified;
        self.others += other.others;
        self.clipping += other.clipping;
        self.quantization += other.quantization;
        self.unevenness += other.unevenness;
    }
}

/// The neuron populations of a graph, as the engines number them.
fn populations(graph: &Graph) -> Result<Vec<Population>, CompileError> {
    let population = |id| Some(Population::new(graph.node(id).name(), graph.op(id).neuron()?, &graph.ty(id).shape));
    Ok(graph.topological()?.into_iter().filter_map(population).collect())
}

fn tallies(populations: &[Population], session: &Session<'_>, steps: u32) -> Vec<Tally> {
    let tally = |(layer, p): (usize, &Population)| match (session.spike_counts(layer), session.membranes(layer)) {
        (Some(counts), Some(membranes)) => p.tally(&counts, &membranes, steps),
        _ => Tally::default(),
    };
    populations.iter().enumerate().map(tally).collect()
}

/// What to certify.
pub struct CertificateRequest<'a> {
    /// The network.
    pub graph: &'a Graph,
    /// How pixels become its input.
    pub preprocessing: &'a Preprocessing,
    /// The samples.
    pub feed: &'a Feed,
    /// T.
    pub timesteps: u32,
    /// Number of threads.
    pub threads: usize,
    /// Called after every sample.
    pub progress: &'a (dyn Fn() + Sync),
}

/// Certifies a network on samples, with the reference engine, which keeps counts and potentials.
///
/// # Errors
/// When the network is none that the engine runs, or the first sample that cannot be read or run.
pub fn certify(request: &CertificateRequest<'_>) -> Result<Certificate, EvaluationError> {
    let network = Network::compile(request.graph, EngineKind::Reference)?;
    let shapes: Vec<&[usize]> = network.inputs().iter().map(|ty| &ty.shape[..]).collect();
    let populations = populations(request.graph)?;
    let tallies = for_each_sample(
        &pool(request.threads, request.feed.len())?,
        request.feed.len(),
        || network.session(),
        |session, index| {
            let x = request.feed.inputs(index, request.preprocessing, &shapes)?;
            let x: Vec<&[f32]> = x.iter().map(Vec::as_slice).collect();
            let run = session.start(&x).and_then(|()| run_window(&network, session, request.timesteps, None));
            run.map_err(|source| EvaluationError::Run { index, source })?;
            (request.progress)();
            Ok::<_, EvaluationError>(tallies(&populations, session, request.timesteps))
        },
    )?;
    let mut total = vec![Tally::default(); populations.len()];
    for sample in &tallies {
        total.iter_mut().zip(sample).for_each(|(sum, tally)| sum.add(tally));
    }
    let layers = populations.iter().zip(total).map(|(p, t)| p.certificate(t)).collect();
    Ok(Certificate { timesteps: request.timesteps, samples: request.feed.len(), layers })
}

#[cfg(test)]
mod tests {
    use super::*;
    use snn_ir::Tensor;
    use snn_ir::neuron::{BINARY, Firing, lanes};

    fn population(firing: Firing) -> Population {
        Population::new("neurons", &Neuron { firing, initial: Tensor::scalar(5.0), ..Neuron::new(Tensor::scalar(10.0)) }, &[1])
    }

    #[test]
    fn a_count_is_certified_within_the_threshold_and_where_it_is_rightly_saturated_or_silent() {
        let certified = |count, v| population(BINARY).tally(&[count], &[v], 8).certified == 1;
        assert!(certified(3, 0.0) && certified(3, 9.9) && certified(8, 25.0) && certified(0, -3.0));
        assert!(!certified(3, 10.0) && !certified(3, -0.1) && !certified(8, -1.0) && !certified(0, 12.0));
    }

    #[test]
    fn the_three_errors_add_up_to_what_the_rectifier_would_have_said() {
        // Input 3·10 + 27 − 5 = 52: 5.2 of 8 spikes were due, floor(5.7) = 5, sent were 3.
        let tally = population(BINARY).tally(&[3], &[27.0], 8);
        let errors = [tally.clipping, tally.quantization, tally.unevenness].map(|e| (e * 8.0 * 10.0).round());
        assert_eq!((tally.others, errors), (1, [0.0, 2.0, 20.0]));
        // Input 70 + 45 − 5 = 110 of 80: 3 too much for the window, all but one of its 8 spikes sent.
        let tally = population(BINARY).tally(&[7], &[45.0], 8);
        let errors = [tally.clipping, tally.quantization, tally.unevenness].map(|e| (e * 8.0 * 10.0).round());
        assert_eq!(errors, [30.0, 0.0, 10.0]);
    }

    #[test]
    fn lanes_saturate_at_their_most_quanta_a_step() {
        assert_eq!(population(lanes(2)).tally(&[8], &[12.0], 8).certified, 0);
        assert_eq!(population(lanes(2)).tally(&[24], &[12.0], 8).certified, 1);
    }
}
