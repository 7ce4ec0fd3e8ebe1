//! Moments ahead. A span may be as long as its type holds, to say that something has no end; the
//! clock has one.

use std::time::{Duration, Instant};

/// As good as for ever.
const AGE: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The moment `span` after `start`, or one that nobody lives to see.
pub(crate) fn after(start: Instant, span: Duration) -> Instant {
    start.checked_add(span).unwrap_or_else(|| start + AGE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_without_end_ends_in_an_age() {
        let now = Instant::now();
        assert_eq!(after(now, Duration::from_secs(1)), now + Duration::from_secs(1));
        assert_eq!(after(now, Duration::MAX), now + AGE);
    }
}
