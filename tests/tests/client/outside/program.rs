//! A program of somebody else's: it knows the library by its path, and runs each form of a checkout in a task that may
//! move between threads. It prints how many of its checkouts were served from the cache.

use std::io;
use std::time::Duration;

use scache_client::Checkout;
use scache_client::tokio::Pool;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

type Form = fn(Pool, String) -> JoinHandle<io::Result<bool>>;

/// Spawns a task that checks a connection out and releases it. Returns whether it came from the cache.
macro_rules! form {
    ($endpoints:ident, $address:ident, $connect:expr) => {
        |pool, $address| {
            tokio::spawn(async move {
                let $endpoints = [$address.clone()];
                let checkout = pool.checkout(b"destination", &$endpoints, $connect).await;
                let checkout = checkout.map_err(io::Error::other)?;
                let reused = checkout.reused().is_some();
                checkout.release(Duration::from_secs(30)).await;
                Ok(reused)
            })
        }
    };
}

async fn connect(address: &String) -> io::Result<TcpStream> {
    TcpStream::connect(address).await
}

/// The form in the documentation, with what belongs to it.
fn as_documented(pool: Pool, address: String) -> JoinHandle<io::Result<bool>> {
    tokio::spawn(async move {
        let checkout = pool
            .checkout(b"destination", &["endpoint"], async |_| {
                TcpStream::connect(&address).await
            })
            .await;
        let checkout = checkout.map_err(io::Error::other)?;
        let reused = checkout.reused().is_some();
        checkout.release(Duration::from_secs(30)).await;
        Ok(reused)
    })
}

/// A first request over what is found, which takes it and gives it back.
fn checked(pool: Pool, address: String) -> JoinHandle<io::Result<bool>> {
    tokio::spawn(async move {
        let check = async |found: Checkout<TcpStream, Pool>| {
            found.writable().await.ok()?;
            Some(found)
        };
        let connect = async |_: &&str| TcpStream::connect(&address).await;
        let checkout = pool.checkout_checked(b"destination", &["endpoint"], connect, check);
        let checkout = checkout.await.map_err(io::Error::other)?;
        let reused = checkout.reused().is_some();
        checkout.release(Duration::from_secs(30)).await;
        Ok(reused)
    })
}

const FORMS: [Form; 7] = [
    as_documented,
    checked,
    form!(endpoints, address, async |_| TcpStream::connect(&address)
        .await),
    form!(endpoints, address, async |endpoint| connect(endpoint).await),
    form!(endpoints, address, |_| TcpStream::connect(&address)),
    form!(endpoints, address, |endpoint: &String| {
        let endpoint = endpoint.clone();
        async move { TcpStream::connect(endpoint).await }
    }),
    form!(endpoints, address, connect),
];

fn main() -> io::Result<()> {
    let socket = std::env::args_os().nth(1).ok_or(io::ErrorKind::NotFound)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let server = TcpListener::bind("127.0.0.1:0").await?;
        let address = server.local_addr()?.to_string();
        let mut reused = 0;
        for form in FORMS {
            let task = form(Pool::new(&socket), address.clone());
            reused += i32::from(task.await.map_err(io::Error::other)??);
        }
        println!("{} checkouts, {reused} from the cache", FORMS.len());
        Ok(())
    })
}
