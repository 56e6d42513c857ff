//! The files of an instance: main.cf, master.cf, the queue's directories, the programs.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::Setup;
use crate::fake_master::Program;
use crate::stock::{self, Stock};

/// Existing users of every Debian, which nobody else needs here. Postfix wants a user and a group that do not
/// go together.
const MAIL_OWNER: &str = "uucp";
const SETGID_GROUP: &str = "games";

/// Makes all of it below `root`.
pub(super) fn lay_out(
    root: &Path,
    stock: &Stock,
    setup: &Setup,
    submission: SocketAddr,
    delivery: SocketAddr,
) {
    set_mode(root, 0o755);
    queue(&root.join("queue"));
    fs::create_dir(root.join("data")).expect("data_directory");
    chown(&root.join("data"), MAIL_OWNER);
    programs(&root.join("daemon"), stock, &setup.scache);
    fs::create_dir(root.join("etc")).expect("config_directory");
    let main_cf = main_cf(root, stock, setup, delivery);
    fs::write(root.join("etc/main.cf"), main_cf).expect("main.cf");
    let master_cf = master_cf(submission, setup.scache_chrooted);
    fs::write(root.join("etc/master.cf"), master_cf).expect("master.cf");
}

/// Sets permissions.
pub(super) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("the mode of a directory");
}

fn main_cf(root: &Path, stock: &Stock, setup: &Setup, delivery: SocketAddr) -> String {
    let root = root.display();
    let package = stock.root().display();
    let libraries = stock.library_path();
    let port = setup.next_hop.unwrap_or(delivery).port();
    let transport = setup.transport;
    let compatibility = stock::compatibility(&setup.scache);
    let text = format!(
        "{compatibility}queue_directory = {root}/queue
data_directory = {root}/data
daemon_directory = {root}/daemon
command_directory = {package}/usr/sbin
shlib_directory = {package}/usr/lib/postfix
meta_directory = {package}/etc/postfix
import_environment = MAIL_CONFIG MAIL_LOGTAG TZ LANG LD_LIBRARY_PATH={libraries}
mail_owner = {MAIL_OWNER}
setgid_group = {SETGID_GROUP}
maillog_file_prefixes = /
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.example.org
mynetworks = 127.0.0.0/8
mydestination =
alias_maps =
smtputf8_enable = no
relay_transport = $default_transport
smtp_connection_cache_destinations = static:all
lmtp_connection_cache_destinations = static:all
lmtp_connection_cache_on_demand = yes
postlogd_watchdog_timeout = 3600
"
    );
    // A value that is defined twice would be warned of.
    let is_set = |name: &str| setup.parameters.iter().any(|(other, _)| other == name);
    let fixed = text.lines().filter(|line| {
        let name = line.split_once(" =").map(|(name, _)| name);
        !name.is_some_and(is_set)
    });
    let mut text = fixed.map(|line| format!("{line}\n")).collect::<String>();
    let mut line = |name: &str, value: &str| {
        writeln!(text, "{name} = {value}").expect("a string takes it");
    };
    if !setup.syslog {
        line("maillog_file", &format!("{root}/maillog"));
    }
    if !is_set("default_transport") {
        line(
            "default_transport",
            &format!("{transport}:[127.0.0.1]:{port}"),
        );
    }
    if !setup.routes.is_empty() {
        let routes = setup.routes.iter().map(|(domain, address)| {
            format!("{{{domain} = {transport}:[127.0.0.1]:{}}}", address.port())
        });
        let routes: Vec<String> = routes.collect();
        line(
            "transport_maps",
            &format!("inline:{{{}}}", routes.join(", ")),
        );
    }
    for (name, value) in &setup.parameters {
        line(name, value);
    }
    text
}

fn master_cf(submission: SocketAddr, scache_chrooted: bool) -> String {
    let chrooted = if scache_chrooted { "y" } else { "n" };
    format!(
        "{submission} inet n - n - - smtpd
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
proxymap unix - - n - - proxymap
smtp unix - - n - 5 smtp
lmtp unix - - n - 5 lmtp
error unix - - n - - error
discard unix - - n - - discard
tlsproxy unix - - n - 0 tlsproxy
retry unix - - n - - error
anvil unix - - n - 1 anvil
scache unix - - {chrooted} - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}

fn queue(queue: &Path) {
    fs::create_dir(queue).expect("queue_directory");
    let own = [
        "active", "bounce", "corrupt", "defer", "deferred", "flush", "hold", "incoming", "private",
        "saved", "trace", "maildrop", "public",
    ];
    for name in own {
        fs::create_dir(queue.join(name)).expect("a queue");
        chown(&queue.join(name), MAIL_OWNER);
    }
    fs::create_dir(queue.join("pid")).expect("pid");
}

/// Stock's programs, but for scache.
fn programs(daemon: &Path, stock: &Stock, scache: &Program) {
    fs::create_dir(daemon).expect("daemon_directory");
    for entry in fs::read_dir(stock.daemon(""))
        .expect("stock's programs")
        .flatten()
    {
        let name = entry.file_name();
        if name == "scache-rs" {
            // Installed beside stock's: no part of the package.
            continue;
        }
        let program = if name == "scache" {
            scache.path().to_owned()
        } else {
            entry.path()
        };
        symlink(program, daemon.join(name)).expect("a link to a program");
    }
}

fn chown(path: &Path, user: &str) {
    let status = Command::new("chown").arg(user).arg(path).status();
    assert!(
        status.is_ok_and(|status| status.success()),
        "chown {user} {}: Debian's users are needed",
        path.display()
    );
}
