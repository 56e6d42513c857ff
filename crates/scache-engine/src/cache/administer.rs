//! What is answered about the cache itself. Nobody waits long for who looks: each answer looks at a limited
//! number of entries and says where to go on.

use std::time::Instant;

use scache_proto::administration::{Administration, Listed, Names, encode_next};
use scache_proto::attr::Attributes;
use scache_proto::entries::{BindingEntry, ConnectionEntry, DestinationEntry, SettingEntry};
use scache_proto::server::Answer;
use scache_proto::stats::Stats;
use scache_store::Statistics;

use super::lives::Moment;
use super::portion::Portion;
use super::{Cache, HandedOut, Pass};
use crate::{Host, Kernel, Settings};

/// How many entries one answer tells.
const ENTRIES: usize = 64;

/// How many steps one answer takes: each place that it looks at is one, and each binding that it walks.
const STEPS: usize = 1024;

/// How many bytes of a name are compared in one step.
const BYTES_PER_STEP: usize = 64;

/// Returns how many places may be looked at whose names are compared with one of so many bytes.
fn places(bytes: usize) -> usize {
    (STEPS / (1 + bytes / BYTES_PER_STEP)).max(1)
}

/// What the cache does not know by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) settings: &'a Settings,
    pub(crate) clients: usize,
    /// Clients that were accepted and wait for a slot.
    pub(crate) waiting: usize,
    pub(crate) listeners: usize,
}

impl<D> Cache<D> {
    pub(crate) fn administer<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        administration: Administration<'_>,
        surroundings: Surroundings<'_>,
    ) -> Answer<HandedOut<D>> {
        // What is told is what a find would come to.
        self.store.expire(pass.now);
        self.settle(pass);
        let mut report = Attributes::default();
        match administration {
            Administration::Stats => {
                self.snapshot(Some(pass.now), surroundings)
                    .encode(&mut report);
            }
            Administration::List { what, prefix, from } => {
                let prefix = Names::Begin(prefix);
                let next = u32::try_from(from).ok().and_then(|from| {
                    let settings = surroundings.settings;
                    self.list(pass, settings, what, &prefix, from, &mut report)
                });
                if let Some(next) = next {
                    encode_next(&mut report, u64::from(next));
                }
            }
            Administration::Events { from } => self.journal.tell(pass.now, from, &mut report),
            Administration::Purge { names, from } => {
                let places = places(names.as_bytes().len());
                let purged = self
                    .store
                    .purge(&names, from, places, Self::PARTINGS_AT_ONCE);
                self.stats.bindings_purged += purged.bindings;
                self.settle(pass);
                purged.encode(&mut report);
            }
            Administration::Drain { on } => self.draining = on,
        }
        Answer::Report(report)
    }

    fn list<K: Kernel<Descriptor = D>, H: Host>(
        &mut self,
        pass: &mut Pass<'_, K, H>,
        settings: &Settings,
        what: Listed,
        prefix: &Names<'_>,
        from: u32,
        report: &mut Attributes,
    ) -> Option<u32> {
        let now = pass.now;
        let mut portion = Portion::new(report, ENTRIES);
        let places = places(prefix.as_bytes().len());
        match what {
            Listed::Connections => self.store.look_at_connections(now, from, places, |view| {
                if !prefix.contain(view.endpoint) {
                    return true;
                }
                let kept = view.handle;
                let history = self.history(now, kept);
                let entry = ConnectionEntry {
                    number: u64::from(view.slot),
                    endpoint: view.endpoint.into(),
                    age: history.map_or(view.age, |history| history.age),
                    left: view.deadline.saturating_duration_since(now),
                    taken: history.map_or(0, |history| history.taken.into()),
                    peer: pass.kernel.peer(&kept.descriptor),
                };
                portion.tell(&entry);
                !portion.is_full()
            }),
            Listed::Bindings => self.store.look_at_bindings(from, places, |view| {
                if !prefix.contain(view.destination) {
                    return true;
                }
                let entry = BindingEntry {
                    number: u64::from(view.slot),
                    destination: view.destination.into(),
                    endpoint: view.endpoint.into(),
                    left: view.deadline.saturating_duration_since(now),
                };
                portion.tell(&entry);
                !portion.is_full()
            }),
            Listed::Settings => {
                list_settings(&settings.described, prefix, from as usize, &mut portion)
            }
            Listed::Destinations => {
                let mut steps = STEPS;
                self.store.look_at_destinations(from, places, |view| {
                    if !prefix.contain(view.destination) {
                        return true;
                    }
                    let (connections, walked) = self.store.connections_of(view.destination);
                    steps = steps.saturating_sub(walked);
                    let entry = DestinationEntry {
                        number: u64::from(view.slot),
                        destination: view.destination.into(),
                        hits: view.hits,
                        misses: view.misses,
                        cached: connections as u64,
                    };
                    portion.tell(&entry);
                    steps > 0 && !portion.is_full()
                })
            }
        }
    }

    /// All that is counted, with how much there is now.
    pub(crate) fn snapshot(&self, now: Option<Instant>, surroundings: Surroundings<'_>) -> Stats {
        let Surroundings {
            settings,
            clients,
            waiting,
            listeners,
        } = surroundings;
        let counts = self.store.counts();
        let tally = self.store.tally();
        let mut stats = self.stats.clone();
        add_interval(&mut stats, self.store.statistics());
        let number = |number: usize| number as u64;
        stats.version = env!("CARGO_PKG_VERSION").to_owned();

        let now = now.unwrap_or(self.began);
        stats.uptime_seconds = now.saturating_duration_since(self.began).as_secs();
        stats.draining = u64::from(self.draining);
        stats.connections = number(counts.connections);
        stats.connection_limit = number(settings.connection_limit);
        stats.bindings = number(counts.bindings);
        stats.binding_limit = number(settings.binding_limit);
        stats.ttl_limit_seconds = settings.ttl_limit.as_secs();
        stats.reuse_limit = u64::from(settings.reuse_limit);
        stats.lifetime_limit_seconds = settings.lifetime_limit.map_or(0, |limit| limit.as_secs());
        stats.max_idle_seconds = settings.max_idle.map_or(0, |time| time.as_secs());
        stats.destinations = number(counts.destinations);
        stats.endpoints = number(counts.endpoints);
        stats.name_bytes = number(counts.bytes);
        stats.name_byte_limit = number(Self::BYTES);
        stats.partings = number(self.partings.len());
        stats.clients = number(clients);
        stats.client_limit = number(settings.client_limit);
        stats.descriptors =
            number(counts.connections + self.partings.len() + clients + waiting + listeners);
        stats.descriptor_limit = settings.descriptor_limit.unwrap_or(0);

        stats.connections_saved = tally.connections_saved;
        stats.bindings_saved = tally.bindings_saved;
        stats.bindings_renewed = tally.bindings_renewed;
        stats.bindings_expired = tally.bindings_expired;
        stats.bindings_evicted = tally.bindings_evicted;
        stats.evicted_connection_limit = tally.evicted_for_connections;
        stats.evicted_endpoint_limit = tally.evicted_for_endpoint;
        stats.evicted_byte_limit = tally.evicted_for_bytes;
        stats.evicted_descriptors = tally.evicted_on_demand;
        stats.goodbyes_unanswered = self.partings.given_up();
        stats
    }

    /// A time as it is kept with a connection.
    pub(super) fn moment(&self, at: Instant) -> Moment {
        Moment(at.saturating_duration_since(self.began).as_millis() as u32)
    }
}

/// Tells settings from a place on. Returns where to go on.
fn list_settings(
    settings: &[SettingEntry],
    prefix: &Names<'_>,
    from: usize,
    portion: &mut Portion<'_>,
) -> Option<u32> {
    for (number, setting) in (0..).zip(settings).skip(from) {
        if portion.is_full() {
            return Some(number);
        }
        if prefix.contain(setting.name.as_bytes()) {
            portion.tell(&SettingEntry {
                number: u64::from(number),
                ..setting.clone()
            });
        }
    }
    None
}

/// Adds an interval of the store's own statistics.
pub(super) fn add_interval(stats: &mut Stats, interval: &Statistics) {
    stats.destination_hits += interval.destination_hits;
    stats.destination_misses += interval.destination_misses;
    stats.endpoint_hits += interval.endpoint_hits;
    stats.endpoint_misses += interval.endpoint_misses;
    let most = interval.most_connections as u64;
    stats.connections_most = stats.connections_most.max(most);
}
