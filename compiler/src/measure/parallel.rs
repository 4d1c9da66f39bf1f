//! Samples spread over threads, results in the samples' order.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// A pool for `samples` samples of `threads` threads, or fewer where there would be nothing for them to do: each has buffers of its own.
///
/// # Errors
/// When the system gives no threads.
pub fn pool(threads: usize, samples: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new().num_threads(threads.min(samples).max(1)).build()
}

/// Applies `work` to `0..count` on every thread of `pool`, each with a state of its own made by `state` and a part of the result, all of which
/// are returned. Memory does not grow with `count` where a part does not.
///
/// # Errors
/// The error of `work` for the lowest index that failed; remaining indices are then left out.
pub fn fold_samples<S, A: Default + Send, E: Send>(
    pool: &ThreadPool,
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, &mut A, usize) -> Result<(), E> + Sync,
) -> Result<Vec<A>, E> {
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(None::<(usize, E)>));
    let stop = AtomicBool::new(false);
    let parts = pool.broadcast(|_| {
        let (mut state, mut part) = (state(), A::default());
        // Indices are handed out in order and a failure only stops later ones: the lowest failing index is always tried.
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            if let Err(error) = work(&mut state, &mut part, index) {
                stop.store(true, Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                if failed.as_ref().is_none_or(|(lowest, _)| index < *lowest) {
                    *failed = Some((index, error));
                }
            }
        }
        part
    });
    match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, error)) => Err(error),
        None => Ok(parts),
    }
}

/// Applies `work` to `0..count` on every thread of `pool`, each with a state of its own made by `state`. The results are in
/// order whatever the number of threads; so is the error: the one of the lowest index that was tried.
///
/// # Errors
/// The first error of `work`; remaining indices are then left out.
pub fn for_each_sample<S, R: Send, E: Send>(
    pool: &ThreadPool,
    count: usize,
    state: impl Fn() -> S + Sync,
    work: impl Fn(&mut S, usize) -> Result<R, E> + Sync,
) -> Result<Vec<R>, E> {
    let parts = fold_samples(pool, count, state, |state, part: &mut Vec<(usize, R)>, index| {
        part.push((index, work(state, index)?));
        Ok(())
    })?;
    let mut results: Vec<(usize, R)> = parts.into_iter().flatten().collect();
    results.sort_unstable_by_key(|(index, _)| *index);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

/// A sum over samples that is taken in their order, whichever thread comes first: floating-point sums depend on it.
pub(super) struct InOrder<T, A>(Mutex<Pending<T, A>>);

struct Pending<T, A> {
    next: usize,
    /// Samples that came before their turn: few, as threads are handed samples in order.
    early: BTreeMap<usize, T>,
    sum: A,
}

impl<T, A> InOrder<T, A> {
    /// A sum over nothing yet.
    pub fn new(sum: A) -> Self {
        InOrder(Mutex::new(Pending { next: 0, early: BTreeMap::new(), sum }))
    }

    /// Takes sample `index`, and adds by `add` all whose turn it is.
    pub fn take(&self, index: usize, sample: T, add: impl Fn(&mut A, usize, T)) {
        let mut pending = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = &mut *pending;
        pending.early.insert(index, sample);
        while let Some(sample) = pending.early.remove(&pending.next) {
            add(&mut pending.sum, pending.next, sample);
            pending.next += 1;
        }
    }

    /// The sum over all.
    pub fn finish(self) -> A {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner).sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_the_first_failure_wins_whatever_the_thread_count() {
        for threads in [1, 3] {
            let pool = pool(threads, 100).unwrap();
            let squares: Result<Vec<usize>, ()> = for_each_sample(&pool, 100, || (), |(), i| Ok(i * i));
            assert_eq!(squares.unwrap(), (0..100).map(|i| i * i).collect::<Vec<_>>());
            let failure = for_each_sample(&pool, 100, || (), |(), i| if i % 10 == 7 { Err(i) } else { Ok(()) });
            assert_eq!(failure, Err(7));
        }
    }

    #[test]
    fn a_sum_in_order_takes_samples_in_order_whoever_comes_first() {
        let sum = InOrder::new(Vec::new());
        [2, 0, 3, 1].into_iter().for_each(|i| sum.take(i, i * i, |all: &mut Vec<_>, index, square| all.push((index, square))));
        assert_eq!(sum.finish(), [(0, 0), (1, 1), (2, 4), (3, 9)]);
    }
}
