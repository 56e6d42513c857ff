//! What the tests need another process for, also of another user. Not meant for people.

use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;

use scache_tests::exchange::{greeted, try_find, try_save};
use scache_tests::wire::{Client, announcement};

/// Sends so many descriptors to nobody, says so, and holds them until standard input ends.
pub fn hold(count: &str) -> ExitCode {
    let Ok(count) = count.parse::<usize>() else {
        return ExitCode::from(2);
    };
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    let near = Client::from(std::os::fd::OwnedFd::from(near));
    let file = std::fs::File::open("/dev/null").expect("open /dev/null");
    let mut sent = 0;
    while sent < count {
        let some = (count - sent).min(253);
        if near.send_descriptors(&vec![file.as_fd(); some]).is_err() {
            break;
        }
        sent += some;
    }
    println!("{sent}");
    std::io::stdout().flush().expect("somebody reads");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(far);
    ExitCode::SUCCESS
}

/// Connects, and says on standard output what came of it.
pub fn connect(path: &str) -> ExitCode {
    match Client::connect(Path::new(path)) {
        Ok(client) if client.hear_list() == announcement() => println!("greeted"),
        Ok(_) => println!("turned away"),
        Err(error) => println!("{:?}", error.kind()),
    }
    ExitCode::SUCCESS
}

/// Takes a connection and saves it again for a minute.
pub fn take_and_save(path: &str, label: &str) -> ExitCode {
    let client = greeted(Client::connect(Path::new(path)).expect("connect"));
    let found = try_find(&client, label).expect("answered").expect("found");
    let saved = try_save(&client, 60, label, "p", &found.descriptor);
    assert_eq!(saved, Ok(0));
    println!("saved");
    ExitCode::SUCCESS
}
