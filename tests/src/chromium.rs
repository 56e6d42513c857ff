//! Debian's Chromium without a screen, unpacked below target/ and never installed, driven over a pipe.
//!
//! It speaks the DevTools protocol: JSON with a NUL behind each message, on descriptors 3 and 4.
//! `SCACHE_CHROMIUM_ROOT` names a directory with the unpacked packages to use instead.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use command_fds::{CommandFdExt, FdMapping};
use rustix::pipe::{PipeFlags, pipe_with};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::debian::Packages;

const CHROMIUM: Packages = Packages {
    directory: "chromium-stock",
    variable: "SCACHE_CHROMIUM_ROOT",
    names: &[
        "chromium-headless-shell",
        "chromium-common",
        "fonts-dejavu-core",
    ],
    programs: &["usr/lib/chromium/chromium-headless-shell"],
    libraries: &[
        "lib/x86_64-linux-gnu",
        "lib/aarch64-linux-gnu",
        "usr/lib/x86_64-linux-gnu/pulseaudio",
        "usr/lib/aarch64-linux-gnu/pulseaudio",
    ],
};

/// How long a browser on a busy machine may take for anything.
const DEADLINE: Duration = Duration::from_secs(90);

/// A browser with one page open, which ends with this value.
#[derive(Debug)]
pub struct Chromium {
    child: Child,
    to: File,
    from: Receiver<Value>,
    /// The page, in the browser's words.
    session: Value,
    asked: u64,
    requests: Vec<String>,
    complaints: Vec<String>,
    directory: TempDir,
}

/// How a page is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Screen {
    /// In CSS pixels.
    pub width: u32,
    /// In CSS pixels.
    pub height: u32,
    /// Whether the user prefers dark colours.
    pub dark: bool,
    /// Whether it is a telephone.
    pub mobile: bool,
}

impl Chromium {
    /// Starts one with an empty page.
    ///
    /// # Panics
    /// With what to do, when it can be neither found nor fetched; when it does not start.
    #[must_use]
    pub fn start() -> Self {
        static ROOT: OnceLock<PathBuf> = OnceLock::new();
        let root = ROOT.get_or_init(|| CHROMIUM.locate());
        let directory = TempDir::with_prefix("scache-chromium-").expect("a directory");
        let fonts = directory.path().join("fonts.conf");
        std::fs::write(&fonts, fonts_of(root, directory.path())).expect("written");
        let pipe = || pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
        let (its_input, to) = pipe();
        let (from, its_output) = pipe();
        let map = |descriptor: OwnedFd, number| FdMapping {
            parent_fd: descriptor,
            child_fd: number,
        };
        let mut command = Command::new(root.join("usr/lib/chromium/chromium-headless-shell"));
        command
            .args([
                "--headless",
                "--no-sandbox",
                "--disable-gpu",
                "--disable-quic",
            ])
            .args(["--no-first-run", "--disable-background-networking"])
            .args(["--disable-component-update", "--disable-sync"])
            .args(["--disable-breakpad", "--disable-dev-shm-usage", "--lang=en"])
            .arg("--remote-debugging-pipe")
            .arg(format!(
                "--user-data-dir={}",
                directory.path().join("profile").display()
            ))
            .arg("about:blank")
            .env("LD_LIBRARY_PATH", CHROMIUM.library_path(root))
            .env("FONTCONFIG_FILE", &fonts)
            .env("HOME", directory.path())
            .env("TZ", "UTC")
            .current_dir(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("log")).expect("a log"))
            .fd_mappings(vec![map(its_input, 3), map(its_output, 4)])
            .expect("two numbers");
        let child = command.spawn().expect("chromium can be started");
        // The command has its ends of the pipes: a browser that is gone is to be seen.
        drop(command);
        let mut browser = Self {
            child,
            to: File::from(to),
            from: messages(from),
            session: Value::Null,
            asked: 0,
            requests: Vec::new(),
            complaints: Vec::new(),
            directory,
        };
        let page = browser.ask("Target.createTarget", json!({"url": "about:blank"}));
        let target = &page["targetId"];
        let attached = browser.ask(
            "Target.attachToTarget",
            json!({"targetId": target, "flatten": true}),
        );
        browser.session = attached["sessionId"].clone();
        for domain in ["Page", "Runtime", "Log", "Network"] {
            browser.ask(&format!("{domain}.enable"), json!({}));
        }
        browser
    }

    /// Opens an address, and waits until all of it is there.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn open(&mut self, address: &str) {
        let opened = self.ask("Page.navigate", json!({"url": address}));
        assert!(opened.get("errorText").is_none(), "{address}: {opened}");
        // The answer comes when the page does, before all of it is there.
        let there = "document.readyState === 'complete' && location.href !== 'about:blank'";
        self.wait_until(there);
    }

    /// Looks at the page in this way.
    pub fn look(&mut self, screen: Screen) {
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            json!({
                "width": screen.width, "height": screen.height, "mobile": screen.mobile,
                "deviceScaleFactor": 1,
            }),
        );
        let scheme = if screen.dark { "dark" } else { "light" };
        self.ask(
            "Emulation.setEmulatedMedia",
            json!({"features": [
                {"name": "prefers-color-scheme", "value": scheme},
                {"name": "prefers-reduced-motion", "value": "reduce"},
            ]}),
        );
    }

    /// The value of an expression in the page.
    ///
    /// # Panics
    /// When it throws.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let mut answer = self.ask(
            "Runtime.evaluate",
            json!({"expression": expression, "returnByValue": true, "awaitPromise": true}),
        );
        let exception = answer.get("exceptionDetails");
        assert!(exception.is_none(), "{expression}: {answer}");
        answer["result"]["value"].take()
    }

    /// The text of an element.
    pub fn text(&mut self, selector: &str) -> String {
        let text = self.evaluate(&format!(
            "document.querySelector({selector:?})?.textContent"
        ));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// When that takes too long, with what the page says.
    pub fn wait_until(&mut self, expression: &str) {
        let deadline = Instant::now() + DEADLINE;
        while self.evaluate(expression) != Value::Bool(true) {
            if Instant::now() >= deadline {
                let page = self.evaluate("document.body.innerText");
                panic!("not so: {expression}\n{:?}\n{page}", self.complaints);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A picture of the whole page, as PNG.
    ///
    /// # Panics
    /// When the browser does not make one.
    pub fn picture(&mut self) -> Vec<u8> {
        let height = self.evaluate("document.documentElement.scrollHeight");
        let width = self.evaluate("document.documentElement.clientWidth");
        let answer = self.ask(
            "Page.captureScreenshot",
            json!({
                "format": "png", "captureBeyondViewport": true,
                "clip": {"x": 0, "y": 0, "width": width, "height": height, "scale": 1},
            }),
        );
        decode_base64(answer["data"].as_str().expect("a picture"))
    }

    /// Where the page has asked for something so far.
    #[must_use]
    pub fn requests(&self) -> &[String] {
        &self.requests
    }

    /// Errors and warnings on the console so far.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.complaints
    }

    fn ask(&mut self, method: &str, parameters: Value) -> Value {
        self.asked += 1;
        let mut message = json!({"id": self.asked, "method": method, "params": parameters});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        let mut bytes = message.to_string().into_bytes();
        bytes.push(0);
        self.to.write_all(&bytes).expect("chromium runs");
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut answer = match self.from.recv_timeout(left) {
                Ok(answer) => answer,
                Err(error) => panic!("no answer to {method}: {error}\n{}", self.log()),
            };
            if answer["id"] == self.asked {
                assert!(answer.get("error").is_none(), "{method}: {answer}");
                return answer["result"].take();
            }
            self.note(&answer);
        }
    }

    /// Remembers what the browser tells without being asked.
    fn note(&mut self, event: &Value) {
        let told = &event["params"];
        match event["method"].as_str() {
            Some("Network.requestWillBeSent") => {
                let address = told["request"]["url"].as_str().unwrap_or_default();
                self.requests.push(address.to_owned());
            }
            Some("Runtime.exceptionThrown" | "Log.entryAdded") => {
                self.complaints.push(told.to_string());
            }
            Some("Runtime.consoleAPICalled") if told["type"] != "log" => {
                self.complaints.push(told.to_string());
            }
            _ => {}
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Chromium {
    fn drop(&mut self) {
        // Its other processes end when it does. It also ends by itself when its pipe is closed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Messages come while nobody asks too, and a pipe that nobody reads would stop the browser.
fn messages(from: OwnedFd) -> Receiver<Value> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for message in BufReader::new(File::from(from)).split(0) {
            let Ok(message) = message else { break };
            let Ok(message) = serde_json::from_slice(&message) else {
                continue;
            };
            if sender.send(message).is_err() {
                break;
            }
        }
    });
    receiver
}

/// One font, the same on every machine.
fn fonts_of(root: &Path, directory: &Path) -> String {
    let mut text = String::from("<?xml version=\"1.0\"?>\n<fontconfig>\n");
    for fonts in [root, Path::new("/")] {
        let fonts = fonts.join("usr/share/fonts/truetype/dejavu");
        text.push_str(&format!("<dir>{}</dir>\n", fonts.display()));
    }
    let cache = directory.join("fonts");
    text.push_str(&format!("<cachedir>{}</cachedir>\n", cache.display()));
    text.push_str(
        "<alias><family>system-ui</family><prefer><family>DejaVu Sans</family></prefer></alias>\n",
    );
    text.push_str("</fontconfig>\n");
    text
}

/// The alphabet of RFC 4648, without a check: the browser made it.
fn decode_base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => letter - b'A',
        b'a'..=b'z' => letter - b'a' + 26,
        b'0'..=b'9' => letter - b'0' + 52,
        b'+' => 62,
        _ => 63,
    };
    let letters: Vec<u8> = text.bytes().filter(|letter| *letter != b'=').collect();
    let mut bytes = Vec::with_capacity(letters.len() * 3 / 4);
    for group in letters.chunks(4) {
        let bits = group
            .iter()
            .fold(0_u32, |bits, letter| bits << 6 | u32::from(value(*letter)));
        let bits = bits << (6 * (4 - group.len()));
        bytes.extend(&bits.to_be_bytes()[1..group.len()]);
    }
    bytes
}
