//! `scachectl postfix` on a real Postfix of the test's own.

mod expressed;
mod failing;
mod fixed;
mod instances;
mod refusing;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Instant;

use rustix::fs::XattrFlags;
use scache_tests::fake_master::{built, ours, stock};
use scache_tests::instance::{Instance, Setup};
use scache_tests::stock::announces;
use serde_json::Value;

/// Runs `scachectl postfix` with these words on instances.
fn scachectl<'a>(instances: &[&Instance], words: impl IntoIterator<Item = &'a str>) -> Output {
    let mut command = instances[0].administration(&built("scachectl"));
    command.arg("postfix").args(words);
    for instance in instances {
        command.arg("--config-dir").arg(instance.configuration());
    }
    command.output().expect("scachectl can be run")
}

/// What a command said that went well.
fn said(output: &Output) -> String {
    assert!(output.status.success(), "{output:#?}");
    String::from_utf8(output.stdout.clone()).expect("text")
}

/// Installs a program, with all the time that a loaded machine may need.
fn install(instance: &Instance, program: &Path) -> Output {
    install_on(&[instance], program)
}

/// Installs ours on several instances at once.
fn install_all(instances: &[&Instance]) -> Output {
    install_on(instances, ours().path())
}

fn install_on(instances: &[&Instance], program: &Path) -> Output {
    let program = program.display().to_string();
    scachectl(
        instances,
        ["install", "--wait", "120", "--program", &program],
    )
}

fn uninstall(instance: &Instance) -> Output {
    scachectl(&[instance], ["uninstall", "--wait", "120"])
}

fn status(instance: &Instance) -> Value {
    let program = ours().path().display().to_string();
    let words = ["status", "--json", "--program", &program];
    let text = said(&scachectl(&[instance], words));
    let reports: Value = serde_json::from_str(&text).expect("JSON");
    let schema = schema();
    let errors: Vec<String> = schema
        .iter_errors(&reports)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert_eq!(errors, Vec::<String>::new(), "{reports:#}");
    // Each name is there because it has to be.
    for name in reports[0].as_object().expect("an object").keys() {
        let mut without = reports.clone();
        without[0].as_object_mut().expect("an object").remove(name);
        assert!(!schema.is_valid(&without), "{name}");
    }
    reports[0].clone()
}

/// The schema that is written down for it.
fn schema() -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/postfix-status.schema.json");
    let text = fs::read_to_string(path).expect("the schema");
    let schema = serde_json::from_str(&text).expect("JSON");
    jsonschema::validator_for(&schema).expect("a schema")
}

/// Everything that an administrator could see of an installation: files with their modes and contents, links with what
/// they lead to.
fn tree(instance: &Instance) -> BTreeMap<PathBuf, (u32, Vec<u8>)> {
    let mut tree = BTreeMap::new();
    for directory in [instance.configuration(), instance.daemons()] {
        for entry in fs::read_dir(directory).expect("a directory").flatten() {
            let path = entry.path();
            let metadata = entry.metadata().expect("what it is");
            let content = match fs::read_link(&path) {
                Ok(link) => link.into_os_string().into_encoded_bytes(),
                Err(_) => fs::read(&path).expect("its content"),
            };
            tree.insert(path, (metadata.permissions().mode(), content));
        }
    }
    tree
}

fn master_cf(instance: &Instance) -> PathBuf {
    instance.configuration().join("master.cf")
}

/// The arguments that our program needs with this version of Postfix.
fn silence() -> &'static str {
    if announces() {
        ""
    } else {
        " -o connection_cache_announce=no"
    }
}

/// A file that can be executed.
fn executable(path: &Path, content: impl AsRef<[u8]>) {
    fs::write(path, content).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("its mode");
}

/// Mail is delivered, and some of it over connections that this program of the service has kept.
fn delivers_by(program: &str, instance: &Instance) {
    let before = instance.log().reuses();
    instance.deliver(50);
    assert!(instance.service_process(program).is_some(), "{program}");
    let log = instance.log();
    assert!(log.reuses() > before, "{}", log.tail());
}

/// What a process logs at its end says that connections were found in it. The name in the log is that of stock's program,
/// which log parsers know.
fn assert_used(process: u32, instance: &Instance) {
    let log = instance.complete_log();
    let lines = log.lines_with(&format!(" postfix/scache[{process}]: "));
    let found = lines
        .iter()
        .any(|line| line.contains("domain lookup hits="));
    assert!(found, "{lines:#?}");
}

#[test]
fn install_and_uninstall_leave_no_trace_but_reuse() {
    for chrooted in [false, true] {
        let setup = Setup::new(stock());
        let instance = Instance::start(&if chrooted {
            setup.scache_chrooted()
        } else {
            setup
        });
        // Not what postconf would make of it.
        let mode = fs::Permissions::from_mode(0o640);
        fs::set_permissions(master_cf(&instance), mode).expect("its mode");
        let before = tree(&instance);
        delivers_by("scache", &instance);
        let report = status(&instance);
        assert_eq!(report["serving"], "stock", "{report:#}");
        assert_eq!(report["program"], Value::Null, "{report:#}");

        let log = instance.complete_log();
        let mut complaints = log.complaints();
        // Before 3.6 stock does not say what it is, so it is asked, and does not know the question.
        complaints.retain(|line| announces() || !line.ends_with("\"inline\", ignored"));
        assert_eq!(complaints, Vec::<&str>::new());

        let began = Instant::now();
        let text = said(&install(&instance, ours().path()));
        println!(
            "installed and answered after {:?}:\n{text}",
            began.elapsed()
        );
        delivers_by("scache-rs", &instance);
        let report = status(&instance);
        for (name, value) in [
            ("running", Value::from(true)),
            ("configured", "scache-rs".into()),
            ("serving", "scache-rs".into()),
            ("serving_version", env!("CARGO_PKG_VERSION").into()),
            ("program_is_shipped", true.into()),
            ("announces", announces().into()),
            ("way_back", "bytes".into()),
            ("process", instance.service_process("scache-rs").into()),
        ] {
            assert_eq!(report[name], value, "{name} in {report:#}");
        }
        let installed = tree(&instance);
        assert_eq!(
            installed[&master_cf(&instance)].0,
            before[&master_cf(&instance)].0
        );

        let text = said(&install(&instance, ours().path()));
        assert!(text.contains("nothing to change"), "{text}");
        assert_eq!(tree(&instance), installed);

        let process = instance.service_process("scache-rs");
        let began = Instant::now();
        let text = said(&uninstall(&instance));
        println!("uninstalled after {:?}:\n{text}", began.elapsed());
        assert_eq!(tree(&instance), before);
        assert_used(process.expect("it served"), &instance);
        delivers_by("scache", &instance);
        assert_eq!(status(&instance)["serving"], "stock");

        // To be asked who it is, by us and by ours that hands over to it, is all that stock complains of; once more for
        // each time that we ask before master(8) has begun to reload.
        let log = instance.complete_log();
        let complaints = log.complaints();
        let (harmless, wrong): (Vec<&str>, Vec<&str>) = complaints
            .iter()
            .partition(|line| line.contains("unrecognized request: \"inline\""));
        assert!(!harmless.is_empty(), "{complaints:#?}");
        assert_eq!(wrong, Vec::<&str>::new());

        let text = said(&uninstall(&instance));
        assert!(text.contains("nothing to do"), "{text}");
        assert_eq!(tree(&instance), before);
    }
}

#[test]
fn a_dry_run_changes_nothing_and_its_commands_do_the_same() {
    let instance = Instance::start(&Setup::new(stock()));
    instance.deliver(5);
    let (before, process) = (tree(&instance), instance.scache());
    let program = ours().path().display().to_string();
    let install_dry = ["install", "--dry-run", "--program", &program];
    let commands = said(&scachectl(&[&instance], install_dry));
    println!("{commands}");
    assert_eq!(tree(&instance), before);
    assert_eq!(instance.scache(), process);

    run_commands(&instance, &commands);
    delivers_by("scache-rs", &instance);
    let by_hand = tree(&instance);
    assert_eq!(status(&instance)["way_back"], "bytes");

    let process = instance.service_process("scache-rs");
    let commands = said(&scachectl(&[&instance], ["uninstall", "--dry-run"]));
    println!("{commands}");
    assert_eq!(tree(&instance), by_hand);
    assert_eq!(instance.service_process("scache-rs"), process);

    run_commands(&instance, &commands);
    assert_eq!(tree(&instance), before);
    delivers_by("scache", &instance);

    said(&install(&instance, ours().path()));
    assert_eq!(tree(&instance), by_hand);
}

/// Runs what a dry run printed, as an administrator would.
fn run_commands(instance: &Instance, commands: &str) {
    let beside = built("scachectl");
    let beside = beside.parent().expect("a directory").display();
    let script = format!("set -e; PATH=\"$PATH:{beside}\"\n{commands}");
    let mut shell = instance.administration(Path::new("sh"));
    said(&shell.args(["-c", &script]).output().expect("sh"));
}

#[test]
fn a_program_that_differs_is_replaced() {
    let instance = Instance::start(&Setup::new(stock()));
    // The same to the kernel, another one to who compares.
    let other = instance.configuration().with_file_name("other");
    let mut content = fs::read(ours().path()).expect("our program");
    content.extend(b"something else");
    executable(&other, &content);
    said(&install(&instance, &other));
    delivers_by("scache-rs", &instance);
    assert_eq!(status(&instance)["program_is_shipped"], false);
    let process = instance.service_process("scache-rs");
    let master_cf_before = fs::read(master_cf(&instance)).expect("master.cf");

    let text = said(&install(&instance, ours().path()));
    assert!(text.contains("its program differs"), "{text}");
    let report = status(&instance);
    assert_eq!(report["program_is_shipped"], true, "{report:#}");
    assert_eq!(report["serving"], "scache-rs", "{report:#}");
    assert_ne!(instance.service_process("scache-rs"), process);
    assert_eq!(fs::read(master_cf(&instance)).ok(), Some(master_cf_before));
    let names: Vec<PathBuf> = tree(&instance).into_keys().collect();
    assert!(!names.contains(&instance.daemons().join("scache-rs.old")));
    delivers_by("scache-rs", &instance);
}

#[test]
fn what_somebody_edited_since_stays() {
    let instance = Instance::start(&Setup::new(stock()));
    let before = fs::read_to_string(master_cf(&instance)).expect("master.cf");
    said(&install(&instance, ours().path()));
    let installed = fs::read_to_string(master_cf(&instance)).expect("master.cf");
    let edited = installed.replace("smtp unix - - n - 5 smtp", "smtp unix - - n - 4 smtp");
    let edited = format!("# mine\n{edited}");
    fs::write(master_cf(&instance), &edited).expect("an edit");
    assert_eq!(status(&instance)["way_back"], "entry");

    let text = said(&uninstall(&instance));
    assert!(text.contains("edited since"), "{text}");
    let words = |text: &str| -> Vec<Vec<String>> {
        let lines = text.lines();
        lines
            .map(|line| line.split_whitespace().map(str::to_owned).collect())
            .collect()
    };
    let expected = before.replace("smtp unix - - n - 5 smtp", "smtp unix - - n - 4 smtp");
    let now = fs::read_to_string(master_cf(&instance)).expect("master.cf");
    assert_eq!(words(&now), words(&format!("# mine\n{expected}")));
    assert!(!instance.daemons().join("scache-rs").exists());
    delivers_by("scache", &instance);
}

#[test]
fn what_was_installed_by_hand_can_be_taken_out() {
    let instance = Instance::start(&Setup::new(stock()));
    fs::copy(ours().path(), instance.daemons().join("scache-rs")).expect("a copy");
    let text = fs::read_to_string(master_cf(&instance)).expect("master.cf");
    let by_hand = format!(" 1 scache-rs -o max_idle=50s{}\n", silence());
    let by_hand = text.replace(" 1 scache\n", &by_hand);
    fs::write(master_cf(&instance), by_hand).expect("an edit");
    instance.reload();
    delivers_by("scache-rs", &instance);
    assert_eq!(status(&instance)["way_back"], "stock");

    let text = said(&uninstall(&instance));
    assert!(text.contains("was not kept"), "{text}");
    let now = fs::read_to_string(master_cf(&instance)).expect("master.cf");
    assert!(now.contains(" scache\n    -o max_idle=50s\n"), "{now}");
    delivers_by("scache", &instance);
}

/// Policies of SELinux name the programs of Postfix, and not ours. The kernel need not have SELinux for that.
#[test]
fn the_program_has_the_label_of_stocks() {
    const NAME: &str = "security.selinux";
    const LABEL: &[u8] = b"system_u:object_r:postfix_smtp_exec_t:s0\0";
    let instance = Instance::start(&Setup::new(stock()));
    let program = instance.daemons().join("scache");
    fs::remove_file(&program).expect("a link");
    fs::copy(stock().path(), &program).expect("a copy");
    rustix::fs::setxattr(&program, NAME, LABEL, XattrFlags::empty()).expect("only root may");
    let text = said(&install(&instance, ours().path()));
    assert!(text.contains("label"), "{text}");
    let mut label = [0; 256];
    let ours = instance.daemons().join("scache-rs");
    let length = rustix::fs::getxattr(&ours, NAME, &mut label).expect("a label");
    assert_eq!(&label[..length], LABEL);
    delivers_by("scache-rs", &instance);
}

#[test]
fn options_of_the_service_stay() {
    let instance = Instance::start(&Setup::new(stock()));
    let text = fs::read_to_string(master_cf(&instance)).expect("master.cf");
    let options = "scache -v\n  -o max_idle=50s\n# why\n -o { syslog_name = post fix }\n";
    let text = text.replace(" 1 scache\n", &format!(" 1 {options}"));
    fs::write(master_cf(&instance), text).expect("an edit");
    instance.reload();
    let before = tree(&instance);
    said(&install(&instance, ours().path()));
    let report = status(&instance);
    let entry = report["entry"].as_str().expect("a line");
    let expected = "1 scache-rs -v -o max_idle=50s -o {syslog_name=post fix}";
    let expected = format!("{expected}{}", silence());
    assert!(entry.ends_with(&expected), "{entry}");
    delivers_by("scache-rs", &instance);
    said(&uninstall(&instance));
    assert_eq!(tree(&instance), before);
}

#[test]
fn values_of_the_service_keep_their_bytes() {
    let instance = Instance::start(&Setup::new(stock()));
    let text = fs::read_to_string(master_cf(&instance)).expect("master.cf");
    let (first, rest) = text.split_once(" 1 scache\n").expect("the service");
    let option = b" 1 scache\n -o syslog_name=caf\xe9\n";
    let text = [first.as_bytes(), option, rest.as_bytes()].concat();
    fs::write(master_cf(&instance), text).expect("an edit");
    instance.reload();
    let before = tree(&instance);
    let has_option = || {
        let text = fs::read(master_cf(&instance)).expect("master.cf");
        let mut places = text.windows(4);
        places.any(|bytes| bytes == b"caf\xe9")
    };
    said(&install(&instance, ours().path()));
    assert!(has_option());
    delivers_by("scache-rs", &instance);
    let installed = tree(&instance);
    said(&uninstall(&instance));
    assert_eq!(tree(&instance), before);

    // The commands of a dry run, by a shell that knows no other way to write such bytes.
    let program = ours().path().display().to_string();
    let words = ["install", "--dry-run", "--program", &program];
    run_commands(&instance, &said(&scachectl(&[&instance], words)));
    assert!(has_option());
    assert_eq!(tree(&instance), installed);
}
