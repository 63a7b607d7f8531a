//! A reader of the live event stream of one conversation.

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpStream},
    sync::mpsc::{Receiver, sync_channel},
    time::{Duration, Instant},
};

use serde_json::Value;

use super::gateway::event_name;

/// Records that may wait for the test.
const RECORDS_MAX: usize = 10_000;

/// Follows one conversation through a gateway. Every record must be the next one: none is missing, none comes twice.
pub struct Tail {
    records: Receiver<Value>,
    names: Vec<String>,
}

impl Tail {
    pub(super) fn open(web: SocketAddr, token: &str, conversation: &str) -> Self {
        let mut stream = TcpStream::connect(web).expect("the gateway listens");
        let head = format!(
            "GET /api/v1/events?conversation={conversation}&after_seq=0 HTTP/1.1\r\nHost: {web}\r\nAuthorization: Bearer \
             {token}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).expect("the gateway reads");
        let (sender, records) = sync_channel(RECORDS_MAX);
        std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                let Some(data) = line.strip_prefix("data:") else { continue };
                let Ok(record) = serde_json::from_str::<Value>(data.trim()) else { continue };
                if record["seq"].is_u64() && sender.send(record).is_err() {
                    return;
                }
            }
        });
        Self { records, names: Vec::new() }
    }

    /// The names of what was seen, in order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Waits for the next event of that name, and gives its data.
    ///
    /// # Panics
    /// When it does not come in time, or a record before it is not the next one.
    pub fn wait_for(&mut self, name: &str, within: Duration) -> Value {
        let deadline = Instant::now() + within;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(record) = self.records.recv_timeout(left) else {
                panic!("no {name} on the stream within {within:?}: {:?}", self.names);
            };
            assert_eq!(record["seq"], self.names.len() as u64 + 1, "not the next record: {record}");
            let found = event_name(&record["event"]);
            self.names.push(found.clone());
            if found == name {
                return record["event"]["data"].clone();
            }
        }
    }
}
