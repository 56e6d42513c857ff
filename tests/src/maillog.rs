//! What a Postfix logged.

/// The lines of a log.
#[derive(Clone, Debug)]
pub struct Maillog(String);

impl Maillog {
    /// A log file's content.
    #[must_use]
    pub fn new(content: Vec<u8>) -> Self {
        Self(String::from_utf8_lossy(&content).into_owned())
    }

    /// How many messages were delivered.
    #[must_use]
    pub fn deliveries(&self) -> usize {
        self.delivered().count()
    }

    /// How many of them went over a connection that had been used before.
    #[must_use]
    pub fn reuses(&self) -> usize {
        self.delivered()
            .filter(|line| line.contains(", conn_use="))
            .count()
    }

    /// What scache(8) logged, without date, host and process number.
    #[must_use]
    pub fn scache(&self) -> Vec<&str> {
        self.0
            .lines()
            .filter(|line| line.contains("/scache["))
            .filter_map(|line| line.split_once("]: "))
            .map(|(_, text)| text)
            .collect()
    }

    /// Lines of any program that speak of trouble with the cache, or of any trouble in scache(8).
    #[must_use]
    pub fn complaints(&self) -> Vec<&str> {
        let bad = ["warning: ", "error: ", "fatal: ", "panic: "];
        self.0
            .lines()
            .filter(|line| bad.iter().any(|word| line.contains(word)))
            .filter(|line| line.contains("scache") || line.contains("connection cach"))
            .collect()
    }

    /// Whether a text is anywhere in it.
    #[must_use]
    pub fn mentions(&self, text: &str) -> bool {
        self.0.contains(text)
    }

    /// The last lines, for a test that failed.
    #[must_use]
    pub fn tail(&self) -> String {
        let lines: Vec<&str> = self.0.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    fn delivered(&self) -> impl Iterator<Item = &str> {
        self.0.lines().filter(|line| line.contains(" status=sent "))
    }
}
