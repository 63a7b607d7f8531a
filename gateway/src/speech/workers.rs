//! The threads that read: each has an engine of its own, and gives way to everything else on the machine.

use std::time::{Duration, Instant};

use ark_transcribe::engine::Engine;
use ark_transcribe::schedule::Job;
use ark_transcribe::{EngineError, Recognised};
use crossbeam_channel::{Receiver, Sender};

use super::engines::MakeEngine;
use super::limits::ENGINE_AGAIN;
use crate::media::sys;

/// What a thread has to say.
pub(super) enum Said {
    /// Its engine is made: its name.
    Ready(String),
    /// It cannot be made, and is tried again later.
    Cannot(EngineError),
    /// A job is done.
    Done {
        /// Which.
        job: Job,
        /// What was read.
        answer: Result<Recognised, EngineError>,
        /// How long it took, and what of it this machine computed.
        took: (Duration, Duration),
    },
}

/// The last of the kernel's steps of politeness but a few.
const NICE: i32 = 15;

/// Starts a thread that takes jobs until nobody gives any more.
pub(super) fn start(make: MakeEngine, jobs: Receiver<Job>, said: Sender<Said>) -> std::io::Result<()> {
    let run = move || {
        // Where it is refused, it runs like all others.
        let _ = rustix::process::nice(NICE);
        let mut worker = Worker { make, engine: None, again: None };
        let begun = match worker.engine() {
            Ok(engine) => Said::Ready(engine.name().to_owned()),
            Err(error) => Said::Cannot(error),
        };
        if said.send(begun).is_err() {
            return;
        }
        while let Ok(job) = jobs.recv() {
            let (began, computed) = (Instant::now(), sys::thread_cpu_ns());
            let answer = worker.engine().and_then(|engine| engine.recognise(&job.work.utterance));
            let computed = Duration::from_nanos(sys::thread_cpu_ns().saturating_sub(computed));
            if said.send(Said::Done { job, answer, took: (began.elapsed(), computed) }).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("ark-speech-read".to_owned()).spawn(run).map(drop)
}

struct Worker {
    make: MakeEngine,
    engine: Option<Box<dyn Engine>>,
    /// An engine that could not be made: why, and when it is tried again.
    again: Option<(EngineError, Instant)>,
}

impl Worker {
    fn engine(&mut self) -> Result<&mut Box<dyn Engine>, EngineError> {
        if self.engine.is_none() {
            if let Some((why, at)) = &self.again
                && Instant::now() < *at
            {
                return Err(why.clone());
            }
            match (self.make)() {
                Ok(engine) => {
                    self.again = None;
                    self.engine = Some(engine);
                }
                Err(error) => {
                    self.again = Some((error.clone(), Instant::now() + ENGINE_AGAIN));
                    return Err(error);
                }
            }
        }
        self.engine.as_mut().ok_or_else(|| EngineError::Retry("no engine".to_owned()))
    }
}
