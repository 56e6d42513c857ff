//! How much is done: everything that is counted has its number here.

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Pairs of measurements.
    pub(crate) rounds: usize,
    /// Cycles of one measurement, where a cycle takes some tens of microseconds.
    pub(crate) cycles: usize,
    /// The same where somebody looks each second.
    pub(crate) watched_cycles: usize,
    /// The same while stock has 100,000 entries and takes milliseconds.
    pub(crate) slow_cycles: usize,
    /// Cycles whose system calls are counted.
    pub(crate) traced_cycles: usize,
    /// Starts that are timed.
    pub(crate) starts: usize,
    /// Numbers of clients at once.
    pub(crate) clients: &'static [usize],
    /// The number of them that has a goal.
    pub(crate) many_clients: usize,
    /// Clients that idle.
    pub(crate) crowd: usize,
    /// Steps of filling a cache: connections, each with its binding.
    pub(crate) connections: &'static [usize],
    /// The last step of stock: connections, and bindings in all.
    pub(crate) large: Fill,
    /// The last step of ours.
    pub(crate) larger: Fill,
    /// Whether stock is filled as far as that, which takes it minutes.
    pub(crate) stock_fill: bool,
    /// Messages that a real Postfix delivers.
    pub(crate) messages: usize,
    /// Pairs of such deliveries.
    pub(crate) deliveries: usize,
}

/// What is cached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fill {
    pub(crate) connections: usize,
    pub(crate) bindings: usize,
}

impl Fill {
    /// Each connection with its binding.
    pub(crate) const fn paired(connections: usize) -> Self {
        Self {
            connections,
            bindings: connections,
        }
    }
}

impl Scale {
    /// What `make bench` does.
    pub const FULL: Self = Self {
        rounds: 7,
        cycles: 5_000,
        watched_cycles: 50_000,
        slow_cycles: 100,
        traced_cycles: 500,
        starts: 21,
        clients: &[1, 4, 16, 64, 256],
        many_clients: 64,
        crowd: 10_000,
        connections: &[100, 1_000, 3_000, 10_000],
        large: Fill {
            connections: 15_000,
            bindings: 85_000,
        },
        larger: Fill {
            connections: 15_000,
            bindings: 185_000,
        },
        stock_fill: true,
        messages: 2_000,
        deliveries: 5,
    };

    /// The same in small, to see that it works; its figures say nothing.
    pub const QUICK: Self = Self {
        rounds: 1,
        cycles: 50,
        watched_cycles: 500,
        slow_cycles: 10,
        traced_cycles: 20,
        starts: 1,
        clients: &[1, 4],
        many_clients: 4,
        crowd: 50,
        connections: &[10, 50, 100],
        large: Fill {
            connections: 150,
            bindings: 250,
        },
        larger: Fill {
            connections: 150,
            bindings: 500,
        },
        stock_fill: true,
        messages: 20,
        deliveries: 1,
    };
}
