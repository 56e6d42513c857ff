//! What was cached elsewhere, as the requests that save it again with what is left of its time.

use std::time::Instant;

use scache_proto::reply::History;
use scache_proto::{Label, Property, Request, Ttl, ValueError};
use scache_store::Bound;

/// The request that saves a connection which is cached until `deadline`.
///
/// # Errors
/// [`ValueError`] if nothing is left of its time, or if it has no name that can be said.
pub(crate) fn save_connection<'a>(
    endpoint: &'a [u8],
    property: &'a [u8],
    history: Option<History>,
    deadline: Instant,
    now: Instant,
) -> Result<Request<'a>, ValueError> {
    Ok(Request::SaveEndpoint {
        ttl: remaining(deadline, now)?,
        endpoint: Label::new(endpoint)?,
        property: Property::new(property)?,
        history,
    })
}

/// The request that saves a binding.
///
/// # Errors
/// Likewise.
pub(crate) fn save_binding(bound: &Bound, now: Instant) -> Result<Request<'_>, ValueError> {
    Ok(Request::SaveDestination {
        ttl: remaining(bound.deadline, now)?,
        destination: Label::new(&bound.destination)?,
        property: Property::new(&bound.property)?,
        endpoint: Label::new(&bound.endpoint)?,
    })
}

fn remaining(deadline: Instant, now: Instant) -> Result<Ttl, ValueError> {
    Ttl::from_remaining(deadline.saturating_duration_since(now))
}
