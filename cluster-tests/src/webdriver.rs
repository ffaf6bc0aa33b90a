//! A browser that does what it is told: the few commands of WebDriver that are needed, over the
//! system's chromedriver.

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::client::{connect, receive};
use crate::process::Process;

/// Names under which a browser is looked for.
const BROWSERS: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Name under which the driver is looked for.
const DRIVER: &str = "chromedriver";

/// By this name WebDriver wraps the reference to an element.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Waits for changes of colour and place that are under way.
const SETTLED: &str = "
    const moves = document.getAnimations().filter((move) => move instanceof CSSTransition);
    return Promise.allSettled(moves.map((move) => move.finished)).then(() => null);";

/// The two programs.
#[derive(Debug, Clone)]
pub struct Programs {
    browser: PathBuf,
    driver: PathBuf,
}

impl Programs {
    /// Those of this system.
    ///
    /// # Errors
    /// One of them is missing; the message says which.
    pub fn find() -> Result<Self> {
        let browser = BROWSERS.iter().find_map(|name| in_path(name));
        let browser = browser.with_context(|| format!("no browser: {}", BROWSERS.join(", ")))?;
        let driver = in_path(DRIVER).with_context(|| format!("no driver: {DRIVER}"))?;
        Ok(Self { browser, driver })
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(name)).find(|path| path.is_file())
}

/// A browser with one empty window, gone when this is dropped.
#[derive(Debug)]
pub struct Browser {
    driver: SocketAddr,
    session: String,
    _process: Process,
    /// What the browser writes.
    _profile: TempDir,
}

impl Browser {
    /// Starts it.
    ///
    /// # Errors
    /// The driver or the browser does not start.
    pub fn start(programs: &Programs) -> Result<Self> {
        let process = Process::start(Command::new(&programs.driver).arg("--port=0"))?;
        let line = process.line_with("successfully on port ")?;
        let port = line.rsplit("on port ").next().unwrap_or_default().trim_end_matches('.');
        let driver = SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse()?));
        let profile = tempfile::tempdir()?;
        let folder = format!("--user-data-dir={}", profile.path().display());
        // Without a sandbox, because who runs tests in a container is root there.
        let args = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            "--hide-scrollbars",
            &folder,
        ];
        let wanted = json!({ "capabilities": { "alwaysMatch": {
            "goog:chromeOptions": { "binary": programs.browser, "args": args },
            "goog:loggingPrefs": { "browser": "ALL" },
        } } });
        let started = command(driver, "POST", "/session", &wanted)?;
        let session = started["sessionId"].as_str().context("no session of the driver")?.to_owned();
        Ok(Self { driver, session, _process: process, _profile: profile })
    }

    fn post(&self, what: &str, body: &Value) -> Result<Value> {
        command(self.driver, "POST", &format!("/session/{}/{what}", self.session), body)
    }

    /// Opens a page.
    ///
    /// # Errors
    /// It cannot be loaded.
    pub fn open(&self, url: &str) -> Result<()> {
        self.post("url", &json!({ "url": url })).map(drop)
    }

    /// Gives the page a size, as on a screen of that width.
    ///
    /// # Errors
    /// The browser refuses.
    pub fn resize(&self, width: u32, height: u32) -> Result<()> {
        let metrics =
            json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.tool("Emulation.setDeviceMetricsOverride", &metrics).map(drop)
    }

    fn tool(&self, name: &str, parameters: &Value) -> Result<Value> {
        self.post("goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    /// Runs a function body in the page; returns what it returns, or what its promise becomes.
    ///
    /// # Errors
    /// It throws.
    pub fn run(&self, script: &str) -> Result<Value> {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// The text of an element that is shown; empty if it is not.
    ///
    /// # Errors
    /// There is no such element.
    pub fn text(&self, selector: &str) -> Result<String> {
        let element = self.element(selector)?;
        let path = format!("/session/{}/element/{element}/text", self.session);
        let text = command(self.driver, "GET", &path, &Value::Null)?;
        Ok(text.as_str().unwrap_or_default().to_owned())
    }

    /// Clicks an element as a person would, who scrolls to it first.
    ///
    /// # Errors
    /// There is no such element, or it cannot be clicked.
    pub fn click(&self, selector: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.post(&format!("element/{element}/click"), &json!({})).map(drop)
    }

    /// Types into an element.
    ///
    /// # Errors
    /// There is no such element, or nothing can be typed into it.
    pub fn type_into(&self, selector: &str, text: &str) -> Result<()> {
        let element = self.element(selector)?;
        self.post(&format!("element/{element}/value"), &json!({ "text": text })).map(drop)
    }

    fn element(&self, selector: &str) -> Result<String> {
        let found = self.post("element", &json!({ "using": "css selector", "value": selector }))?;
        let element = found[ELEMENT].as_str().context("no reference to the element")?;
        Ok(element.to_owned())
    }

    /// Errors of scripts and of the page's policy since the last call. Answers with an error
    /// status are not among them: the page shows those itself.
    ///
    /// # Errors
    /// The driver does not say.
    pub fn script_errors(&self) -> Result<Vec<String>> {
        let entries = self.post("se/log", &json!({ "type": "browser" }))?;
        let entries = entries.as_array().context("no list of log entries")?;
        let errors = entries
            .iter()
            .filter(|entry| entry["level"] == "SEVERE" && entry["source"] != "network");
        Ok(errors.map(|entry| entry["message"].to_string()).collect())
    }

    /// Writes a picture of the whole page, when its colours have changed to what they are to be.
    ///
    /// # Errors
    /// It cannot be made or written.
    pub fn picture(&self, file: &Path) -> Result<()> {
        self.run(SETTLED)?;
        let picture = self.tool(
            "Page.captureScreenshot",
            &json!({ "captureBeyondViewport": true, "clip": self.whole()? }),
        )?;
        let bytes = from_base64(picture["data"].as_str().context("no picture")?)?;
        std::fs::write(file, bytes).with_context(|| file.display().to_string())
    }

    fn whole(&self) -> Result<Value> {
        let size = self.run(
            "const page = document.documentElement; return [page.scrollWidth, page.scrollHeight];",
        )?;
        Ok(json!({ "x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1 }))
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // The browser is a process of the driver and ends with its session, if the driver can.
        let _ = command(self.driver, "DELETE", &format!("/session/{}", self.session), &Value::Null);
    }
}

/// Sends a command; what it returns.
fn command(driver: SocketAddr, method: &str, path: &str, body: &Value) -> Result<Value> {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {driver}\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    let mut stream = connect(driver)?;
    stream.write_all(request.as_bytes())?;
    let answer = receive(&mut stream)?;
    let mut answer_body: Value = serde_json::from_str(&answer.body)?;
    let value = answer_body["value"].take();
    if answer.status != 200 {
        bail!("{method} {path}: {}", value["message"].as_str().unwrap_or("refused"));
    }
    Ok(value)
}

fn from_base64(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes().filter(|letter| *letter != b'=') {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => bail!("not base64"),
        };
        (bits, count) = (bits << 6 | u32::from(value), count + 6);
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    ensure!(!bytes.is_empty(), "nothing");
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_read_with_and_without_padding() {
        for (text, bytes) in [("YQ==", "a"), ("YWI=", "ab"), ("YWJj", "abc"), ("Pz8/", "???")] {
            assert_eq!(from_base64(text).unwrap(), bytes.as_bytes());
        }
        from_base64("%").unwrap_err();
        from_base64("").unwrap_err();
    }
}
