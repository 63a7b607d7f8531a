//! Programs that a test starts: their output is kept, they end with the test, and nothing else is ever ended.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Lines of output kept for a failing test.
const LINES_MAX: usize = 20_000;
/// Lines shown when a test fails.
const LINES_SHOWN: usize = 120;

/// Whether a program can be found in `PATH`.
pub fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// A folder that is gone after the test, unless the test fails or `ARK_KEEP=1`.
#[derive(Debug)]
pub struct TempDir(PathBuf);

impl TempDir {
    /// A new folder with that word in its name.
    pub fn new(word: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ark-{word}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("the folder for temporary files can be written");
        Self(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        if std::thread::panicking() || std::env::var("ARK_KEEP").as_deref() == Ok("1") {
            eprintln!("kept: {}", self.0.display());
        } else {
            let _ = fs::remove_dir_all(&self.0);
        }
    }
}

#[derive(Default)]
struct Output {
    lines: Mutex<(Vec<String>, usize)>,
    news: Condvar,
}

impl Output {
    /// Reads one of the two streams to its end.
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        let output = Arc::clone(self);
        output.lines.lock().expect("no reader panics").1 += 1;
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                line.clear();
                let mut lines = output.lines.lock().expect("no reader panics");
                if lines.0.len() < LINES_MAX {
                    lines.0.push(text);
                }
                output.news.notify_all();
            }
            output.lines.lock().expect("no reader panics").1 -= 1;
            output.news.notify_all();
        });
    }
}

/// A program that this test started.
pub struct Process {
    name: String,
    child: Child,
    output: Arc<Output>,
}

impl Process {
    /// Starts it with both outputs captured.
    ///
    /// # Panics
    /// When it cannot be started.
    pub fn start(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let output = Arc::new(Output::default());
        output.follow(child.stdout.take().expect("stdout is a pipe"));
        output.follow(child.stderr.take().expect("stderr is a pipe"));
        Self { name: name.into(), child, output }
    }

    /// The first line, old or to come, that holds `part`.
    ///
    /// # Panics
    /// When none came in time, or the program ended without it.
    pub fn wait_for_line(&self, part: &str, within: Duration) -> String {
        let deadline = Instant::now() + within;
        let mut lines = self.output.lines.lock().expect("no reader panics");
        loop {
            if let Some(line) = lines.0.iter().find(|line| line.contains(part)) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let ended = lines.1 == 0;
            assert!(!ended && !left.is_zero(), "{}: no line with {part:?} within {within:?}", self.name);
            lines = self.output.news.wait_timeout(lines, left).expect("no reader panics").0;
        }
    }

    /// Waits for a line more, for its end, or for that long.
    pub fn wait_for_news(&self, within: Duration) {
        let lines = self.output.lines.lock().expect("no reader panics");
        let _ = self.output.news.wait_timeout(lines, within);
    }

    /// All output so far, both streams as they came.
    pub fn lines(&self) -> Vec<String> {
        self.output.lines.lock().expect("no reader panics").0.clone()
    }

    /// The process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end: both outputs are closed then.
    ///
    /// # Panics
    /// When it is still running after that time.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        let mut lines = self.output.lines.lock().expect("no reader panics");
        while lines.1 > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} is still running after {within:?}", self.name);
            lines = self.output.news.wait_timeout(lines, left).expect("no reader panics").0;
        }
        drop(lines);
        self.child.wait().expect("a child of ours")
    }

    /// SIGTERM: asks it to end.
    pub fn terminate(&self) {
        let _ = Command::new("kill").args(["-TERM", &self.id().to_string()]).status();
    }

    /// SIGKILL: as if the power went.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let lines = self.lines();
            eprintln!("---- the last lines of {} ({} in all)", self.name, lines.len());
            for line in lines.iter().skip(lines.len().saturating_sub(LINES_SHOWN)) {
                eprintln!("{line}");
            }
        }
    }
}
