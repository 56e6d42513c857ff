//! Users who may not (row 28): the mode of `scached`'s socket.

use scache_tests::exchange::greeted;
use scache_tests::wire::Client;

use crate::common::{Daemon, OtherUser, is_served};

/// daemon, on every Debian.
const USER: u32 = 1;

#[cfg(feature = "system")]
#[test]
fn the_mode_of_the_socket_decides_who_may_connect() {
    scache_tests::needs_root();
    let denied = "PermissionDenied";
    for (arguments, expected) in [
        (&[][..], denied),
        (&["--mode", "0600"], denied),
        (&["--mode", "0660"], denied),
        (&["--mode", "0666"], "greeted"),
    ] {
        let daemon = Daemon::start(arguments);
        let output = OtherUser::new(USER)
            .command()
            .arg("connect")
            .arg(daemon.path())
            .output()
            .expect("these tests need root, to be another user");
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(said.trim(), expected, "{arguments:?}");
        let mine = Client::connect(&daemon.path()).expect("connect");
        is_served(&greeted(mine));
    }
}
