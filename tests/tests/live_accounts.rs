//! Accounts on a running gateway: the first administrator, who sees what, and what ends a session.

use std::{
    io::Write as _,
    net::TcpStream,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use ark_tests::kit::{Answer, Gateway, Phone, SOON, ark_binary, conversation_id, tone_site};
use serde_json::{Value, json};
use tungstenite::client::IntoClientRequest as _;
use tungstenite::{Message, WebSocket, client};

/// How long anything may take on two busy cores.
const PATIENCE: Duration = Duration::from_secs(60);

/// A browser of somebody.
struct Desk<'a> {
    gateway: &'a Gateway,
    cookie: String,
}

impl<'a> Desk<'a> {
    fn new(gateway: &'a Gateway) -> Self {
        Self { gateway, cookie: String::new() }
    }

    fn ask(&mut self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let origin = format!("http://{}", self.gateway.web);
        self.ask_from(&origin, method, path, body)
    }

    /// One request as a page of that origin makes it; a cookie that comes is kept.
    fn ask_from(&mut self, origin: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let headers = format!("Origin: {origin}\r\nCookie: {}\r\n", self.cookie);
        let answer = ark_tests::kit::request_with(self.gateway.web, method, path, &headers, body);
        let answer = answer.unwrap_or_else(|| panic!("{method} {path}: no answer"));
        let set = answer.head.lines().find_map(|line| line.strip_prefix("set-cookie: "));
        if let Some(set) = set {
            self.cookie = set.split(';').next().unwrap_or_default().to_owned();
        }
        answer
    }

    fn sign_in(&mut self, name: &str, password: &str) -> Answer {
        self.ask("POST", "/api/v1/session", Some(&json!({"name": name, "password": password})))
    }

    fn socket(&self, origin: &str) -> Result<WebSocket<TcpStream>, u16> {
        let mut request = format!("ws://{}/api/v1/socket", self.gateway.web).into_client_request().expect("a request");
        request.headers_mut().insert("origin", origin.parse().expect("an origin"));
        request.headers_mut().insert("cookie", self.cookie.parse().expect("a cookie"));
        let stream = TcpStream::connect(self.gateway.web).expect("the gateway listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        match client(request, stream) {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::HandshakeError::Failure(tungstenite::Error::Http(answer))) => {
                Err(answer.status().as_u16())
            }
            Err(error) => panic!("{error}"),
        }
    }
}

/// The next text of a socket; none when it has ended.
fn next(socket: &mut WebSocket<TcpStream>) -> Option<Value> {
    loop {
        match socket.read() {
            Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).expect("JSON")),
            Ok(Message::Close(_)) | Err(_) => return None,
            Ok(_) => {}
        }
    }
}

fn ark(gateway: &Gateway, args: &[&str], stdin: &str) -> String {
    let mut command = Command::new(ark_binary());
    command.args(args).args(["--config", "ark.toml"]).current_dir(gateway.folder());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("ark starts");
    child.stdin.take().expect("a pipe").write_all(stdin.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "ark {args:?}: {out}{err}");
    out.into_owned()
}

/// A call that has ended, of a queue that the account general serves by its group.
fn a_call(gateway: &Gateway) -> String {
    let mut phone = Phone::new("caller");
    phone.call(gateway.sip, "95188");
    phone.hang_up();
    conversation_id(&gateway.wait_for_ended(1, SOON)[0])
}

#[test]
fn people_sign_in_see_what_is_theirs_and_are_out_when_they_are_shut_out() {
    let gateway = Gateway::start(&tone_site());
    let call = a_call(&gateway);
    let token = std::fs::read_to_string(gateway.folder().join("data/ark.token")).expect("the token");

    // The first administrator comes from the start link, and from nowhere else.
    let first = json!({"name": "root", "display": "Root", "password": "correct horse"});
    let mut root = Desk::new(&gateway);
    let nobody = root.ask("GET", "/api/v1/session", None);
    assert_eq!((nobody.status, &nobody.json()["first"]), (401, &json!(true)));
    assert_eq!(root.ask("POST", "/api/v1/session/first", Some(&first)).status, 401);
    root.ask("GET", &format!("/?token={}", token.trim()), None);
    assert_eq!(root.ask_from("http://evil.example", "POST", "/api/v1/session/first", Some(&first)).status, 403);
    let made = root.ask("POST", "/api/v1/session/first", Some(&first));
    assert_eq!(made.status, 200, "{}", made.body);
    let set = made.head.lines().find(|line| line.starts_with("set-cookie: ark_session=")).unwrap_or_default();
    assert!(set.contains("HttpOnly") && set.contains("SameSite=Strict") && !set.contains("Secure"), "{}", made.head);
    assert!(root.ask("GET", "/api/v1/conversations", None).body.contains(&call), "who has every role sees everything");

    // The others come from the command line.
    let shown = ark(&gateway, &["user", "add", "anna", "--groups", "orders"], "");
    let password = shown.trim().to_owned();
    ark(&gateway, &["user", "add", "ben", "--stdin"], "battery staple\n");
    assert!(ark(&gateway, &["user", "list"], "").contains("anna"));
    let (mut anna, mut ben) = (Desk::new(&gateway), Desk::new(&gateway));
    assert_eq!(anna.sign_in("anna", &password).status, 200);
    assert_eq!(ben.sign_in("ben", "battery staple").status, 200);

    // What is not theirs is not there.
    let base = format!("/api/v1/conversations/{call}");
    for path in [
        base.clone(),
        format!("{base}/events"),
        format!("/api/v1/events?conversation={call}"),
        format!("{base}/recordings/r1"),
    ] {
        assert_eq!(anna.ask("GET", &path, None).status, 404, "{path}");
    }
    assert_eq!(anna.ask("POST", &format!("/api/v1/calls/{call}/hangup"), None).status, 404);
    assert!(!anna.ask("GET", "/api/v1/conversations", None).body.contains(&call));
    assert!(!anna.ask("GET", "/api/v1/history?limit=500", None).body.contains(&call));
    let own = format!("http://{}", gateway.web);
    assert_eq!(anna.socket("http://evil.example").err(), Some(403));
    let mut socket = anna.socket(&own).expect("a socket");
    assert_eq!(next(&mut socket).expect("a message")["type"], "welcome");
    socket.send(Message::text(json!({"type": "subscribe", "after": 0}).to_string())).expect("it is sent");
    assert_eq!(next(&mut socket).expect("a message")["type"], "caught_up", "no record of another's conversation");
    assert_eq!(anna.ask("GET", "/api/v1/accounts", None).status, 403);

    // Signing out ends what the session has open; so does shutting out.
    assert_eq!(anna.ask("DELETE", "/api/v1/session", None).status, 204);
    let deadline = Instant::now() + PATIENCE;
    while next(&mut socket).is_some() {
        assert!(Instant::now() < deadline, "the socket goes on");
    }
    let mut other = Desk::new(&gateway);
    assert_eq!(other.sign_in("ben", "battery staple").status, 200);
    let new = json!({"old": "battery staple", "new": "correct horse"});
    assert_eq!(ben.ask("POST", "/api/v1/session/password", Some(&new)).status, 204);
    assert_eq!(
        (ben.ask("GET", "/api/v1/session", None).status, other.ask("GET", "/api/v1/session", None).status),
        (200, 401)
    );
    ark(&gateway, &["user", "disable", "ben"], "");
    assert_eq!(ben.ask("GET", "/api/v1/session", None).status, 401);
    assert_eq!(ben.sign_in("ben", "correct horse").status, 401);
    ark(&gateway, &["user", "remove", "ben"], "");

    // Tries are limited.
    let mut mallory = Desk::new(&gateway);
    let limited = (0..20).map(|_| mallory.sign_in("anna", "wrong horse")).find(|answer| answer.status != 401);
    let limited = limited.expect("an end of tries");
    assert!(limited.status == 429 && limited.head.to_lowercase().contains("retry-after: "), "{}", limited.head);
}
