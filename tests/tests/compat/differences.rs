//! The places where ours does on purpose what the stock program does not. Each is a heading in docs/DIFFERENCES.md.

use std::path::Path;

macro_rules! differences {
    ($($name:ident => $heading:literal,)*) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Difference { $($name,)* }

        impl Difference {
            const ALL: &[Self] = &[$(Self::$name,)*];

            /// The heading under which it is explained.
            fn heading(self) -> &'static str {
                match self { $(Self::$name => $heading,)* }
            }
        }
    };
}

differences! {
    TtlIsDigits => "A ttl is plain digits",
    JudgedWhenComplete => "A request is judged when it is complete",
    SkippedInPairs => "What follows a mistake is skipped in pairs",
    Pipelining => "Requests sent ahead are all answered",
    OnlyItselfStalled => "A stalled client stalls only itself",
    Limits => "Requests have a size limit",
    DescriptorsReturned => "Surplus descriptors are closed",
    StrayDescriptor => "A descriptor where none belongs ends the client",
    ClientGone => "A connection survives the client that asked for it",
    DeadConnections => "Dead connections are not handed out",
    OwnConnection => "A client cannot save its own connection",
    AboutTheCache => "Requests about the cache are answered",
    Goodbye => "A goodbye is said before closing",
}

#[test]
fn every_named_difference_is_documented() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/DIFFERENCES.md");
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let headings: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim())
        .collect();
    let missing: Vec<&str> = Difference::ALL
        .iter()
        .map(|difference| difference.heading())
        .filter(|heading| !headings.contains(heading))
        .collect();
    assert!(
        missing.is_empty(),
        "no heading in {} for: {missing:#?}",
        path.display()
    );
}
