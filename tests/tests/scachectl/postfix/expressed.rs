//! A main.cf whose values refer to other parameters, and a cache's service with another name.

use std::fs;

use scache_tests::fake_master::{built, ours, stock};
use scache_tests::instance::{Instance, Setup};

use super::{delivers_by, install, master_cf, said, status, tree, uninstall};

/// An instance that is configured by way of parameters of its own. Its cache is the service `cache2`.
fn expressed(private: &str) -> Instance {
    let instance = Instance::start(&Setup::new(stock()));
    let main_cf = instance.configuration().join("main.cf");
    let text = fs::read_to_string(&main_cf).expect("main.cf");
    let base = instance.configuration();
    let base = base.parent().expect("a directory").display().to_string();
    let mut text = text.replace(&format!("{base}/"), "${base}/");
    text.push_str(&format!(
        "base = {base}\nnumber = 2\nconnection_cache_service_name = cache$number\n"
    ));
    fs::write(main_cf, text).expect("an edit");
    let services = fs::read_to_string(master_cf(&instance)).expect("master.cf");
    let services = services.replace(
        "scache unix - - n - 1 scache",
        &format!("cache2 unix {private} - n - 1 scache"),
    );
    fs::write(master_cf(&instance), services).expect("an edit");
    instance.reload();
    instance
}

#[test]
fn values_that_refer_to_others_are_expanded() {
    let instance = expressed("-");
    let before = tree(&instance);
    delivers_by("scache", &instance);
    said(&install(&instance, ours().path()));
    delivers_by("scache-rs", &instance);
    assert_found_at("private/cache2", &instance);
    said(&uninstall(&instance));
    assert_eq!(tree(&instance), before);
    delivers_by("scache", &instance);
}

/// Postfix's own clients look in `private` only.
#[test]
fn a_service_in_public_is_found() {
    let instance = expressed("n");
    said(&install(&instance, ours().path()));
    assert_found_at("public/cache2", &instance);
}

fn assert_found_at(place: &str, instance: &Instance) {
    let report = status(instance);
    assert_eq!(report["serving"], "scache-rs", "{report:#}");
    let mut command = instance.administration(&built("scachectl"));
    command.env("MAIL_CONFIG", instance.configuration());
    // A scached of this user would come first.
    command.env("TMPDIR", instance.configuration());
    let stats = said(&command.arg("stats").output().expect("scachectl can be run"));
    let socket = instance.scache_socket();
    let queue = socket.ancestors().nth(2).expect("the queue");
    let at = format!("at {}", queue.join(place).display());
    assert!(stats.contains(&at), "{stats}");
}
