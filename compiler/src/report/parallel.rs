//! Samples spread over threads, results in the samples' order.

use rayon::{ThreadPool, ThreadPoolBuildError, ThreadPoolBuilder};
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A pool of `threads` threads.
pub(super) fn pool(threads: usize) -> Result<ThreadPool, ThreadPoolBuildError> {
    ThreadPoolBuilder::new().num_threads(threads).build()
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
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let results = Mutex::new(Vec::with_capacity(count));
    pool.broadcast(|_| {
        let mut state = state();
        let mut mine = Vec::new();
        // Indices are handed out in order and a failure only stops later ones: the lowest failing index is always tried.
        while !failed.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= count {
                break;
            }
            let result = work(&mut state, index);
            failed.fetch_or(result.is_err(), Ordering::Relaxed);
            mine.push((index, result));
        }
        results.lock().unwrap_or_else(PoisonError::into_inner).extend(mine);
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_in_order_and_the_first_failure_wins_whatever_the_thread_count() {
        for threads in [1, 3] {
            let pool = pool(threads).unwrap();
            let squares: Result<Vec<usize>, ()> = for_each_sample(&pool, 100, || (), |(), i| Ok(i * i));
            assert_eq!(squares.unwrap(), (0..100).map(|i| i * i).collect::<Vec<_>>());
            let failure = for_each_sample(&pool, 100, || (), |(), i| if i % 10 == 7 { Err(i) } else { Ok(()) });
            assert_eq!(failure, Err(7));
        }
    }
}
