//! Names of ports, from services(5).

use std::fs;

/// The file with the names of ports.
const FILE: &str = "/etc/services";

/// Returns the TCP port that has this name or alias.
pub(super) fn port(name: &str) -> Option<u16> {
    let text = fs::read(FILE).ok()?;
    find(&String::from_utf8_lossy(&text), name)
}

/// Reads lines such as `smtp 25/tcp mail # a comment`.
fn find(text: &str, name: &str) -> Option<u16> {
    text.lines().find_map(|line| {
        let line = line.split('#').next()?;
        let mut words = line.split_whitespace();
        let (first, number) = (words.next()?, words.next()?);
        let port = number.strip_suffix("/tcp")?.parse().ok()?;
        let mut names = words.chain([first]);
        names.any(|other| other == name).then_some(port)
    })
}

#[cfg(test)]
mod tests {
    use super::find;

    #[test]
    fn a_port_has_a_name_and_aliases() {
        let text = "# smtp 1/tcp\nsmtp\t\t25/tcp\t\tmail # x\ndomain 53/tcp\ndomain 53/udp\nntp 123/udp\nbad 70000/tcp\nsmtp 26/tcp\n";
        for (name, port) in [
            ("smtp", Some(25)),
            ("mail", Some(25)),
            ("domain", Some(53)),
            ("ntp", None),
            ("bad", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(find(text, name), port, "{name}");
        }
    }
}
