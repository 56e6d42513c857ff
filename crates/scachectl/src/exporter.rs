//! `scachectl exporter`: what the cache counts, for Prometheus (`/metrics`) and for people (`/`).
//!
//! A process of its own, and a client of the cache like any other: the cache itself serves no HTTP. It reads, and
//! changes nothing.

mod connections;
mod history;
mod http;
mod listen;
mod metrics;
mod names;
mod source;
mod status;

use std::io;
use std::net::TcpListener;
use std::process::ExitCode;

use clap::Args;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::LocalSet;

use crate::failure::{Failure, Status};
use crate::socket::Socket;

use self::http::Site;
use self::listen::Listen;
use self::source::Source;

/// Serve what the cache counts over HTTP: /metrics for Prometheus, and / for people
///
/// It asks the cache only when it is asked itself, and keeps running when the cache is away (scache_up is 0 then).
/// Ends on SIGTERM and SIGINT.
#[derive(Debug, Args)]
pub(crate) struct Exporter {
    /// The address and port to listen on, or :PORT for all addresses. There is neither a password nor TLS: with an address that is not of
    /// this machine alone, everybody who reaches it sees to whom connections are cached
    #[arg(long, value_name = "ADDRESS:PORT", default_value = DEFAULT_LISTEN)]
    listen: Listen,

    /// Tell Prometheus of so many destinations one by one, the busiest; each is three series
    #[arg(long, value_name = "NUMBER", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1000))]
    destinations: u16,
}

/// Beyond 9100 to 10999, from which exporters are given theirs: all that is left there may be given out tomorrow.
const DEFAULT_LISTEN: &str = "127.0.0.1:19525";

impl Exporter {
    /// Serves until it is told to end.
    ///
    /// # Errors
    /// If it cannot listen.
    pub(crate) fn run(&self, socket: &Socket) -> Result<ExitCode, Failure> {
        let listener = self
            .listen
            .bind()
            .map_err(|error| self.no_listener(&error))?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(system)?;
        LocalSet::new().block_on(&runtime, self.serve(listener, socket))?;
        Ok(ExitCode::SUCCESS)
    }

    async fn serve(&self, listener: TcpListener, socket: &Socket) -> Result<(), Failure> {
        let mut terminate = signal(SignalKind::terminate()).map_err(system)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(system)?;
        listener.set_nonblocking(true).map_err(system)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(system)?;
        // Port 0 is another one by now.
        let address = listener.local_addr().map_err(system)?;
        eprintln!(
            "scachectl: serving {} on http://{address}/ and http://{address}/metrics",
            socket.path.display()
        );
        let site = Site::new(Source::new(socket), usize::from(self.destinations), address);
        tokio::task::spawn_local(site.serve(listener));
        either(&mut terminate, &mut interrupt).await;
        Ok(())
    }

    fn no_listener(&self, error: &io::Error) -> Failure {
        let address = &self.listen;
        match error.kind() {
            io::ErrorKind::AddrInUse => Failure::new(
                Status::Unavailable,
                format!(
                    "{address} is in use: end what listens there (`ss -ltnp` shows it), or choose another port with --listen"
                ),
            ),
            io::ErrorKind::PermissionDenied => Failure::new(
                Status::NoPermission,
                format!(
                    "may not listen on {address}: choose a port above 1023 with --listen, or run as root"
                ),
            ),
            io::ErrorKind::AddrNotAvailable => Failure::new(
                Status::Unavailable,
                format!(
                    "{address} is not an address of this machine (`ip address` shows them): choose another with --listen"
                ),
            ),
            _ => Failure::new(
                Status::System,
                format!("cannot listen on {address}: {error}: choose another with --listen"),
            ),
        }
    }
}

/// Waits for the first of two signals.
async fn either(first: &mut Signal, second: &mut Signal) {
    std::future::poll_fn(|context| {
        if first.poll_recv(context).is_ready() || second.poll_recv(context).is_ready() {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

fn system(error: io::Error) -> Failure {
    Failure::new(
        Status::System,
        format!("the system refuses what serving takes: {error}"),
    )
}
