//! A headless Chromium with a fake microphone, driven over its DevTools protocol.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Message, WebSocket, client};

use super::{Process, SOON, TempDir, tone, write_wav};

/// A browser on two busy cores needs a while to start.
const START: Duration = Duration::from_secs(40);

/// The program.
const CHROMIUM: &str = "chromium";

/// Notes the loudest frequency of the call's other side twenty times a second, from now on.
const EAR: &str = "(() => { if (window.heard) return; window.heard = []; const context = new AudioContext(); \
    const ear = context.createAnalyser(); ear.fftSize = 8192; ear.smoothingTimeConstant = 0; \
    const bins = new Float32Array(ear.frequencyBinCount); let of = null; \
    setInterval(() => { const remote = window.arkCall.remote; if (!remote) { heard.push(0); return; } \
    if (of !== remote) { of = remote; context.createMediaStreamSource(remote).connect(ear); } \
    ear.getFloatFrequencyData(bins); let best = 1; \
    for (let n = 1; n < bins.length; n++) if (bins[n] > bins[best]) best = n; \
    heard.push(bins[best] > -70 ? best * context.sampleRate / ear.fftSize : 0); }, 50); })()";

/// A browser of this test.
pub struct Browser {
    process: Process,
    address: String,
    _folder: TempDir,
}

impl Browser {
    /// One whose microphone hears a tone of so many Hz.
    ///
    /// # Panics
    /// When it does not start in time.
    pub fn start(microphone_hz: f64) -> Self {
        let folder = TempDir::new("browser");
        let wav = folder.path().join("microphone.wav");
        write_wav(&wav, &tone(microphone_hz, Duration::from_secs(4)));
        let mut command = Command::new(CHROMIUM);
        command.args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--no-default-browser-check",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--use-fake-device-for-media-stream",
            "--use-fake-ui-for-media-stream",
            "--autoplay-policy=no-user-gesture-required",
            "--allow-loopback-in-peer-connection",
            "--remote-debugging-port=0",
            "--window-size=900,900",
            "about:blank",
        ]);
        command.arg(format!("--use-file-for-fake-audio-capture={}", wav.display()));
        command.arg(format!("--user-data-dir={}", folder.path().join("profile").display()));
        let process = Process::start("chromium", &mut command);
        let line = process.wait_for_line("DevTools listening on ws://", START);
        let address = line.split("on ").nth(1).unwrap_or_else(|| panic!("no address in {line}")).to_owned();
        Self { process, address, _folder: folder }
    }

    /// A new page at that address.
    ///
    /// # Panics
    /// When the browser does not open it.
    pub fn open(&self, url: &str) -> Page {
        let target = Page::connect(&self.address).ask("Target.createTarget", &json!({ "url": "about:blank" }));
        let id = target["targetId"].as_str().unwrap_or_else(|| panic!("no page in {target}"));
        let (browser, _) = self.address.split_once("/browser/").expect("the address of a browser");
        let mut page = Page::connect(&format!("{browser}/page/{id}"));
        page.ask("Page.enable", &json!({}));
        page.ask("Page.bringToFront", &json!({}));
        page.ask("Page.navigate", &json!({ "url": url }));
        page.wait_for("document.readyState === 'complete'", SOON);
        page
    }

    /// Ends the browser as a crash does: nobody is told.
    ///
    /// # Panics
    /// When its processes cannot be seen.
    pub fn kill(&mut self) {
        let mut ids = vec![self.process.id()];
        let mut next = 0;
        while let Some(parent) = ids.get(next).copied() {
            next += 1;
            let tasks = std::fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
            for task in tasks {
                let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
                ids.extend(children.split_whitespace().filter_map(|id| id.parse::<u32>().ok()));
            }
        }
        let ids = ids.iter().map(ToString::to_string);
        let _ = Command::new("kill").arg("-9").args(ids).status().expect("kill is installed");
        self.process.kill();
    }
}

/// One page (tab) of a browser.
pub struct Page {
    socket: WebSocket<TcpStream>,
    next: u64,
}

impl Page {
    fn connect(address: &str) -> Self {
        let host = address.trim_start_matches("ws://").split('/').next().unwrap_or_default();
        let stream = TcpStream::connect(host).expect("the browser's DevTools");
        stream.set_read_timeout(Some(START)).expect("a socket has a timeout");
        let (socket, _) = client(address, stream).expect("the browser's DevTools");
        Self { socket, next: 1 }
    }

    fn ask(&mut self, method: &str, params: &Value) -> Value {
        let id = self.next;
        self.next += 1;
        let text = json!({ "id": id, "method": method, "params": params }).to_string();
        self.socket.send(Message::text(text)).expect("the page listens");
        loop {
            let message = self.socket.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Message::Text(text) = message else { continue };
            let value: Value = serde_json::from_str(text.as_str()).expect("DevTools speak JSON");
            if value["id"] == id {
                assert!(value["error"].is_null(), "{method}: {value}");
                return value["result"].clone();
            }
        }
    }

    /// What an expression comes to; a promise is waited for.
    ///
    /// # Panics
    /// When it throws.
    pub fn eval(&mut self, expression: &str) -> Value {
        let params =
            json!({ "expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true });
        let result = self.ask("Runtime.evaluate", &params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].clone()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// When it takes longer.
    pub fn wait_for(&mut self, expression: &str, within: Duration) {
        let deadline = Instant::now() + within;
        // The page looks every 20 ms and tells when it is so: nothing is asked over and over.
        while self.eval(&format!("(async () => {{ for (let n = 0; n < 25; n++) {{ if ({expression}) return true; await new Promise((done) => setTimeout(done, 20)); }} return false; }})()")) != true {
            if Instant::now() >= deadline {
                let seen = self.eval("document.body.innerText + ' | ' + (window.arkCall ? JSON.stringify([arkCall.state, arkCall.cause, arkCall.restarts]) : '')");
                panic!("not within {within:?}: {expression}\nthe page: {seen}");
            }
        }
    }

    /// Clicks what a selector finds.
    ///
    /// # Panics
    /// When it finds nothing.
    pub fn click(&mut self, selector: &str) {
        self.eval(&format!("document.querySelector({}).click()", json!(selector)));
    }

    /// Waits until a tone is the loudest in what the call's other side says, since the last time that this was asked.
    ///
    /// # Panics
    /// When it is not heard in time.
    pub fn wait_to_hear(&mut self, hz: f64, within: Duration) {
        self.eval(EAR);
        // What was heard before the question is no answer to it.
        self.eval("heard = []");
        let near = format!("heard.some((hz) => Math.abs(hz - {hz}) < 15)");
        let deadline = Instant::now() + within;
        while self.eval(&format!("(() => {{ const so = {near}; if (so) heard = []; return so; }})()")) != true {
            assert!(Instant::now() < deadline, "the page hears {} Hz, not {hz}", self.eval("heard.slice(-20)"));
            // A pause in the page, not here: the next look is at other sound.
            self.eval("new Promise((done) => setTimeout(done, 50))");
        }
    }

    /// The loudest tones of that long from now on, one for each 50 ms; 0 where nothing is heard.
    ///
    /// # Panics
    /// When the page has no call.
    pub fn hear_for(&mut self, time: Duration) -> Vec<f64> {
        self.eval(EAR);
        let millis = time.as_millis();
        let heard = self.eval(&format!(
            "(async () => {{ heard = []; await new Promise((done) => setTimeout(done, {millis})); return heard; }})()"
        ));
        heard.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
    }

    /// What the page's peer connection counts: `field` of the first report of that type.
    ///
    /// # Panics
    /// When there is no call.
    pub fn stat(&mut self, kind: &str, field: &str) -> Value {
        self.eval(&format!(
            "(async () => {{ for (const one of (await arkCall.peer.getStats()).values()) if (one.type === {kind:?}) return one[{field:?}]; return null; }})()"
        ))
    }

    /// Loads the same address anew.
    ///
    /// # Panics
    /// When the browser does not.
    pub fn reload(&mut self) {
        self.eval("window.before = true");
        self.ask("Page.reload", &json!({}));
        self.wait_for("!window.before && document.readyState === 'complete'", SOON);
    }

    /// Runs a script in the page now, and before the page's own whenever it is loaded anew.
    ///
    /// # Panics
    /// When it throws.
    pub fn always(&mut self, script: &str) {
        self.ask("Page.addScriptToEvaluateOnNewDocument", &json!({ "source": script }));
        self.eval(script);
    }

    /// From now on the page is so many pixels wide and high, as a phone's when it is `phone`, and its system light or dark.
    ///
    /// # Panics
    /// When the browser does not do it.
    pub fn looks(&mut self, (width, height): (u32, u32), phone: bool, dark: bool) {
        let size = json!({ "width": width, "height": height, "deviceScaleFactor": if phone { 2 } else { 1 }, "mobile": phone });
        self.ask("Emulation.setDeviceMetricsOverride", &size);
        let scheme = json!([{ "name": "prefers-color-scheme", "value": if dark { "dark" } else { "light" } }]);
        self.ask("Emulation.setEmulatedMedia", &json!({ "features": scheme }));
    }

    /// Writes a picture of the page.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn screenshot(&mut self, path: &Path) {
        use base64::Engine as _;
        let picture = self.ask("Page.captureScreenshot", &json!({ "format": "png" }));
        let data = picture["data"].as_str().unwrap_or_default();
        let bytes = base64::engine::general_purpose::STANDARD.decode(data).expect("a picture in Base64");
        std::fs::write(path, bytes).expect("the picture can be written");
    }

    /// Closes the tab, as a person does.
    ///
    /// # Panics
    /// When the browser does not.
    pub fn close(mut self) {
        self.ask("Page.close", &json!({}));
    }
}
