//! The page in a real browser: it is live, fits a telephone, is dark for who wants that, and asks nobody else.

use std::path::Path;

use scache_tests::chromium::{Chromium, Screen};

use crate::cache::{Cache, Exporter};

const DESK: Screen = Screen {
    width: 1280,
    height: 900,
    dark: false,
    mobile: false,
};

const DARK: Screen = Screen { dark: true, ..DESK };

const TELEPHONE: Screen = Screen {
    width: 375,
    height: 812,
    dark: false,
    mobile: true,
};

fn opened(exporter: &Exporter, screen: Screen) -> Chromium {
    let mut browser = Chromium::start();
    browser.look(screen);
    browser.open(&format!("http://{}/", exporter.address));
    browser
}

/// That the page has asked for nothing elsewhere, and the browser has found nothing to complain of.
fn stays_at_home(browser: &Chromium, exporter: &Exporter) {
    let home = format!("http://{}/", exporter.address);
    for request in browser.requests() {
        assert!(
            request.starts_with(&home) || request.starts_with("data:"),
            "{request}"
        );
    }
    assert_eq!(browser.complaints(), &[] as &[String]);
}

#[test]
fn its_numbers_change_while_one_looks() {
    let mut cache = Cache::start();
    let exporter = Exporter::start(&cache.socket(), &[]);
    let mut browser = opened(&exporter, DESK);
    browser.wait_until("document.querySelector('#state').textContent === 'answering'");
    assert_eq!(browser.text("#rate"), "–");
    let mut client = cache.client();
    cache.miss(&mut client, b"smtp\nexample.com");
    for _ in 0..3 {
        cache.save(&mut client, b"smtp\nexample.com");
        cache.hit(&mut client, b"smtp\nexample.com");
    }
    cache.save(&mut client, b"smtp\nexample.com");
    browser.wait_until("document.querySelector('#rate').textContent === '75'");
    browser.wait_until("document.querySelector('#connections').textContent === '1'");
    let row = "document.querySelector('#destinations tbody tr')?.innerText";
    browser.wait_until(&format!(
        "/^smtp example.com\\s+75 %\\s+3\\s+1\\s+1$/.test({row})"
    ));
    assert!(browser.text("#connections-note").contains("of 100"));
    // The browser had asked for events before: so the cache remembers these.
    for what in ["missed", "saved", "taken"] {
        browser.wait_until(&format!(
            "[...document.querySelectorAll('#events b')].some(e => e.textContent === '{what}')"
        ));
    }
    let label = browser.evaluate("document.querySelector('#plot svg').getAttribute('aria-label')");
    assert!(
        label.as_str().is_some_and(|label| label.contains("75 %")),
        "{label}"
    );
    // Once more, so that it was no accident.
    cache.hit(&mut client, b"smtp\nexample.com");
    browser.wait_until(&format!("/\\s80 %\\s+4\\s+1\\s+0$/.test({row})"));
    browser.wait_until("document.querySelector('#connections').textContent === '0'");
    stays_at_home(&browser, &exporter);
}

#[test]
fn it_is_light_or_dark_and_fits_a_telephone() {
    let mut cache = Cache::start();
    let exporter = Exporter::start(&cache.socket(), &[]);
    let mut browser = opened(&exporter, DESK);
    let mut client = cache.client();
    // As long as a name gets, and without a place to break it.
    let long = [b"smtp\n".as_slice(), &[b'w'; 500]].concat();
    for destination in [&long[..], b"smtp\nexample.com\n*"] {
        cache.miss(&mut client, destination);
        cache.save(&mut client, destination);
        cache.hit(&mut client, destination);
    }
    browser.wait_until("document.querySelectorAll('#destinations tbody tr').length === 2");
    browser.wait_until("document.querySelectorAll('#events li').length > 0");
    let ground = "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)";
    for (name, screen) in [("light", DESK), ("dark", DARK), ("narrow", TELEPHONE)] {
        browser.look(screen);
        let bright = browser.evaluate(&format!("{ground}[0] > 128"));
        assert_eq!(bright, !screen.dark, "{name}");
        // The graph is made anew for the new width.
        browser.wait_until(
            "document.querySelector('#plot svg').viewBox.baseVal.width === document.querySelector('#plot').clientWidth",
        );
        let beyond = browser.evaluate(
            "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(e => e.outerHTML.slice(0, 80))",
        );
        assert_eq!(
            beyond,
            serde_json::json!([]),
            "{name}: wider than the screen"
        );
        let wide = browser.evaluate("document.documentElement.scrollWidth > innerWidth");
        assert_eq!(wide, false, "{name}: to be scrolled sideways");
        let picture = browser.picture();
        assert!(picture.starts_with(b"\x89PNG"), "{name}");
        let file = format!("status-{name}.png");
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(file);
        std::fs::write(path, picture).expect("written");
    }
    stays_at_home(&browser, &exporter);
}

#[test]
fn its_text_can_be_read() {
    let cache = Cache::start();
    let exporter = Exporter::start(&cache.socket(), &[]);
    let mut browser = opened(&exporter, DESK);
    browser.wait_until("document.querySelector('#state').textContent === 'answering'");
    // Contrast as WCAG reckons it, of the colours that text has with the grounds that it is on.
    let contrast = "(() => {
        const light = colour => {
            const [r, g, b] = colour.match(/[\\da-f]{2}/gi).map(part => parseInt(part, 16) / 255)
                .map(part => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
        };
        const value = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
        const poor = [];
        for (const [ink, ground] of [['ink', 'card'], ['ink', 'ground'], ['soft', 'card'], ['soft', 'ground'],
            ['soft', 'faint'], ['hit', 'card'], ['good', 'card'], ['warn', 'card'], ['bad', 'card'], ['bad', 'bad-ground']]) {
            const [dark, bright] = [light(value(`--${ink}`)), light(value(`--${ground}`))].sort((a, b) => a - b);
            const ratio = (bright + 0.05) / (dark + 0.05);
            if (!(ratio >= 4.5)) poor.push(`${ink} on ${ground}: ${ratio}`);
        }
        return poor;
    })()";
    for screen in [DESK, DARK] {
        browser.look(screen);
        assert_eq!(browser.evaluate(contrast), serde_json::json!([]));
    }
    // What is there for who does not see it.
    for (selector, count) in [
        ("h1", 1),
        ("th:not([scope])", 0),
        ("svg:not([role=img]):not([aria-hidden=true])", 0),
        ("section:not([aria-labelledby])", 0),
        ("html[lang=en]", 1),
    ] {
        let found = browser.evaluate(&format!("document.querySelectorAll('{selector}').length"));
        assert_eq!(found, count, "{selector}");
    }
}

#[test]
fn a_name_is_never_taken_for_a_part_of_the_page() {
    let mut cache = Cache::start();
    let exporter = Exporter::start(&cache.socket(), &[]);
    let mut browser = opened(&exporter, DESK);
    browser.wait_until("document.querySelector('#state').textContent === 'answering'");
    let name =
        "<img/src=x/onerror=document.title='taken'><script>document.title='taken'</script>\u{202e}";
    let mut client = cache.client();
    cache.miss(&mut client, name.as_bytes());
    cache.save(&mut client, name.as_bytes());
    browser.wait_until(
        "document.querySelector('#destinations tbody bdi')?.textContent.includes('<img/src=x')",
    );
    browser.wait_until("[...document.querySelectorAll('#events bdi')].some(e => e.textContent.includes('<script>'))");
    assert_eq!(browser.evaluate("document.images.length"), 0);
    assert_eq!(browser.evaluate("document.scripts.length"), 1);
    let title = browser.evaluate("document.title");
    assert!(
        title.as_str().is_some_and(|title| title.contains("scache")),
        "{title}"
    );
    stays_at_home(&browser, &exporter);
}

#[test]
fn it_says_when_the_cache_is_away_and_goes_on_when_it_is_back() {
    let mut cache = Cache::away();
    let exporter = Exporter::start(&cache.socket(), &[]);
    let mut browser = opened(&exporter, TELEPHONE);
    browser.wait_until("document.querySelector('#state').textContent === 'away'");
    let socket = cache.socket().display().to_string();
    assert!(browser.text("#reason").contains(&socket));
    cache.come();
    browser.wait_until("document.querySelector('#state').textContent === 'answering'");
    browser.wait_until("document.querySelector('#notice').hidden");
    let mut client = cache.client();
    cache.miss(&mut client, b"d");
    browser.wait_until("document.querySelector('#rate').textContent === '0'");
    cache.go();
    browser.wait_until("document.querySelector('#state').textContent === 'away'");
    // What was known last stays, and is marked as old.
    assert_eq!(browser.text("#rate"), "0");
    browser.wait_until("document.querySelector('#page').classList.contains('stale')");
    cache.come();
    browser.wait_until("document.querySelector('#state').textContent === 'answering'");
    stays_at_home(&browser, &exporter);
}
