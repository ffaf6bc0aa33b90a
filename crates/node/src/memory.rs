//! The allocator of the service, and how much it has given out.
//!
//! `/mem` must say what the process has allocated and not freed. Counting that in an allocator of
//! our own needs `unsafe`, which this workspace forbids; the resident set of the process is
//! another number, with pages that were freed long ago. jemalloc counts by itself, per thread and
//! without contention, and takes the place of `malloc` as well, so that what C code holds
//! (cryptography) is in the sum. Sizes are counted as given out, rounded up to their class.

#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Bytes that are allocated and not freed.
///
/// # Errors
/// The allocator was built without statistics, which ours is not.
#[cfg(feature = "jemalloc")]
pub(crate) fn allocated_bytes() -> Result<usize, tikv_jemalloc_ctl::Error> {
    use tikv_jemalloc_ctl::{epoch, stats};

    // Statistics are a snapshot, taken when the epoch advances.
    epoch::advance()?;
    stats::allocated::read()
}

/// Nobody has counted them.
#[cfg(not(feature = "jemalloc"))]
pub(crate) const fn allocated_bytes() -> Result<usize, &'static str> {
    Err("this program was built without the feature jemalloc")
}

#[cfg(all(test, feature = "jemalloc"))]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_counted_and_what_is_freed_is_not() {
        const HELD: usize = 64 << 20;
        let before = allocated_bytes().unwrap();
        let held = vec![1_u8; HELD];
        let between = allocated_bytes().unwrap();
        // Other tests of this process allocate and free meanwhile, far less than a quarter of it.
        assert!(between >= before + HELD / 4 * 3, "{before} {between}");
        drop(held);
        assert!(allocated_bytes().unwrap() < between - HELD / 2);
    }
}
