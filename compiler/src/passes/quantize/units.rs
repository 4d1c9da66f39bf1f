//! The unit of a layer's current, chosen so that its weights are fine and its potential fits.

use super::super::PassError;
use super::super::fold_batch_norm::along_axis;
use super::currents::{SAME, bits_to_lose, common_unit};
use super::measure::Quantized;
use super::rows::{Rows, Size, WHOLE, in_units, neuron_in_units, rounded_factor, squares_per_row, step, unit_of};
use super::{FINE_WEIGHT, Quantizer};
use snn_ir::bounds::Reach;
use snn_ir::neuron::Neuron;
use snn_ir::op::{AvgPool, Divisor, Layer, Reduce, Scale};
use snn_ir::{NodeId, Op};

/// Steps of a threshold where no weights set the unit.
const FINEST_THRESHOLD: f64 = 4096.0;
/// Steps of a threshold at most; weights that are tiny against it lose precision rather than range.
const MOST_STEPS: f64 = (1 << 22) as f64;
/// Steps of a threshold that currents are compared with which are passed on as they are.
const THRESHOLD_STEPS: f64 = 1024.0;
/// The same where bits are scarce: half a step is less than a hundredth of the threshold.
const LEAST_STEPS: f64 = 64.0;
/// An encoded current can be so many thresholds large: it fires in every step, with room to make up for
/// what other synapses take off.
const ENCODED_THRESHOLDS: f64 = 4.0;
/// The same for what samples reach: other samples may reach a little more.
const HEADROOM: f64 = 1.25;
/// What float arithmetic may have done to weights that are whole numbers of a unit already.
const FLOAT_NOISE: f64 = 2e-6;
/// Weights on currents become coarser until rounding them makes one part in so many of what they make;
/// then the currents lose bits. Bytes make one in 150 where weights are normally distributed.
const FIDELITY: f64 = 256.0;
/// Weights of layers that have 16 bits.
pub(super) const MOST_WEIGHT: f64 = 32767.0;
/// Channels that must share a unit: the finest may be so much finer than the coarsest has 11 bits, as
/// weights of 16 bits have four more.
const SHARED: f64 = 16.0;
/// A current that has lost bits keeps so many levels at least. What rounding leaves over is kept from
/// step to step, so a few are enough.
const LEAST_LEVELS: i64 = 32;
/// A unit that is coarser by as much as integers are too large is coarser by a little more, for what
/// rounding makes larger.
const ROUNDED_UP: f64 = 1.01;
/// Tries to find a unit. Each makes something coarser by a factor that would do but for rounding.
const TRIES: usize = 64;

/// A summand of a layer's current that is no prefix.
struct Term {
    /// Which of the layer's operands it reads.
    operand: usize,
    synapse: Op,
    /// What the operand was before bits were taken off.
    origin: NodeId,
    /// What is read.
    source: NodeId,
}

/// A layer while its unit is searched.
struct Search<'l> {
    layer: &'l Layer,
    shape: Vec<usize>,
    channels: usize,
    terms: Vec<Term>,
    /// The encoded share of the prefix, and the largest that samples showed.
    encode: Option<(NodeId, f64)>,
    /// Whether something downstream needs all channels in one unit.
    one_unit: bool,
    /// The finest unit of each channel in which its potential fits.
    least: Vec<f64>,
}

/// A unit per channel, and by what factor each could be coarser without loss that counts; below one it is
/// too coarse beside the currents that it reads.
struct Units {
    unit: Vec<f64>,
    slack: Vec<f64>,
}

/// The unit of a channel to which currents are passed on.
enum Passed {
    /// As in [`Units`].
    Fits { unit: f64, slack: f64 },
    /// The currents are too fine, by this factor.
    Fine(f64),
}

/// Why the terms have no unit yet.
enum Misfit {
    /// Currents that are passed on have no unit in common.
    Apart,
    /// They are too fine, by these factors per channel: the potential does not fit, or weights beside them leave 16 bits.
    Fine(Vec<f64>),
}

/// Whether a synapse passes its source on without a weight matrix.
fn is_plain(synapse: &Op) -> bool {
    matches!(synapse, Op::Identity | Op::Scale(_) | Op::AvgPool(_) | Op::Reduce(_))
}

/// Whether it adds elements up as they are, so that it cannot bring them to another unit.
fn is_sum(synapse: &Op) -> bool {
    matches!(synapse, Op::AvgPool(_) | Op::Reduce(_))
}

/// What a spike that a term passes on counts in channel `c` of a layer of `shape`.
fn spike_factor(term: &Term, shape: &[usize], c: usize) -> f32 {
    let Op::Scale(Scale { weight: Some(weight), .. }) = &term.synapse else { return 1.0 };
    match along_axis(Some(weight), shape, 0, 1.0) {
        Some(channels) => channels[c].abs(),
        None => weight.as_f32().iter().fold(0f32, |most, v| most.max(v.abs())),
    }
}

impl Quantizer<'_> {
    /// Rounds layer `id`.
    pub(super) fn layer(&mut self, id: NodeId, layer: Layer) -> Result<(), PassError> {
        let shape = self.graph.ty(id).shape.clone();
        let operands = self.graph.operands(id);
        let (mut terms, mut of_prefix) = (Vec::new(), Vec::new());
        for (operand, (synapse, &source)) in layer.synapses.iter().zip(&operands).enumerate() {
            match self.prefix.contains(&source) {
                true => of_prefix.push((synapse.clone(), source)),
                false => terms.push(Term { operand, synapse: synapse.clone(), origin: source, source }),
            }
        }
        let encode = match of_prefix.is_empty() {
            true => None,
            false => Some((self.encoded(id, of_prefix)?, self.observed.get(&id).copied().unwrap_or(0.0))),
        };
        let channels = self.channels(id);
        let is_shared = terms.iter().any(|t| matches!(t.synapse, Op::Linear(_))) && shape.len() > 1;
        let one_unit = is_shared || layer.neuron.is_none() && self.shared.contains(&id);
        // A threshold has so many steps at most, so nothing beside it can be finer: nor a channel that a
        // batch-norm has all but switched off.
        let finest = if layer.neuron.is_some() { 1.0 / self.most_steps(encode.is_some()) } else { f64::MIN_POSITIVE };
        let mut search = Search { layer: &layer, shape, channels, terms, encode, one_unit, least: vec![finest; channels] };
        for _ in 0..TRIES {
            let units = match self.units_of(&search) {
                Ok(units) => units,
                Err(Misfit::Apart) => {
                    self.bring_together(&mut search, &vec![1.0; channels])?;
                    continue;
                }
                Err(Misfit::Fine(factors)) => {
                    self.bring_together(&mut search, &factors)?;
                    continue;
                }
            };
            let rounded = self.rounded(id, &search, &units.unit)?;
            let sources: Vec<NodeId> = search.encode.iter().map(|(e, _)| *e).chain(search.terms.iter().map(|t| t.source)).collect();
            let reach = self.ranges.reach(self.graph, &Op::Layer(rounded.clone()), &sources, &search.shape);
            let excess: Vec<f64> = match &reach {
                Some(reach) => (0..channels).map(|c| self.excess(reach, layer.neuron.as_ref(), c)).collect(),
                None => vec![0.0; channels],
            };
            let fits = excess.iter().all(|&e| e <= 1.0);
            let is_fine = !self.make_finer(&mut search, &units)?;
            if fits && is_fine {
                return self.settle(id, &search, rounded, units.unit, &sources);
            }
            for c in (0..channels).filter(|&c| excess[c] > 1.0) {
                search.least[c] = units.unit[c] * excess[c] * ROUNDED_UP;
            }
        }
        let reason = "no integers of 32 bits hold its current over the window; a shorter window (--timesteps) leaves each step \
                      more of them, --weights f32 needs none";
        Err(PassError::node(self.graph, id, reason))
    }

    fn settle(&mut self, id: NodeId, search: &Search, rounded: Layer, unit: Vec<f64>, sources: &[NodeId]) -> Result<(), PassError> {
        if let Some((encode, _)) = search.encode {
            self.set_encode(encode, &unit)?;
        }
        let synapses = rounded.synapses.iter().skip(usize::from(search.encode.is_some()));
        let terms: Vec<(usize, Option<Vec<f64>>, Op)> =
            search.terms.iter().zip(synapses).map(|(t, s)| (t.operand, self.units.get(&t.source).cloned(), s.clone())).collect();
        let coarse =
            search.terms.iter().zip(&terms).filter(|(t, _)| t.origin != t.source).map(|(_, (.., s))| squares_per_row(s, search.channels));
        let threshold = match &rounded.neuron {
            Some(_) => unit.iter().map(|u| ((1.0 / u).round().max(1.0) * u - 1.0).abs()).fold(0.0, f64::max),
            None => 0.0,
        };
        self.layers.push(Quantized { id, coarse: coarse.sum(), terms, bias: rounded.bias.clone(), unit: unit.clone(), threshold });
        if rounded.neuron.is_none() {
            self.units.insert(id, unit);
        }
        self.graph.rewrite(id, Op::Layer(rounded), sources)?;
        self.note(id);
        Ok(())
    }

    /// Steps of a threshold at most, where encoded currents arrive or not.
    fn most_steps(&self, is_encoded: bool) -> f64 {
        if is_encoded { MOST_STEPS.min(f64::from(self.encode_limit()) / ENCODED_THRESHOLDS) } else { MOST_STEPS }
    }

    /// How many times too large the integers of channel `c` may become.
    fn excess(&self, reach: &Reach, neuron: Option<&Neuron>, c: usize) -> f64 {
        let (low, high) = reach.current_of(c);
        let peak = high.max(low.saturating_neg()) as f64 / self.largest_potential as f64;
        let steps = f64::from(self.timesteps);
        match neuron {
            // The sum over the window is what engines compute where all neurons wait for it.
            None => peak * steps,
            Some(_) if f64::from(reach.steps_of(c)) >= steps => peak,
            // What accumulates does so evenly.
            Some(_) => (steps / f64::from(reach.steps_of(c).max(1))).max(peak).max(1.01),
        }
    }

    /// What channel `c` of a plain synapse's result is per integer of its source.
    fn through(&self, search: &Search, term: &Term, c: usize) -> f64 {
        unit_of(self.units.get(&term.source), c) * self.factor(search, term, c)
    }

    /// What a synapse without a weight matrix multiplies a current by, once its divisor is left to the unit.
    fn factor(&self, search: &Search, term: &Term, c: usize) -> f64 {
        let source = &self.graph.ty(term.source).shape;
        match &term.synapse {
            Op::Scale(s) => match along_axis(s.weight.as_ref(), &search.shape, 0, 1.0) {
                Some(weights) => f64::from(weights[c].abs()),
                None => s.weight.as_ref().map_or(1.0, |w| step(w.as_f32().iter().map(|&v| v.into()))),
            },
            Op::AvgPool(AvgPool { window, divisor }) if *divisor != Divisor::One => 1.0 / window.taps() as f64,
            Op::Reduce(r) if r.mean => 1.0 / r.axes.iter().map(|&a| source[a]).product::<usize>() as f64,
            _ => 1.0,
        }
    }

    /// Whether a term passes on what has a unit already: a current, or a sum over spikes.
    fn is_passed_on(&self, term: &Term) -> bool {
        is_plain(&term.synapse) && (self.is_current(term.source) || is_sum(&term.synapse))
    }

    /// Whether a term that neurons read makes less than a step of their threshold in the whole window, as
    /// channels do that a batch-norm has switched off.
    fn is_negligible(&self, search: &Search, term: &Term, c: usize) -> bool {
        let magnitudes = self.ranges.magnitudes(term.source, self.channels(term.source));
        let magnitude = magnitudes[c.min(magnitudes.len() - 1)] as f64;
        let most = magnitude * self.through(search, term, c) * f64::from(self.timesteps);
        search.layer.neuron.is_some() && !is_sum(&term.synapse) && most < 1.0 / THRESHOLD_STEPS
    }

    /// The finest unit of each channel that its terms, its threshold and [`Search::least`] allow.
    fn units_of(&self, search: &Search) -> Result<Units, Misfit> {
        let channels = search.channels;
        let neuron = search.layer.neuron.is_some();
        let weighted = || search.terms.iter().filter(|t| !is_plain(&t.synapse));
        let mut sizes = vec![Size::default(); channels];
        for term in weighted() {
            let Some(rows) = Rows::of(&term.synapse, &search.shape) else { continue };
            let magnitudes = self.ranges.magnitudes(term.source, self.channels(term.source));
            let of_term = rows.sizes(self.units.get(&term.source), &magnitudes, channels);
            sizes.iter_mut().zip(of_term).for_each(|(s, t)| *s = s.and(t));
        }
        let largest: Vec<f64> = sizes.iter().map(|s| s.largest).collect();
        // Currents are integers of many bits: weights that multiply them gain nothing by being bytes.
        let reads_currents = weighted().any(|t| self.is_current(t.source));
        let finest_weight = match neuron && !reads_currents {
            true => self.range.of(weighted().map(|t| &t.synapse)),
            false => FINE_WEIGHT.min(self.largest_weight),
        };
        let can_lose_bits = search.terms.iter().any(|t| self.is_current(t.source));
        let limit = f64::from(self.encode_limit());
        let most_steps = self.most_steps(search.encode.is_some());
        let mut too_fine = vec![1.0; channels];
        let mut units = Units { unit: vec![0.0; channels], slack: vec![f64::INFINITY; channels] };
        for c in 0..channels {
            let passed: Vec<f64> = search
                .terms
                .iter()
                .filter(|t| self.is_passed_on(t) && !self.is_negligible(search, t, c))
                .map(|t| self.through(search, t, c))
                .filter(|&t| t > 0.0)
                .collect();
            if !passed.is_empty() {
                match self.unit_of_passed(search, c, &passed, &sizes[c])? {
                    Passed::Fits { unit, slack } => (units.unit[c], units.slack[c]) = (unit, slack),
                    Passed::Fine(factor) => too_fine[c] = factor,
                }
                continue;
            }
            let unit = &mut units.unit[c];
            *unit = match largest[c] {
                0.0 => self.scaled_spikes(search, c),
                largest => largest / finest_weight,
            };
            *unit = unit.max(search.least[c]).max(self.passed_spike(search, c) / self.largest_spike_weight);
            if let Some((_, seen)) = search.encode {
                *unit = unit.max(seen * HEADROOM / limit);
            }
            // A whole number of steps to the threshold, so that θ itself is not rounded.
            if neuron && *unit < 1.0 {
                *unit = unit.max(1.0 / most_steps);
                *unit = 1.0 / ((1.0 + FLOAT_NOISE) / *unit).floor();
            }
            if can_lose_bits {
                units.slack[c] = if largest[c] > 0.0 { sizes[c].fidelity(*unit) / FIDELITY } else { 1.0 };
            }
        }
        if too_fine.iter().any(|&f| f > 1.0) {
            return Err(Misfit::Fine(too_fine));
        }
        if search.one_unit {
            self.share_unit(search, &mut units)?;
        }
        Ok(units)
    }

    /// The unit of channel `c`, to which currents are passed on that count `passed` per integer; `size` is
    /// that of the weights beside them.
    fn unit_of_passed(&self, search: &Search, c: usize, passed: &[f64], size: &Size) -> Result<Passed, Misfit> {
        let common = common_unit(passed).ok_or(Misfit::Apart)?;
        let sums = search.terms.iter().filter(|t| is_sum(&t.synapse)).map(|t| self.through(search, t, c));
        if sums.clone().any(|through| (through / common - 1.0).abs() > WHOLE) {
            return Err(Misfit::Apart);
        }
        // The current is divided: its threshold must have enough steps, and weights beside it, too.
        let steps = |count: f64| if search.layer.neuron.is_some() { (common * count).ceil() } else { 1.0 };
        let for_weights = (FIDELITY / size.fidelity(common)).ceil().min(self.largest_weight);
        let needed = for_weights.max(steps(LEAST_STEPS)).max(1.0);
        let mut most = (common / search.least[c]).floor().min(self.largest_weight * common / size.largest).floor();
        if sums.count() > 0 {
            most = most.min(1.0);
        }
        if most < 1.0 {
            let factor = (search.least[c] / common).max(size.largest / (self.largest_weight * common));
            return Ok(Passed::Fine(factor.log2().ceil().max(1.0).exp2()));
        }
        let parts = steps(THRESHOLD_STEPS).max(needed).min(most);
        Ok(Passed::Fits { unit: common / parts, slack: parts / needed })
    }

    /// The largest factor of spikes that are passed on to channel `c`.
    fn passed_spike(&self, search: &Search, c: usize) -> f64 {
        let passed = search.terms.iter().filter(|t| is_plain(&t.synapse) && !self.is_passed_on(t));
        passed.map(|t| f64::from(spike_factor(t, &search.shape, c))).fold(0.0, f64::max)
    }

    /// The unit where only spikes are passed on, each times a factor.
    fn scaled_spikes(&self, search: &Search, c: usize) -> f64 {
        let largest = search.terms.iter().map(|t| spike_factor(t, &search.shape, c)).fold(0f32, f32::max);
        let finest = 1.0 / FINEST_THRESHOLD;
        if largest > 0.0 { finest * f64::from(largest) } else { finest }
    }

    /// One unit for all channels.
    fn share_unit(&self, search: &Search, units: &mut Units) -> Result<(), Misfit> {
        let coarsest = units.unit.iter().copied().fold(0.0, f64::max);
        let finest = units.unit.iter().copied().fold(f64::INFINITY, f64::min);
        let passed: Vec<&Term> = search.terms.iter().filter(|t| self.is_passed_on(t)).collect();
        for term in &passed {
            let first = self.through(search, term, 0);
            if (1..search.channels).any(|c| (self.through(search, term, c) / first - 1.0).abs() > SAME) {
                return Err(Misfit::Apart);
            }
        }
        let is_fine = search.layer.neuron.is_none() && passed.is_empty();
        let least = search.least.iter().copied().fold(0.0, f64::max);
        let shared = if is_fine { finest.max(coarsest / SHARED).max(least) } else { coarsest };
        units.slack.iter_mut().zip(&units.unit).for_each(|(slack, unit)| *slack *= unit / shared);
        units.unit.fill(shared);
        Ok(())
    }

    /// Brings all currents that are passed on to the coarsest of their units, times a factor per channel.
    fn bring_together(&mut self, search: &mut Search, factors: &[f64]) -> Result<(), PassError> {
        let plain: Vec<usize> = (0..search.terms.len()).filter(|&t| self.is_passed_on(&search.terms[t])).collect();
        let through: Vec<Vec<f64>> =
            plain.iter().map(|&t| (0..search.channels).map(|c| self.through(search, &search.terms[t], c)).collect()).collect();
        let mut target: Vec<f64> = (0..search.channels).map(|c| through.iter().map(|t| t[c]).fold(0.0, f64::max) * factors[c]).collect();
        if search.one_unit {
            let coarsest = target.iter().copied().fold(0.0, f64::max);
            target.fill(coarsest);
        }
        for t in plain {
            let term = &search.terms[t];
            let own = self.units.get(&term.source).cloned();
            let count = own.as_ref().map_or(1, Vec::len);
            let wanted = |c: usize| {
                let at = c.min(search.channels - 1);
                let factor = self.factor(search, term, at);
                if factor > 0.0 { target[at] / factor } else { unit_of(own.as_ref(), c) }
            };
            let wanted: Vec<f64> = (0..count.max(self.channels(term.source))).map(wanted).collect();
            let (source, origin) = (term.source, term.origin);
            search.terms[t].source = if self.is_current(source) { self.in_unit(origin, &wanted)? } else { source };
        }
        Ok(())
    }

    /// Takes bits off currents where what reads them is too coarse beside them: its unit cannot be finer, since its
    /// potential must fit and its threshold has so many steps at most. Says whether there was something to do.
    fn make_finer(&mut self, search: &mut Search, units: &Units) -> Result<bool, PassError> {
        let wanted = |slack: f64| if slack < 1.0 && slack > 0.0 { (1.0 / slack).log2().ceil().max(1.0) } else { 0.0 };
        let bits = units.slack.iter().map(|&s| wanted(s)).fold(0.0, f64::max);
        let can_lose = |t: &&Term| self.is_current(t.source) && self.ranges.magnitude(t.source) >= 2 * LEAST_LEVELS;
        if bits == 0.0 || !search.terms.iter().any(|t| can_lose(&t)) {
            return Ok(false);
        }
        if search.terms.iter().filter(can_lose).any(|t| is_plain(&t.synapse)) {
            let factors: Vec<f64> = units.slack.iter().map(|&s| wanted(s).exp2()).collect();
            self.bring_together(search, &factors)?;
        }
        self.take_bits_off(search, bits)?;
        Ok(true)
    }

    /// Takes bits off the currents that weights multiply.
    fn take_bits_off(&mut self, search: &mut Search, bits: f64) -> Result<(), PassError> {
        for t in 0..search.terms.len() {
            let (origin, source) = (search.terms[t].origin, search.terms[t].source);
            if is_plain(&search.terms[t].synapse) || !self.is_current(source) {
                continue;
            }
            let own = self.units[&source].clone();
            let mut magnitudes = self.ranges.magnitudes(source, own.len());
            if matches!(search.terms[t].synapse, Op::Linear(_)) && search.shape.len() > 1 {
                // Its weights are the same for all channels.
                let largest = magnitudes.iter().copied().max().unwrap_or(0);
                magnitudes.fill(largest);
            }
            // Channels of small integers keep theirs: no channel has more levels than the others.
            let levels = (magnitudes.iter().copied().max().unwrap_or(0) >> bits.min(62.0) as u32).max(LEAST_LEVELS);
            let unit = |(u, m): (&f64, &i64)| u * f64::from(bits_to_lose(*m, levels)).exp2();
            let unit: Vec<f64> = own.iter().zip(&magnitudes).map(unit).collect();
            search.terms[t].source = self.in_unit(origin, &unit)?;
        }
        Ok(())
    }

    /// The layer in integers of `unit`; the encoded prefix, if there is one, is its first term.
    fn rounded(&self, id: NodeId, search: &Search, unit: &[f64]) -> Result<Layer, PassError> {
        let shape = &search.shape;
        let mut synapses: Vec<Op> = search.encode.iter().map(|_| Op::Identity).collect();
        for term in &search.terms {
            let source = self.units.get(&term.source);
            synapses.push(match (&term.synapse, Rows::of(&term.synapse, shape)) {
                (_, Some(rows)) => rows.rounded(source, unit),
                (Op::Identity, _) => rounded_factor(None, source, unit, shape),
                (Op::Scale(s), _) => rounded_factor(s.weight.as_ref(), source, unit, shape),
                // A sum has no weight that could bring it into another unit than its source's, which this is.
                (Op::AvgPool(p), _) => Op::AvgPool(AvgPool { window: p.window.clone(), divisor: Divisor::One }),
                (Op::Reduce(r), _) => Op::Reduce(Reduce { mean: false, ..r.clone() }),
                (other, _) => return Err(PassError::node(self.graph, id, format!("a {} synapse has no integer form", other.name()))),
            });
        }
        let bias = search.layer.bias.as_ref().map(|b| in_units(b, unit, shape)).filter(|b| b.values().any(|v| v != 0.0));
        let neuron = search.layer.neuron.as_ref().map(|n| neuron_in_units(n, unit, shape));
        Ok(Layer { synapses, bias, neuron })
    }
}
