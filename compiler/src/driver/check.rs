//! Replays samples after every pass, to see that those that promise to keep outputs do.

use crate::data::Samples;
use crate::passes::Pass;
use crate::passes::pipeline::PipelineError;
use crate::passes::quantize::share_moved;
use snn_ir::Graph;
use snn_runtime::analog::AnalogNetwork;
use snn_runtime::{EngineKind, Network};

/// Largest difference, relative to the largest output, that rounding may make in an analog graph.
const ANALOG_TOLERANCE: f32 = 1e-3;
/// The same in a spiking graph, where a potential within rounding of its threshold may move a spike to another step.
const SPIKING_TOLERANCE: f32 = 0.05;

/// Samples, and what the network answered to them after the last pass.
pub struct Checker<'a> {
    samples: &'a Samples,
    timesteps: u32,
    /// Per sample, per output.
    before: Vec<Vec<Vec<f32>>>,
}

impl<'a> Checker<'a> {
    /// Replays `samples` through the imported `graph`.
    ///
    /// # Errors
    /// When the graph cannot be run.
    pub fn new(graph: &Graph, samples: &'a Samples, timesteps: u32) -> Result<Self, PipelineError> {
        let mut checker = Checker { samples, timesteps, before: Vec::new() };
        checker.before = checker.outputs(graph, "import")?;
        Ok(checker)
    }

    /// Replays the samples through `graph` as `pass` left it.
    ///
    /// # Errors
    /// When the pass changed an output that it promised not to change, or the graph cannot be run.
    pub fn compare(&mut self, graph: &Graph, pass: &dyn Pass) -> Result<(), PipelineError> {
        let after = self.outputs(graph, pass.name())?;
        let before = std::mem::replace(&mut self.before, after);
        if let Some(bound) = pass.may_move_outputs() {
            let flat = |all: &[Vec<Vec<f32>>]| all.iter().flatten().flatten().copied().collect::<Vec<f32>>();
            let moved = share_moved(&flat(&before), &flat(&self.before));
            if moved > bound {
                let (moved, bound) = (100.0 * moved, 100.0 * bound);
                let detail = format!("the outputs move by {moved:.0} % (root mean square), and {bound:.0} % is the most");
                return Err(PipelineError::Changed { pass: pass.name(), detail });
            }
        }
        if !pass.keeps_outputs() {
            return Ok(());
        }
        let tolerance = if graph.is_spiking() { SPIKING_TOLERANCE } else { ANALOG_TOLERANCE };
        for (sample, (before, after)) in before.iter().zip(&self.before).enumerate() {
            for (output, (b, a)) in before.iter().zip(after).enumerate() {
                let largest = b.iter().fold(f32::MIN_POSITIVE, |m, v| m.max(v.abs()));
                let difference = b.iter().zip(a).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max);
                let within = b.len() == a.len() && difference <= tolerance * largest;
                if !within {
                    let detail =
                        format!("output {output} of check sample {sample} differs by {difference} where the largest value is {largest}");
                    return Err(PipelineError::Changed { pass: pass.name(), detail });
                }
            }
        }
        Ok(())
    }

    fn outputs(&self, graph: &Graph, pass: &'static str) -> Result<Vec<Vec<Vec<f32>>>, PipelineError> {
        if !graph.is_spiking() {
            let network = AnalogNetwork::new(graph).map_err(|source| PipelineError::Replay { pass, source })?;
            return Ok(self.samples.iter().map(|sample| network.run(&sample, &mut |_, _| {})).collect());
        }
        let network = Network::compile(graph, EngineKind::Reference).map_err(|source| PipelineError::Replay { pass, source })?;
        let mut session = network.session();
        let mut run = |sample: Vec<&[f32]>| {
            session.start(&sample)?;
            session.advance(self.timesteps)?;
            Ok(session.potentials())
        };
        let outputs = self.samples.iter().map(&mut run).collect::<Result<_, _>>();
        outputs.map_err(|source| PipelineError::ReplayRun { pass, source })
    }
}
