//! Drives the demonstration with the system's browser, as its visitor would: `cargo x browser`.
//! Pictures of what was seen lie in `target/browser`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, ensure};
use cluster_tests::client::Client;
use cluster_tests::process::Process;
use cluster_tests::service::{Service, main_of_node};
use cluster_tests::wait::{wait_for, wait_until};
use cluster_tests::webdriver::{Browser, Programs};
use rustix::process::Signal;

/// Where the pictures go, below the folder of the workspace.
const PICTURES: &str = "target/browser";

/// Two widths: of a laptop and of a telephone, in pixels.
const WIDE: u32 = 1280;
const NARROW: u32 = 400;
const HEIGHT: u32 = 900;

/// Twenty requests at once, half of which change something, and a login in the middle of them.
/// The page's own text against cross-site requests is what it sends.
const LOGIN_AMONG_TWENTY: &str = "
    const form = (fields) => new URLSearchParams({ ...fields, csrf: state.csrf });
    const headers = { accept: 'application/json' };
    const send = (path, fields) => fetch(path, fields
        ? { method: 'POST', headers, body: form(fields) } : { headers }).then(({ status }) => status);
    const some = () => Array.from({ length: 10 },
        (_, nth) => nth % 2 ? send('/shop/visit', {}) : send('/shop/state'));
    const all = [...some(), send('/shop/login', { user: 'grace' }), ...some()];
    return Promise.all(all);";

fn main() -> ExitCode {
    if let Some(status) = main_of_node() {
        return status;
    }
    let is_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let programs = match Programs::find() {
        Ok(programs) => programs,
        Err(missing) if is_ci => {
            eprintln!("browser: FAILED: {missing}");
            return ExitCode::FAILURE;
        }
        Err(missing) => {
            println!("browser: skipped: {missing}");
            return ExitCode::SUCCESS;
        }
    };
    match visit(&programs) {
        Ok(()) => {
            println!("browser: ok; pictures are in {PICTURES}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("browser: FAILED: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn visit(programs: &Programs) -> Result<()> {
    let mut demo = Demo::start()?;
    let seen = demo.visit(programs).and_then(|()| demo.end());
    seen.with_context(|| demo.process.errors())
}

/// The demonstration, and the page in a browser.
struct Demo {
    process: Process,
    page: SocketAddr,
    pictures: PathBuf,
}

impl Demo {
    fn start() -> Result<Self> {
        let process = Process::start(&mut Service::this()?.command(["demo"]))?;
        let line = process.line_with("http://")?;
        let page =
            line.split("http://").nth(1).unwrap_or_default().trim_end_matches('/').parse()?;
        let workspace = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..");
        let pictures = workspace.join(PICTURES);
        std::fs::create_dir_all(&pictures)?;
        Ok(Self { process, page, pictures })
    }

    fn visit(&self, programs: &Programs) -> Result<()> {
        let browser = Browser::start(programs)?;
        browser.resize(WIDE, HEIGHT)?;
        browser.open(&format!("http://{}/", self.page))?;
        let visitor = Visitor { browser, demo: self };
        visitor.logs_in_and_loses_a_node()?;
        visitor.passes_over_a_node_that_hangs()?;
        visitor.logs_in_among_twenty_requests()?;
        visitor.sees_the_page_on_a_telephone()?;
        visitor.logs_out()?;
        self.refuses_strangers(&visitor.browser)?;
        let errors = visitor.browser.script_errors()?;
        ensure!(errors.is_empty(), "errors in the page: {}", errors.join("\n"));
        Ok(())
    }

    /// Its buttons are for its own page only.
    fn refuses_strangers(&self, browser: &Browser) -> Result<()> {
        let press = |headers: &[(&str, &str)]| {
            let mut client = Client::new().with_headers(headers);
            client.post(self.page, "/demo/nodes/n1/kill", "").map(|answer| answer.status)
        };
        let token = browser.run("return TOKEN")?;
        let token = token.as_str().context("the page has no token")?;
        let evil = format!("evil.example:{}", self.page.port());
        ensure!(press(&[])? == 403, "a button without its token");
        ensure!(
            press(&[("Demo-Token", "0123456789abcdef")])? == 403,
            "a button with another token"
        );
        ensure!(
            press(&[("Demo-Token", token), ("Host", &evil)])? == 421,
            "a button of another host"
        );
        let origin = [("Demo-Token", token), ("Origin", "http://evil.example")];
        ensure!(press(&origin)? == 403, "a button of another origin");
        let mut rebound = Client::new().with_headers(&[("Host", &evil)]);
        ensure!(rebound.get(self.page, "/")?.status == 421, "the page under another name");
        let without =
            "return fetch('/demo/nodes/n1/kill', { method: 'POST' }).then((a) => a.status)";
        ensure!(browser.run(without)? == 403, "a button without its token, in the page");
        let look = |name: &str| {
            browser.run(&format!("return document.querySelector('#node-{name}').className"))
        };
        ensure!(look("n1")? == "up", "a refused button did something");
        println!("  buttons are refused without the token, from another host, from another origin");
        Ok(())
    }

    fn end(&mut self) -> Result<()> {
        self.process.signal(Signal::TERM)?;
        let status = self.process.ended()?;
        ensure!(status.success(), "the demonstration ended with {status}");
        Ok(())
    }
}

/// Somebody in front of the page.
struct Visitor<'d> {
    browser: Browser,
    demo: &'d Demo,
}

impl Visitor<'_> {
    fn logs_in_and_loses_a_node(&self) -> Result<()> {
        for node in ["n1", "n2", "n3"] {
            self.looks(node, "up")?;
        }
        wait_until("the first answer", || self.served_by().is_some())?;
        self.picture("wide-start")?;
        self.browser.type_into("#user", "ada")?;
        self.browser.click("#login button")?;
        self.reads("#signed-in", "ada")?;
        for item in ["apples", "bread"] {
            self.browser.type_into("#item", item)?;
            self.browser.click("#add button")?;
            wait_until("it is in the cart", || self.cart().is_ok_and(|cart| cart.contains(item)))?;
        }
        self.browser.click("#visit button")?;
        self.reads("#visits", "1")?;
        let served = self.served_by().context("nobody has served it")?;
        self.browser
            .run(&format!("document.querySelector('#choice input[value={served}]').click()"))?;
        self.picture("wide-logged-in")?;
        self.browser.click(&format!("#node-{served} .kill"))?;
        self.looks(&served, "dead")?;
        self.browser.click("#visit button")?;
        self.reads("#visits", "2")?;
        let other = self.served_by().context("nobody has served it")?;
        ensure!(other != served, "{served} is dead and has served it");
        self.reads("#signed-in", "ada")?;
        let cart = self.cart()?;
        ensure!(cart.contains("apples") && cart.contains("bread"), "the cart has only {cart}");
        self.picture("wide-killed")?;
        self.browser.click(&format!("#node-{served} .restart"))?;
        self.looks(&served, "up")?;
        self.browser.click("#visit button")?;
        self.reads("#visits", "3")?;
        wait_until("the new process serves", || self.served_by().as_deref() == Some(&*served))?;
        println!("  {served} was killed, {other} went on, {served} came back: nothing was lost");
        Ok(())
    }

    fn passes_over_a_node_that_hangs(&self) -> Result<()> {
        let served = self.served_by().context("nobody has served it")?;
        self.browser.click(&format!("#node-{served} .pause"))?;
        self.looks(&served, "paused")?;
        self.browser.click("#themes [data-theme=sea]")?;
        wait_until("the theme", || {
            self.browser
                .run("return document.documentElement.dataset.theme")
                .is_ok_and(|theme| theme == "sea")
        })?;
        self.browser.click("#visit button")?;
        self.reads("#visits", "4")?;
        self.picture("wide-paused")?;
        self.browser.click(&format!("#node-{served} .pause"))?;
        self.looks(&served, "up")?;
        self.browser.click("#twenty")?;
        self.reads("#visits", "24")?;
        self.browser.run("document.querySelector('#choice input[value=turn]').click()")?;
        println!("  {served} was paused and passed over; twenty requests at once all counted");
        Ok(())
    }

    fn logs_in_among_twenty_requests(&self) -> Result<()> {
        let statuses = self.browser.run(LOGIN_AMONG_TWENTY)?;
        let statuses: Vec<u64> = statuses
            .as_array()
            .context("no statuses")?
            .iter()
            .filter_map(serde_json::Value::as_u64)
            .collect();
        // Those that come after the login bring the id, or the form, of the session before it.
        let is_expected = |status: &u64| [200, 403, 409, 410].contains(status);
        ensure!(statuses.len() == 21 && statuses[10] == 200, "{statuses:?}");
        ensure!(statuses.iter().all(is_expected), "{statuses:?}");
        self.browser.run("return ask('/shop/state').then(() => null)")?;
        self.reads("#signed-in", "grace")?;
        let cart = self.cart()?;
        ensure!(cart.contains("apples") && cart.contains("bread"), "the cart has only {cart}");
        self.browser.click("#visit button")?;
        wait_until("the visit is served", || {
            self.browser.text("#answer").is_ok_and(|answer| answer.contains("visit · "))
        })?;
        self.reads("#signed-in", "grace")?;
        let served = statuses.iter().filter(|status| **status == 200).count();
        println!("  a login among twenty requests: {served} of 21 served, still logged in");
        Ok(())
    }

    fn sees_the_page_on_a_telephone(&self) -> Result<()> {
        self.browser.click("#themes [data-theme=night]")?;
        wait_until("the theme", || {
            self.browser
                .run("return document.documentElement.dataset.theme")
                .is_ok_and(|theme| theme == "night")
        })?;
        self.picture("wide-night")?;
        self.browser.resize(NARROW, HEIGHT)?;
        self.browser.open(&format!("http://{}/", self.demo.page))?;
        self.reads("#signed-in", "grace")?;
        self.looks("n1", "up")?;
        let width = self.browser.run("return document.documentElement.scrollWidth")?;
        ensure!(
            width.as_u64() <= Some(NARROW.into()),
            "the page is {width} pixels wide, not {NARROW}"
        );
        self.picture("narrow")?;
        self.browser.resize(WIDE, HEIGHT)?;
        Ok(())
    }

    fn logs_out(&self) -> Result<()> {
        self.browser.click("#logout button")?;
        wait_until("the form to log in", || self.is_shown("#login"))?;
        self.reads("#visits", "0")?;
        println!("  logged out: another session begins");
        Ok(())
    }

    fn is_shown(&self, selector: &str) -> bool {
        let script = format!("return !document.querySelector('{selector}').hidden");
        self.browser.run(&script).is_ok_and(|is_shown| is_shown == true)
    }

    fn cart(&self) -> Result<String> {
        self.browser.text("#cart")
    }

    /// The node that has given the answer that is shown.
    fn served_by(&self) -> Option<String> {
        self.browser.text("#answer b").ok().filter(|node| node.starts_with('n') && node.len() == 2)
    }

    /// Waits until a node looks like this.
    fn looks(&self, node: &str, look: &str) -> Result<()> {
        let script = format!("return document.querySelector('#node-{node}')?.className ?? ''");
        wait_until(&format!("{node} is {look}"), || {
            self.browser.run(&script).is_ok_and(|found| found == look)
        })
    }

    /// Waits until an element has this text.
    fn reads(&self, selector: &str, text: &str) -> Result<()> {
        let mut last = String::new();
        let found = wait_for(&format!("{selector} is {text:?}"), || {
            last = self.browser.text(selector).unwrap_or_else(|error| format!("{error:#}"));
            (last == text).then_some(())
        });
        found.with_context(|| format!("{selector} is {last:?}"))
    }

    fn picture(&self, name: &str) -> Result<()> {
        self.browser.picture(&self.demo.pictures.join(format!("{name}.png")))
    }
}
