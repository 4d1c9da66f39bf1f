//! How long a sample takes.

use super::parallel::{for_each_sample, pool};
use crate::data::Samples;
use serde::Serialize;
use snn_runtime::{Network, RunError};
use std::time::Instant;
use thiserror::Error;

/// Why a benchmark stopped.
#[derive(Debug, Error)]
pub enum BenchError {
    /// The engine refused a sample.
    #[error(transparent)]
    Run(#[from] RunError),
    /// No threads could be started.
    #[error("cannot start threads")]
    Threads(#[from] rayon::ThreadPoolBuildError),
}

/// What to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BenchRequest {
    /// T.
    pub timesteps: u32,
    /// Number of threads.
    pub threads: usize,
    /// Samples per round, spread over the threads.
    pub batch: usize,
    /// Rounds that count; one more goes before them.
    pub rounds: usize,
}

/// Milliseconds of wall-clock time per sample, over rounds.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bench {
    /// T.
    pub timesteps: u32,
    /// Number of threads.
    pub threads: usize,
    /// Samples per round.
    pub batch: usize,
    /// Number of rounds.
    pub rounds: usize,
    /// Median round.
    pub ms_per_sample: f64,
    /// Fastest round.
    pub min: f64,
    /// Slowest round.
    pub max: f64,
}

/// Times whole windows, from input to potentials. Rounds take turns among `samples` (an array for each input), so that no branch predictor knows a
/// sample by heart.
///
/// # Errors
/// When the engine refuses a sample.
///
/// # Panics
/// Without samples, or with a batch or a number of rounds of zero.
pub fn bench(network: &Network, samples: &Samples, request: BenchRequest) -> Result<Bench, BenchError> {
    let BenchRequest { timesteps, threads, batch, rounds } = request;
    assert!(!samples.is_empty() && batch > 0 && rounds > 0);
    let pool = pool(threads, batch)?;
    let threads = pool.current_num_threads();
    let samples: Vec<Vec<&[f32]>> = samples.iter().collect();
    let run = |session: &mut snn_runtime::Session<'_>, sample: usize| {
        session.start(&samples[sample % samples.len()])?;
        session.advance(timesteps)?;
        Ok::<_, RunError>(std::hint::black_box(session.potentials()).len())
    };
    // Sessions are made once: their buffers belong to the warm state that is measured.
    let sessions: Vec<_> = (0..threads).map(|_| std::sync::Mutex::new(network.session())).collect();
    let own_session = || {
        let at = rayon::current_thread_index().unwrap_or(0);
        sessions[at].lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    };
    // Rounds run on the pool's own threads: waking one up for a sample would count as part of it.
    let mut times = pool.install(|| {
        let time = |round: usize| {
            let start = Instant::now();
            for_each_sample(&pool, batch, own_session, |session, i| run(session, round * batch + i))?;
            Ok::<f64, RunError>(start.elapsed().as_secs_f64() * 1e3 / batch as f64)
        };
        (0..=rounds).map(time).collect::<Result<Vec<f64>, RunError>>()
    })?;
    times.remove(0);
    times.sort_by(f64::total_cmp);
    let middle = rounds / 2;
    let median = if rounds % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2.0 };
    Ok(Bench { timesteps, threads, batch, rounds, ms_per_sample: median, min: times[0], max: times[rounds - 1] })
}
