//! The same main.cf read by ours and by the real Postfix: postconf(1), which prints values, and scache(8) itself, which has the last word.
//!
//! The stock scache expands a value before it finds that this is no time, and says so with the value quoted byte for byte: that makes it a
//! printer of values. postconf squeezes blanks, so it is compared with blanks squeezed. The stock programs sleep a second
//! after a fatal error, hence the threads.
//!
//! Without the package these tests fail.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};
use std::{fs, thread};

use scache_maincf::parameters::{Origin, PARAMETERS};
use scache_maincf::{MainCf, ParameterError, TimeUnit, parse_time, split_assignment};
use scache_tests::stock::Stock;
use tempfile::TempDir;

/// A whole main.cf that defines `probe`, and what `<$probe>` is then; `None` when that is fatal.
type Case = (&'static str, Option<&'static str>);

#[rustfmt::skip]
const FILES: &[Case] = &[
    // Names, values and blanks.
    ("probe = x\n", Some("<x>")),
    ("probe=x", Some("<x>")),
    ("probe \t =\t x y  z \t\n", Some("<x y  z>")),
    ("probe =\n", Some("<>")),
    ("probe = \x0bx\x0c\n", Some("<x>")),
    ("", Some("<>")),
    ("probe = a=b = c\n", Some("<a=b = c>")),
    ("probe == x\n", Some("<= x>")),
    ("probe = x # y\n", Some("<x # y>")),
    ("probe = \"x\"\n", Some("<\"x\">")),
    ("probe = x\nPROBE = y\n", Some("<x>")),
    ("probe = x\nprobe = y\n", Some("<y>")),
    ("probe = x\nprobe =\n", Some("<>")),
    ("probe = {a} ({b}) }{\n", Some("<{a} ({b}) }{>")),
    ("probe = blåbær\n", Some("<blåbær>")),
    // Logical lines.
    ("probe = a\n b\n\tc\n", Some("<a b\tc>")),
    ("probe =\n  a\n", Some("<a>")),
    ("probe\n = a\n", Some("<a>")),
    ("probe = a\n\n b\n", Some("<a b>")),
    ("probe = a\n \t \n b\n", Some("<a b>")),
    ("probe = a\n# c\n b\n", Some("<a b>")),
    ("probe = a\n  # c\n\n#\n b", Some("<a b>")),
    ("probe = a\n b = c\n", Some("<a b = c>")),
    ("# c\n\n \n  # d\nprobe = a\n", Some("<a>")),
    ("probe = a\n # b\nother = c\n d\n", Some("<a>")),
    ("probe = a\r\nother = b\r\n", Some("<a>")),
    ("probe = a\r\n b\r\n", Some("<a\r b>")),
    ("probe = a\r\n\r\n b\n", Some("<a\r b>")),
    (" probe = a\n", Some("<>")),
    (" probe = a\n probe = b\nprobe = c\n", Some("<c>")),
    ("\tx\n#\nprobe = c\n", Some("<c>")),
    ("probe = a\0b\nother = c\n", Some("<a>")),
    ("probe = a\0b\n c\n", Some("<a>")),
    // Lines that are no assignments.
    ("probe\n", None),
    ("probe = a\nx y = z\n", None),
    ("= x\n", None),
    ("probe = a\n\0\n", None),
    ("probe = a\n\0x = y\n", None),
    ("probe = a\n}\n", None),
    // Names in values.
    ("a = A\nprobe = $a ${a} $(a)\n", Some("<A A A>")),
    ("a = A\nprobe = $a.$a-$a/$aa\n", Some("<A.A-A/>")),
    ("a = A\nprobe = ${ a } $( a ) ${a }\n", Some("<A A A>")),
    ("c = C\nb = $c\na = ${b}\nprobe = $a\n", Some("<C>")),
    ("a = \nprobe = $a$nothing${nothing}\n", Some("<>")),
    ("a = A\nprobe = $$a $$$a $$$$\n", Some("<$a $A $$>")),
    ("a = $$b\nprobe = $a\n", Some("<$b>")),
    ("1x = A\nprobe = $1x\n", Some("<A>")),
    ("a = A\na-b = B\nprobe = $a-b\n", Some("<A-b>")),
    ("probe = ${ }\n", Some("<>")),
    ("probe = ${?x}${:y}\n", Some("<y>")),
    ("probe = $\n", None),
    ("probe = $ a\n", None),
    ("probe = $-\n", None),
    ("probe = ${}\n", None),
    ("probe = $()\n", None),
    ("probe = ${a\n", None),
    ("probe = $(a\n", None),
    ("probe = ${a-b}\n", None),
    ("probe = ${a b}\n", None),
    ("probe = ${$a}\n", None),
    ("probe = ${a{b}}\n", None),
    ("a = $\nprobe = $a\n", None),
    ("a = $\nprobe = x\n", Some("<x>")),
    // Choices.
    ("a = A\nprobe = ${a?text}|${a?{text}}\n", Some("<text|text>")),
    ("a = A\nprobe = ${a? t }|${a?{ t }}|${a? {t} }\n", Some("< t | t |t>")),
    ("a = A\nprobe = ${a ?t}|${a\t?{t}}|${a ? {t}}\n", Some("<t|t|t>")),
    ("probe = ${a?t}|${a?{t}}\n", Some("<|>")),
    ("a =\nprobe = ${a?t}|${a:f}|${a:{f}}|${a: f}\n", Some("<|f|f| f>")),
    ("a = A\nprobe = ${a:f}|${a:{f}}\n", Some("<|>")),
    ("a = A\nprobe = ${a?{t}:{f}}|${b?{t}:{f}}\n", Some("<t|f>")),
    ("a = A\nprobe = ${a?{t}:f}|${b?{t}:f}|${b?{t} : f }\n", Some("<t|f| f >")),
    ("a = A\nprobe = ${a?t:f}|${a??t}|${a?:t}|${b:?f}\n", Some("<t:f|?t|:t|?f>")),
    ("a = A\nprobe = ${a?{t}:}|${b?{t}:}|${b?{t}:{}}\n", Some("<t||>")),
    ("a = A\nprobe = ${a?}|${a?{}}|${b:}\n", Some("<||>")),
    ("b = $a\nprobe = ${b?{t}:{f}}\n", Some("<t>")),
    ("a = A\nprobe = $(a?{t}:{f})|$(a?(t))\n", Some("<t|(t)>")),
    ("a = A\nprobe = ${a?{$a}}|${a?$a}|${a?{$$}}\n", Some("<A|A|$>")),
    ("a = A\nprobe = ${a?{${b?{x}:{${a?{<$a>}}}}}}\n", Some("<<A>>")),
    ("a = A\nprobe = ${a?\n {x}\n # c\n :{y}}\n", Some("<x>")),
    ("a = A\nprobe = ${a?{t}x}\n", None),
    ("a = A\nprobe = ${a?{t}:{f}x}\n", None),
    ("a = A\nprobe = ${a:{f}:{g}}\n", None),
    ("a = A\nprobe = ${a:{f}?{g}}\n", None),
    ("a = A\nprobe = ${a?{t}\n", None),
    ("a = A\nprobe = $(a?{t)\n", None),
    ("a = A\nprobe = ${a?{x}:{$}}\n", Some("<x>")),
    // Comparisons.
    ("a = A\nprobe = ${{$a} == {A} ? {t} : {f}}\n", Some("<t>")),
    ("a = A\nprobe = ${{$a}=={B}?{t}:{f}}\n", Some("<f>")),
    ("a = A\nprobe = ${{$a}=={A}?t:f}|${{$a}=={B}:f}\n", Some("<t:f|f>")),
    ("probe = ${{a} == {a}}|${{a} == {b}}\n", Some("<true|>")),
    ("probe = ${ {a} \t== {a} }\n", Some("<true>")),
    ("probe = ${{a } == {a} ? {t} : {f}}\n", Some("<f>")),
    ("probe = ${{9} < {10}}|${{9x} < {10}}|${{9} < {10x}}\n", Some("<true||>")),
    ("probe = ${{007} == {7}}|${{-1} < {-2}}|${{} < {0}}\n", Some("<true|true|true>")),
    ("probe = ${{é} > {z}}|${{a} < {B}}\n", Some("<true|>")),
    ("probe = $({a} == {a}?{t})\n", Some("<t>")),
    ("probe = ${{${{1} < {2} ? {x}}} == {x} ? {${{3} > {2}}}}\n", Some("<true>")),
    ("probe = ${{3.9} <level {3.10}}|${{3.9} < {3.10}}\n", Some("<true|>")),
    ("compatibility_level = 3.6\nprobe = ${{$compatibility_level} >=level {3.6} ? {new} : {old}}\n", Some("<new>")),
    ("probe = ${{3} <level {x}}\n", None),
    ("probe = ${{3} <lvl {4}}\n", None),
    ("probe = ${{3} <level{4}}|${{3} < level {4}}\n", None),
    ("probe = ${{a}}\n", None),
    ("probe = ${{a} = {a}}\n", None),
    ("probe = ${{a} === {a}}\n", None),
    ("probe = ${{a} =! {a}}\n", None),
    ("probe = ${{a} == a}\n", None),
    ("probe = ${{a} ==}\n", None),
    ("probe = ${{a} == {a} x}\n", None),
    ("probe = ${{a} == {$}}\n", None),
    // Loops.
    ("probe = $probe\n", None),
    ("probe = x $probe y\n", None),
    ("a = ${b}\nb = $(c)\nc = ${a?{$a}}\nprobe = $a\n", None),
    ("probe = ${a?$probe}x\n", Some("<x>")),
    ("probe = ${{$probe} == {x}}\n", None),
    // Other parameters.
    ("probe = $config_directory_ $process_name $service_name\n", Some("< scache scache>")),
    ("probe = $queue_directory $syslog_name $mail_owner\n", Some("</nonexistent/queue postfix daemon>")),
    ("multi_instance_name = postfix-2\nprobe = $syslog_name\n", Some("<postfix-2>")),
    ("service_name = y\nprobe = $service_name\n", Some("<scache>")),
    ("probe = $daemon_directory/$process_name $data_directory $command_directory\n", Some("</usr/lib/postfix/sbin/scache /var/lib/postfix /usr/sbin>")),
    ("mail_name = M\nprobe = $mail_name $syslog_facility $max_idle $maillog_file_prefixes\n", Some("<M mail 100s /var, /dev/stdout>")),
];

const OVERRIDES: [(&str, &str); 5] = [
    ("mail_owner", "daemon"),
    ("setgid_group", "mail"),
    ("myhostname", "host.example.com"),
    ("queue_directory", "/nonexistent/queue"),
    ("inet_protocols", "ipv4"),
];

#[test]
fn a_file_means_what_it_means_to_stock_scache() {
    every(FILES, |(text, expected)| {
        let stock = Config::new(text).scache("connection_cache_ttl_limit", "<$probe>");
        let stock = stock.quoted("bad time value or unit: ");
        assert_eq!(stock, expected.map(as_logged), "stock, of {text:?}");
        let ours = ours(text, "connection_cache_ttl_limit", "<$probe>");
        assert_eq!(ours.as_deref(), *expected, "ours, of {text:?}");
    });
}

#[test]
fn a_file_means_what_postconf_shows() {
    every(FILES, |(text, expected)| {
        // postconf has a name of its own, and no service.
        if text.contains("process_name") || text.contains("service_name") {
            return;
        }
        let config = Config::new(text);
        let mut arguments = vec!["-x", "-h", "-o", "smtp_helo_name=<$probe>"];
        let overrides = OVERRIDES.map(|(name, value)| format!("{name}={value}"));
        for assignment in &overrides {
            arguments.extend(["-o", assignment]);
        }
        arguments.push("smtp_helo_name");
        let shown = config.postconf(&arguments);
        let ours = ours(text, "smtp_helo_name", "<$probe>");
        let output = String::from_utf8_lossy(&shown.stdout).into_owned();
        let shown = shown.status.success().then(|| squeezed(&output));
        assert_eq!(shown, ours.as_deref().map(squeezed), "of {text:?}");
        assert_eq!(ours.is_some(), expected.is_some(), "of {text:?}");
    });
}

#[test]
fn every_operator_compares_as_stock_does() {
    let sides = [
        ("1", "1"),
        ("1", "2"),
        ("2", "1"),
        ("9", "10"),
        ("10", "9"),
        ("010", "10"),
        ("9a", "10"),
        ("a", "b"),
        ("b", "a"),
        ("", ""),
        ("", "a"),
        ("a", ""),
        ("a", "a "),
        ("A", "a"),
        ("-1", "-2"),
        ("9223372036854775807", "1"),
    ];
    every(&sides, |(left, right)| {
        let mut value = String::from("<");
        for operator in ["==", "!=", "<", "<=", ">=", ">"] {
            value += &format!("${{{{{left}}} {operator} {{{right}}} ? {{y}} : {{n}}}}");
        }
        value += ">";
        let text = format!("probe = {value}\n");
        let stock = Config::new(&text).scache("connection_cache_ttl_limit", "$probe");
        let stock = stock.quoted("bad time value or unit: ");
        assert!(stock.is_some(), "stock, of {text:?}");
        assert_eq!(
            ours(&text, "connection_cache_ttl_limit", "$probe"),
            stock,
            "{left:?} and {right:?}"
        );
    });
}

#[test]
fn values_may_stand_in_one_another_as_deep_as_in_stock() {
    every(&[1, 98, 99, 100, 101, 150], |depth| {
        let links = (1..=*depth).map(|link| format!("n{link} = $n{}\n", link - 1));
        for last in ["end", ""] {
            let text = format!(
                "n0 = {last}\n{}probe = x\n",
                links.clone().collect::<String>()
            );
            let value = format!("x$n{depth}");
            let stock = Config::new(&text).scache("connection_cache_ttl_limit", &value);
            let stock = stock.quoted("bad time value or unit: ");
            assert_eq!(
                ours(&text, "connection_cache_ttl_limit", &value),
                stock,
                "{depth} and {last:?}"
            );
        }
    });
}

/// `in_flow_delay` counts in seconds, may be 0 and at most 10: the error for a longer one shows what stock made of it.
#[test]
fn times_are_what_they_are_to_stock_scache() {
    let times = [
        "5x",
        "50sx",
        "50s5",
        "50sec",
        "50min",
        " 50",
        "+50",
        "-50",
        "-0",
        "50.5",
        "",
        "s",
        "m",
        "x",
        "+",
        "99999999999",
        "2147483647",
        "2147483648",
        "-2147483649",
        "4294967297",
        "4294967346",
        "50 s",
        "0x50",
        "050",
        "50 ",
        "50S",
        "50s",
        "50m",
        "50h",
        "50d",
        "50w",
        "3549w",
        "3550w",
        "3551w",
        "24854d",
        "24855d",
        "596522h",
        "596523h",
        "35791393m",
        "35791394m",
        "50${unit}",
        "${blank}50",
        "50$blank",
        "${blank}s",
        "0",
        "10",
        "11",
        "١",
        "99999999999999999999999999",
        "18446744073709551666",
    ];
    every(&times, |time| {
        let text = format!("unit = m\nspace =\nblank = ${{space:{{ }}}}\nin_flow_delay = {time}\n");
        let stock = Config::new(&text).scache("connection_cache_ttl_limit", "2s");
        let ours = read(&text).and_then(|cf| {
            cf.time("in_flow_delay", TimeUnit::Second, Duration::ZERO)
                .ok()
        });
        let seen = if stock.says("bad time value or unit") {
            None
        } else if let Some(seconds) = stock.quoted("invalid in_flow_delay: ") {
            let seconds = seconds.split(' ').next().unwrap().to_owned();
            Some(Duration::from_secs(seconds.parse().unwrap()))
        } else {
            assert!(stock.says("chdir"), "{time:?}: {}", stock.0);
            let short = ours.filter(|time| time.as_secs() <= 10);
            assert!(
                short.is_some(),
                "{time:?}: up to 10 seconds to stock, {ours:?} to ours"
            );
            short
        };
        assert_eq!(ours, seen, "{time:?}: {}", stock.0);
    });
}

#[test]
fn a_bad_time_is_fatal_to_both_and_both_name_parameter_and_value() {
    let names = [
        "connection_cache_ttl_limit",
        "connection_cache_status_update_time",
        "max_idle",
        "ipc_timeout",
        "daemon_timeout",
    ];
    let cases: Vec<_> = names
        .iter()
        .flat_map(|name| ["5x", "0", "-3"].map(|value| (*name, value)))
        .collect();
    every(&cases, |(name, value)| {
        let text = format!("{name} = {value}\n");
        let stock = Config::new(&text).scache("in_flow_delay", "1s");
        let error = read(&text)
            .unwrap()
            .time(name, TimeUnit::Second, Duration::from_secs(1))
            .unwrap_err();
        let ours = error.to_string();
        for said in [&stock.0, &ours] {
            assert!(
                said.contains(name) && said.contains(value),
                "{text:?}: {said}"
            );
        }
        assert!(
            stock.says("fatal: ") && !stock.says("chdir"),
            "{text:?}: {}",
            stock.0
        );
    });
}

/// `delay_logging_resolution_limit` may be 0 to 6 and shows what stock made of any other number.
#[test]
fn numbers_are_what_they_are_to_stock_scache() {
    let numbers = [
        "7",
        " 7",
        "+7",
        "007",
        "7 ",
        "7x",
        "",
        "-",
        "x",
        "7.0",
        "0x7",
        "2147483647",
        "2147483648",
        "4294967303",
        "99999999999999999999",
        "${blank}8",
        "8$blank",
    ];
    every(&numbers, |number| {
        let text = format!(
            "space =\nblank = ${{space:{{ }}}}\ndelay_logging_resolution_limit = {number}\n"
        );
        let stock = Config::new(&text).scache("connection_cache_ttl_limit", "2s");
        let ours = read(&text).unwrap().number(
            "delay_logging_resolution_limit",
            0..=i32::MAX.unsigned_abs(),
        );
        let seen = stock.quoted("invalid delay_logging_resolution_limit parameter value ");
        let seen = seen.map(|said| said.split(' ').next().unwrap().parse().unwrap());
        assert!(
            seen.is_some() || stock.says("bad numerical"),
            "{number:?}: {}",
            stock.0
        );
        assert_eq!(ours.ok(), seen, "{number:?}: {}", stock.0);
    });
}

#[test]
fn booleans_are_what_they_are_to_stock_scache() {
    every(
        &[
            "yes", "no", "YES", "nO", " yes ", "", "y", "true", "1", "yesno", "$word",
        ],
        |word| {
            let text = format!("word = yes\nsoft_bounce = {word}\n");
            let stock = Config::new(&text).scache("connection_cache_ttl_limit", "2s");
            let ours = read(&text).unwrap().boolean("soft_bounce");
            assert!(
                stock.says("chdir") != stock.says("bad boolean"),
                "{word:?}: {}",
                stock.0
            );
            assert_eq!(ours.is_ok(), stock.says("chdir"), "{word:?}: {}", stock.0);
        },
    );
}

#[test]
fn what_may_not_be_empty_is_fatal_to_both() {
    let names: Vec<_> = PARAMETERS
        .iter()
        .filter(|parameter| parameter.origin != Origin::Own)
        .collect();
    every(&names, |parameter| {
        let name = parameter.name;
        // What the process sets itself, whatever main.cf says.
        if [
            "process_id",
            "process_name",
            "service_name",
            "config_directory",
        ]
        .contains(&name)
        {
            return;
        }
        let stock = Config::new("").scache(name, "");
        let fatal = stock.says(name) && !stock.says("chdir(\"/");
        assert_eq!(fatal, !parameter.may_be_empty, "stock, {name}: {}", stock.0);
        let mut cf = MainCf::default();
        cf.set(name, "");
        let ours = cf.bytes(name);
        assert_eq!(ours.is_err(), fatal, "ours, {name}");
        assert!(
            ours.is_ok() || matches!(ours, Err(ParameterError::Empty { .. })),
            "{name}"
        );
    });
}

#[test]
fn assignments_on_the_command_line_are_split_as_by_stock_scache() {
    let cases = [
        "probe=x",
        " probe = x y ",
        "probe=",
        "probe=a=b",
        "probe==",
        "probe",
        "=x",
        "",
        "pro be=x",
        "probe \t=x",
        "probe=\nx\n",
    ];
    every(&cases, |assignment| {
        let config = Config::new("probe = file\n");
        let stock = config.scache_with(&[
            "-o",
            assignment,
            "-o",
            "connection_cache_ttl_limit=<$probe>",
        ]);
        let ours = split_assignment(*assignment).ok().map(|(name, value)| {
            let mut cf = read("probe = file\n").unwrap();
            cf.set(name, value);
            cf.string("probe")
                .map(|value| format!("<{value}>"))
                .unwrap()
        });
        assert_eq!(
            ours,
            stock.quoted("bad time value or unit: "),
            "{assignment:?}: {}",
            stock.0
        );
    });
}

#[test]
fn what_is_odd_is_warned_of_with_the_same_lines() {
    let files = [
        "a = 1\na = 1\n",
        "a = 1\n\n# c\na =\n 2\nb = 3\n",
        "a = 1\na = 2\na = 1\n",
        " x\n y\na = 1\n",
        "\n\n  x = y\n# c\na = 1\na = 3\n",
    ];
    every(&files, |text| {
        let stock = Config::new(text).postconf(&["-h", "mail_name"]);
        let stock = String::from_utf8_lossy(&stock.stderr);
        let odd = |line: &&str| {
            line.contains("overriding earlier") || line.contains("must not start with whitespace")
        };
        let stock_lines: Vec<_> = stock.lines().filter(odd).collect();
        let cf = read(text).unwrap();
        let ours: Vec<_> = cf.warnings().iter().map(ToString::to_string).collect();
        assert_eq!(
            ours.len(),
            stock_lines.len(),
            "{text:?}: {ours:?} {stock_lines:?}"
        );
        for (ours, stock) in ours.iter().zip(stock_lines) {
            // Stock does not count the line of the other warning.
            if let Some((_, said)) = stock.split_once("main.cf, ") {
                let place = said.split(':').next().unwrap();
                assert!(ours.starts_with(&format!("{place}:")), "{ours} / {stock}");
            }
        }
    });
}

#[test]
fn a_bad_line_is_named_by_its_number_by_both() {
    let files = [
        "probe\n",
        "a = 1\n# c\n\nx y = z\n",
        "a = 1\n b\n\n= x\n y\n",
        " x\n y\nz\n",
    ];
    every(&files, |text| {
        let stock = Config::new(text).postconf(&["-h", "mail_name"]);
        let stock = String::from_utf8_lossy(&stock.stderr);
        let error = MainCf::parse(text.as_bytes()).unwrap_err();
        let fatal = stock.lines().find(|line| line.contains("fatal: "));
        let place = format!("main.cf, line {}: ", error.line);
        assert!(
            fatal.is_some_and(|line| line.contains(&place)),
            "{error} / {stock}"
        );
    });
}

#[test]
fn a_value_that_is_not_utf8_is_as_long_as_to_stock_scache() {
    let text = b"# \xe9\nprobe = a\xe9b\n";
    let stock = Config::new(text).scache("connection_cache_ttl_limit", "<$probe>");
    let stock = stock.quoted("bad time value or unit: ").unwrap();
    let cf = MainCf::parse(text).unwrap();
    assert_eq!(cf.bytes("probe").unwrap(), b"a\xe9b");
    assert_eq!(
        cf.string("probe").unwrap().replace('\u{fffd}', "?"),
        stock.replace(['<', '>'], "")
    );
}

#[test]
fn defaults_are_those_of_the_package() {
    let config = Config::new("");
    for parameter in PARAMETERS {
        let shown = config.postconf(&["-d", "-h", parameter.name]);
        let text = String::from_utf8_lossy(&shown.stdout).into_owned();
        let known = !String::from_utf8_lossy(&shown.stderr).contains("unknown parameter");
        assert_eq!(known, parameter.origin != Origin::Own, "{}", parameter.name);
        if let (true, Some(default)) = (known, parameter.default) {
            assert_eq!(text.trim_end(), default, "{}", parameter.name);
        }
    }
}

/// Times that our own options take are those of main.cf.
#[test]
fn a_time_reads_the_same_with_and_without_a_file() {
    for time in ["5", "5m", "5x", "", "3550w"] {
        let mut cf = MainCf::default();
        cf.set("x", time);
        let read = cf.time("x", TimeUnit::Hour, Duration::ZERO);
        assert_eq!(read.ok(), parse_time(time, TimeUnit::Hour).ok(), "{time:?}");
    }
}

fn read(text: &str) -> Option<MainCf> {
    let mut cf = MainCf::parse(text.as_bytes()).ok()?;
    for (name, value) in OVERRIDES {
        cf.set(name, value);
    }
    cf.set("process_name", "scache");
    cf.set("service_name", "scache");
    Some(cf)
}

fn ours(text: &str, name: &str, value: &str) -> Option<String> {
    let mut cf = read(text)?;
    cf.set(name, value);
    cf.string(name).ok()
}

/// Postfix logs a question mark for every byte that is not printable ASCII.
fn as_logged(text: &str) -> String {
    let bytes = text.bytes().map(|byte| match byte {
        b' '..=b'~' => char::from(byte),
        _ => '?',
    });
    bytes.collect()
}

fn squeezed(text: &str) -> String {
    let words: Vec<_> = text
        .split([' ', '\t', '\r', '\n'])
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ")
}

/// Runs `check` for every case, several at a time, and fails with all the failures.
fn every<T: Sync>(cases: &[T], check: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
            check(case);
        }
    };
    let failed = thread::scope(|scope| {
        let workers: Vec<_> = (0..24).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .filter_map(|worker| worker.join().err())
            .count()
    });
    assert_eq!(failed, 0, "cases failed, see above");
}

/// A directory with a main.cf, for the programs of the package.
struct Config {
    directory: TempDir,
    root: PathBuf,
}

impl Config {
    fn new(main_cf: impl AsRef<[u8]>) -> Self {
        let directory = tempfile::tempdir().expect("a directory for main.cf");
        let path = directory.path().join("main.cf");
        fs::write(&path, main_cf).expect("write main.cf");
        // Postfix reads a file that has just changed again and again until it is two seconds old.
        let file = fs::File::options().write(true).open(&path);
        let old = SystemTime::now() - Duration::from_secs(3600);
        let aged = file.and_then(|file| file.set_modified(old));
        aged.expect("set the time of main.cf");
        fs::write(directory.path().join("master.cf"), "").expect("write master.cf");
        Self {
            directory,
            root: Stock::locate().root().to_owned(),
        }
    }

    fn scache(&self, name: &str, value: &str) -> Said {
        self.scache_with(&["-o", &format!("{name}={value}")])
    }

    /// Runs the stock scache(8), which cannot but die of something.
    fn scache_with(&self, arguments: &[&str]) -> Said {
        let mut command = self.command("usr/lib/postfix/sbin/scache");
        command.args(["-d", "-l", "-V", "-n", "scache", "-t", "unix"]);
        for (name, value) in OVERRIDES {
            command.arg("-o").arg(format!("{name}={value}"));
        }
        let output = command
            .args(arguments)
            .output()
            .expect("run the stock scache");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "the stock scache goes on: {said}");
        Said(said)
    }

    fn postconf(&self, arguments: &[&str]) -> Output {
        let mut command = self.command("usr/sbin/postconf");
        command.arg("-c").arg(self.directory.path()).args(arguments);
        command.output().expect("run postconf")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.root.join(program));
        command.env_clear();
        command.env("PATH", "/usr/bin:/bin");
        command.env("LD_LIBRARY_PATH", Stock::locate().library_path());
        command.env("MAIL_CONFIG", self.directory.path());
        command.stdin(std::process::Stdio::null());
        command
    }
}

/// What the stock scache wrote to stderr.
struct Said(String);

impl Said {
    fn says(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// What follows `text`, to the end of the line.
    fn quoted(&self, text: &str) -> Option<String> {
        let (_, rest) = self.0.split_once(text)?;
        Some(rest.split('\n').next()?.to_owned())
    }
}
