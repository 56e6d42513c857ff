//! HTTP: who may ask for what, and how long they may take.

use std::convert::Infallible;
use std::fmt::Write;
use std::future::{Future, poll_fn};
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::task::yield_now;
use tokio::time::{sleep, sleep_until};

use super::connections::{Activity, Connections, Limits, Order, Watched};
use super::metrics::{Format, Scrape};
use super::source::Source;
use super::status::{Known, status};
use crate::labels::json_escaped;

/// Prometheus and browsers keep their connections and use them again.
const LIMITS: Limits = Limits {
    connections: 64,
    head: Duration::from_secs(5),
    quiet: Duration::from_secs(75),
    answer: Duration::from_secs(30),
    unread: Duration::from_secs(1),
};

/// Room for the head of a request.
const HEAD_BYTES: usize = 16 * 1024;

/// When there is no descriptor for another connection it is tried again after this time.
const NO_ROOM: Duration = Duration::from_millis(100);

const PAGE: &str = include_str!("page.html");

/// Stands in the page for what differs each time.
const NONCE: &str = "{nonce}";

type Answer = Response<Full<Bytes>>;

/// What answers.
#[derive(Debug)]
pub(super) struct Site {
    source: Mutex<Source>,
    /// How many destinations a scrape tells one by one.
    destinations: usize,
    /// Whether only programs of this machine can come: then they say so.
    local: bool,
}

impl Site {
    pub(super) fn new(source: Source, destinations: usize, address: SocketAddr) -> Self {
        Self {
            source: Mutex::new(source),
            destinations,
            local: address.ip().is_loopback(),
        }
    }

    /// Serves whoever comes, as long as it is polled.
    pub(super) async fn serve(self, listener: TcpListener) -> Infallible {
        self.serve_within(LIMITS, listener).await
    }

    pub(super) async fn serve_within(self, limits: Limits, listener: TcpListener) -> Infallible {
        let site = Rc::new(self);
        let connections = Connections::new(limits);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let place = connections.place().await;
                    let site = Rc::clone(&site);
                    tokio::task::spawn_local(async move {
                        site.connection(stream, place.activity()).await;
                        drop(place);
                    });
                    // A request that came along is seen before its connection can be taken for an idle one.
                    yield_now().await;
                }
                // Out of descriptors, or the other end has gone already.
                Err(_) => sleep(NO_ROOM).await,
            }
        }
    }

    /// Answers over a connection until it ends, or has taken too long over something, or is told to make room.
    async fn connection(&self, stream: TcpStream, activity: Rc<Activity>) {
        let service = service_fn(|request| {
            let activity = &activity;
            async move {
                activity.asked();
                let answer = self.answer(&request).await;
                activity.answered();
                Ok::<Answer, Infallible>(answer)
            }
        });
        let watched = Watched::new(stream, Rc::clone(&activity));
        let connection = http1::Builder::new()
            .header_read_timeout(None)
            .max_buf_size(HEAD_BYTES)
            .serve_connection(TokioIo::new(watched), service);
        let mut connection = pin!(connection);
        let mut timer = pin!(sleep_until(activity.deadline()));
        poll_fn(|context| {
            if activity.order(context.waker()) == Order::Finish {
                connection.as_mut().graceful_shutdown();
            }
            // What goes wrong with a connection is the other end's affair.
            if connection.as_mut().poll(context).is_ready() || activity.is_to_close() {
                return Poll::Ready(());
            }
            let deadline = activity.deadline();
            if timer.deadline() != deadline {
                timer.as_mut().reset(deadline);
            }
            timer.as_mut().poll(context)
        })
        .await;
    }

    async fn answer(&self, request: &Request<Incoming>) -> Answer {
        if self.local && !names_this_machine(request.headers()) {
            return refusal(
                StatusCode::MISDIRECTED_REQUEST,
                "This exporter serves its own machine: ask for localhost or 127.0.0.1, or give --listen another address.",
            );
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            let mut answer = refusal(
                StatusCode::METHOD_NOT_ALLOWED,
                "This exporter is only read from.",
            );
            let allowed = HeaderValue::from_static("GET, HEAD");
            answer.headers_mut().insert(header::ALLOW, allowed);
            return answer;
        }
        match request.uri().path() {
            "/" => page(),
            "/metrics" => self.metrics(request.headers()).await,
            // About this program: the cache is not asked.
            "/-/healthy" => answer(
                StatusCode::OK,
                "text/plain; charset=utf-8",
                "healthy\n".to_owned(),
            ),
            "/status.json" => self.status(request.uri().query()).await,
            _ => refusal(
                StatusCode::NOT_FOUND,
                "There is / for people and /metrics for Prometheus.",
            ),
        }
    }

    async fn metrics(&self, headers: &HeaderMap) -> Answer {
        let accept: Vec<&str> = headers
            .get_all(header::ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        let format = Format::accepted(&accept.join(","));
        let mut source = self.source.lock().await;
        let mut scrape = Scrape {
            stats: source.stats().await.stats.ok(),
            ..Scrape::default()
        };
        if scrape.stats.is_some() && self.destinations > 0 {
            let busiest = source.busiest().await.iter().take(self.destinations);
            scrape.destinations = busiest.cloned().collect();
        }
        drop(source);
        match scrape.text(format) {
            Ok(text) => answer(StatusCode::OK, format.content_type(), text),
            Err(_) => refusal(
                StatusCode::INTERNAL_SERVER_ERROR,
                "The metrics could not be written.",
            ),
        }
    }

    async fn status(&self, query: Option<&str>) -> Answer {
        let known = Known::parse(query.unwrap_or_default());
        let status = status(&mut *self.source.lock().await, known).await;
        let json = json_escaped(status.to_string());
        answer(StatusCode::OK, "application/json", json)
    }
}

/// A page of the web can have its name lead to 127.0.0.1 and then read what is served there. Its name is in the
/// request, though.
fn names_this_machine(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let Ok(host) = host.to_str() else {
        return false;
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok()
}

/// The page, with permission for its own script and style only.
fn page() -> Answer {
    let Some(nonce) = nonce() else {
        return refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "The system has no random numbers.",
        );
    };
    let text = PAGE.replace(NONCE, &nonce);
    let mut answer = answer(StatusCode::OK, "text/html; charset=utf-8", text);
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    answer
}

fn nonce() -> Option<String> {
    let mut bytes = [0; 16];
    let filled = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
    if filled != Ok(bytes.len()) {
        return None;
    }
    bytes.iter().try_fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").ok()?;
        Some(text)
    })
}

fn refusal(status: StatusCode, sentence: &str) -> Answer {
    answer(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
}

fn answer(status: StatusCode, content_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    for (name, value) in [
        (header::CONTENT_TYPE, content_type),
        (header::CACHE_CONTROL, "no-store"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let resource_policy = header::HeaderName::from_static("cross-origin-resource-policy");
    headers.insert(resource_policy, HeaderValue::from_static("same-origin"));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_this_machine_says_so() {
        for (host, named) in [
            ("localhost", true),
            ("LocalHost:19525", true),
            ("127.0.0.1:19525", true),
            ("[::1]:19525", true),
            ("[::1]", true),
            ("192.0.2.1", true),
            ("example.com", false),
            ("example.com:19525", false),
            ("localhost.example.com", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static(host));
            assert_eq!(names_this_machine(&headers), named, "{host}");
        }
    }

    #[test]
    fn every_script_and_style_of_the_page_is_permitted_and_nothing_is_fetched() {
        let permission = format!("nonce=\"{NONCE}\"");
        for element in ["<script", "<style"] {
            let permitted = PAGE.matches(&format!("{element} {permission}")).count();
            assert_eq!(permitted, PAGE.matches(element).count(), "{element}");
            assert_eq!(permitted, 1, "{element}");
        }
        for unsafe_word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "style=",
            "eval(",
        ] {
            assert!(!PAGE.contains(unsafe_word), "{unsafe_word}");
        }
    }

    #[test]
    fn no_two_pages_have_the_same_permission() {
        let first = nonce();
        assert_eq!(first.as_ref().map(String::len), Some(32));
        assert_ne!(first, nonce());
    }
}
