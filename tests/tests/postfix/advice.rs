//! `scachectl postfix status` says about the parameters that decide whether connections are kept what a whole Postfix does
//! with them.

use scache_tests::fake_master::{built, ours, stock};
use scache_tests::instance::{Instance, Setup};
use scache_tests::setups::{over_tls, receiver, receiver_with_tls};
use serde_json::Value;

const MESSAGES: usize = 20;

/// Returns the report about the service that delivers, as JSON and as text.
fn said(instance: &Instance) -> (Value, String) {
    let run = |words: &[&str]| {
        let mut command = instance.administration(&built("scachectl"));
        command.args(["postfix", "status", "--config-dir"]);
        let output = command.arg(instance.configuration()).args(words).output();
        let output = output.expect("scachectl can be run");
        assert!(output.status.success(), "{output:#?}");
        String::from_utf8(output.stdout).expect("text")
    };
    let reports: Value = serde_json::from_str(&run(&["--json"])).expect("JSON");
    let deliveries = reports[0]["deliveries"].as_array().expect("an array");
    let smtp = deliveries.iter().find(|one| one["service"] == "smtp");
    (smtp.expect("the service").clone(), run(&[]))
}

/// Delivers, and says whether connections were reused.
fn reuses(instance: &Instance) -> bool {
    instance.deliver(MESSAGES);
    instance.complete_log().reuses() > 0
}

/// The advice does not wait for somebody to ask for the status.
#[test]
fn install_says_what_stands_in_the_way() {
    let sender = Setup::new(stock()).parameter("smtp_tls_security_level", "may");
    let sender = Instance::start(&sender);
    let mut command = sender.administration(&built("scachectl"));
    command.args(["postfix", "install", "--wait", "120", "--program"]);
    command.arg(ours().path()).arg("--config-dir");
    let output = command.arg(sender.configuration()).output();
    let output = output.expect("scachectl can be run");
    assert!(output.status.success(), "{output:#?}");
    let text = String::from_utf8(output.stdout).expect("text");
    let advice =
        "for more reuse: to keep connections with TLS set smtp_tls_connection_reuse = yes\n";
    assert_eq!(text.matches(advice).count(), 1, "{text}");
}

fn only_advice(smtp: &Value) -> &str {
    let advice = smtp["advice"].as_array().expect("an array");
    assert_eq!(advice.len(), 1, "{smtp:#}");
    advice[0].as_str().expect("text")
}

#[test]
fn without_either_parameter_nothing_is_kept() {
    let receiver = Instance::start(&receiver());
    let sender = Setup::new(ours())
        .next_hop(receiver.submission())
        .parameter("smtp_connection_cache_destinations", "")
        .parameter("smtp_connection_cache_on_demand", "no");
    let sender = Instance::start(&sender);
    assert!(!reuses(&sender), "{}", sender.log().tail());
    let (smtp, text) = said(&sender);
    assert_eq!(smtp["kept_seconds"], 0, "{smtp:#}");
    assert_eq!(smtp["meaning"], "keeps no connection");
    let advice = only_advice(&smtp);
    assert!(advice.contains("smtp_connection_cache_on_demand = yes"));
    assert!(text.contains(&format!("! {advice}\n")), "{text}");
}

#[test]
fn a_destination_is_listed_without_brackets_and_port() {
    let receiver = Instance::start(&receiver());
    let written = format!("[127.0.0.1]:{}", receiver.submission().port());
    for (listed, is_right) in [(written.as_str(), false), ("127.0.0.1", true)] {
        let sender = Setup::new(ours())
            .next_hop(receiver.submission())
            .parameter("smtp_connection_cache_destinations", listed)
            .parameter("smtp_connection_cache_on_demand", "no");
        let sender = Instance::start(&sender);
        assert_eq!(reuses(&sender), is_right, "{}", sender.log().tail());
        let (smtp, _) = said(&sender);
        if is_right {
            assert_eq!(smtp["advice"], Value::Array(Vec::new()));
        } else {
            assert!(only_advice(&smtp).contains("without brackets"), "{smtp:#}");
        }
    }
}

/// Postfix's own defaults.
#[test]
fn on_demand_keeps_the_connections_of_a_next_hop_that_gets_mail_back_to_back() {
    let receiver = Instance::start(&receiver());
    let sender = Setup::new(ours())
        .next_hop(receiver.submission())
        .parameter("smtp_connection_cache_destinations", "");
    let sender = Instance::start(&sender);
    assert!(reuses(&sender), "{}", sender.log().tail());
    let (smtp, _) = said(&sender);
    assert_eq!(
        smtp["meaning"],
        "keeps connections for 2 s to next hops that get mail back to back"
    );
    assert_eq!(smtp["advice"], Value::Array(Vec::new()));
}

#[test]
fn a_time_limit_that_the_cache_cuts_is_told() {
    // The value refers to another one, and the service in master.cf sets that.
    let sender = Setup::new(ours())
        .parameter("smtp_connection_cache_time_limit", "$kept_for")
        .parameter("kept_for", "1s");
    let sender = Instance::start(&sender);
    let master_cf = sender.configuration().join("master.cf");
    let services = std::fs::read_to_string(&master_cf).expect("master.cf");
    let services = services.replace(" 5 smtp\n", " 5 smtp -o { kept_for = 1m }\n");
    std::fs::write(&master_cf, services).expect("an edit");
    let (smtp, text) = said(&sender);
    assert_eq!(smtp["kept_seconds"], 2, "{smtp:#}");
    assert_eq!(smtp["time_limit"], "1m", "{smtp:#}");
    assert!(only_advice(&smtp).ends_with("set connection_cache_ttl_limit = 1m"));
    assert!(
        text.contains("  reuse      smtp: keeps connections for 2 s to all next hops\n"),
        "{text}"
    );
    // lmtp(8) has parameters of its own.
    assert!(text.contains("  reuse      lmtp: "), "{text}");
    let expected = "\n             lmtp_connection_cache_time_limit = 2s\n";
    assert!(text.contains(expected), "{text}");

    let main_cf = sender.configuration().join("main.cf");
    let text = std::fs::read_to_string(&main_cf).expect("main.cf");
    let text = text + "connection_cache_ttl_limit = 90s\n";
    std::fs::write(&main_cf, &text).expect("an edit");
    let (smtp, _) = said(&sender);
    assert_eq!(smtp["kept_seconds"], 60, "{smtp:#}");
    assert_eq!(smtp["advice"], Value::Array(Vec::new()));

    // The cache would end before.
    std::fs::write(main_cf, text + "max_idle = 50s\n").expect("an edit");
    let (smtp, _) = said(&sender);
    assert!(only_advice(&smtp).contains("max_idle = 50s"), "{smtp:#}");
}

#[test]
fn tls_needs_a_parameter_and_a_service() {
    let (receiver, _directory) = receiver_with_tls();
    let receiver = Instance::start(&receiver);
    let setup = || Setup::new(ours()).next_hop(receiver.submission());

    let sender = Instance::start(&setup().parameter("smtp_tls_security_level", "encrypt"));
    assert!(!reuses(&sender), "{}", sender.log().tail());
    let (smtp, _) = said(&sender);
    let meaning = smtp["meaning"].as_str().expect("text");
    let tls = "; those with TLS are closed after each delivery";
    assert!(meaning.ends_with(tls), "{meaning}");
    assert!(only_advice(&smtp).ends_with("set smtp_tls_connection_reuse = yes"));

    let sender = Instance::start(&over_tls(setup()));
    assert!(reuses(&sender), "{}", sender.log().tail());
    let (smtp, _) = said(&sender);
    assert_eq!(smtp["advice"], Value::Array(Vec::new()), "{smtp:#}");
    assert_eq!(smtp["tls_connection_reuse"], true);

    let master_cf = sender.configuration().join("master.cf");
    let services = std::fs::read_to_string(&master_cf).expect("master.cf");
    let services = services.replace("tlsproxy unix - - n - 0 tlsproxy\n", "");
    std::fs::write(&master_cf, services).expect("an edit");
    let (smtp, _) = said(&sender);
    assert!(only_advice(&smtp).contains("`tlsproxy unix - - n - 0 tlsproxy`"));
}
