//! Where a job that is done a second time gets its destination from.

/// Destinations to fall back on, while a device may still write the first one.
pub trait Spares<D>: Send {
    /// A destination of at least `len_bytes`, if there is one now. Its content does not matter.
    fn take(&mut self, len_bytes: usize) -> Option<D>;

    /// Takes back a destination whose job was done elsewhere; its content is of no use.
    fn give(&mut self, destination: D);
}

/// A fixed number of spare destinations, each as long as any job needs.
pub struct Shelf<D> {
    spares: Vec<D>,
}

impl<D> Shelf<D> {
    /// A shelf with these on it.
    pub fn new(spares: Vec<D>) -> Self {
        Self { spares }
    }
}

impl<D: Send> Spares<D> for Shelf<D> {
    fn take(&mut self, _len_bytes: usize) -> Option<D> {
        self.spares.pop()
    }

    fn give(&mut self, destination: D) {
        self.spares.push(destination);
    }
}
