//! One prompt in every codec that a call may speak. What is cheap is made at once; what is dear (Opus, G.729) when a call
//! of the site speaks them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use ark_media::codec::{self, CodecRef};
use ark_media::prompt::{EncodedPrompt, Pcm};

use super::FRAME;

/// A prompt; its parts are shared.
pub(super) type Encoded = Arc<Codecs>;

/// One prompt in each codec.
pub(super) struct Codecs {
    duration: Duration,
    /// In the order of [`codec::ALL`].
    made: Box<[OnceLock<Arc<EncodedPrompt>>]>,
    /// The dear codecs of the site, and what they are made from until all of them are made.
    dear: Box<[CodecRef]>,
    source: Mutex<Option<Arc<Pcm>>>,
}

/// Encodes a prompt for the cheap ones of these codecs, and keeps what the others are made from.
pub(super) fn encode(pcm: &Pcm, codecs: &[CodecRef]) -> Encoded {
    let made: Box<[OnceLock<_>]> = codec::ALL.iter().map(|_| OnceLock::new()).collect();
    let mut rates: Vec<Pcm> = Vec::new();
    for codec in codecs.iter().copied().filter(|codec| !codec.is_dear()) {
        let rate_hz = codec.sample_rate_hz();
        if rates.iter().all(|known| known.rate_hz != rate_hz) {
            rates.push(pcm.resampled(rate_hz));
        }
        if let (Some(place), Some(pcm)) = (place(&made, codec), rates.iter().find(|pcm| pcm.rate_hz == rate_hz)) {
            let _ = place.set(EncodedPrompt::encode(&pcm.samples, codec, FRAME));
        }
    }
    let dear: Box<[CodecRef]> = codecs.iter().copied().filter(|codec| codec.is_dear()).collect();
    let best = dear.iter().map(|codec| codec.sample_rate_hz()).max();
    let source = best.map(|rate_hz| Arc::new(pcm.resampled(rate_hz)));
    Arc::new(Codecs { duration: pcm.duration(), made, dear, source: Mutex::new(source) })
}

fn place(made: &[OnceLock<Arc<EncodedPrompt>>], codec: CodecRef) -> Option<&OnceLock<Arc<EncodedPrompt>>> {
    made.get(codec::ALL.iter().position(|known| *known == codec)?)
}

impl Codecs {
    /// How long it plays.
    pub(super) fn duration(&self) -> Duration {
        self.duration
    }

    /// The prompt in this codec, made now if it was not yet; `None` for a codec that the site does not speak.
    pub(super) fn of(&self, codec: CodecRef) -> Option<Arc<EncodedPrompt>> {
        let place = place(&self.made, codec)?;
        if place.get().is_none() && self.dear.contains(&codec) {
            // Without a source somebody else made it just now.
            let source = self.source().clone();
            if let Some(source) = source {
                place.get_or_init(|| source.encode(codec, FRAME));
                self.let_go();
            }
        }
        place.get().cloned()
    }

    /// Drops the source once nothing is to be made from it.
    fn let_go(&self) {
        if self.dear.iter().all(|codec| place(&self.made, *codec).is_some_and(|place| place.get().is_some())) {
            *self.source() = None;
        }
    }

    fn source(&self) -> MutexGuard<'_, Option<Arc<Pcm>>> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All prompts of a library, for the thread that makes them in a dear codec as soon as a first call speaks it.
pub(super) struct Rest {
    prompts: Arc<[Encoded]>,
    /// In the order of [`codec::ALL`].
    begun: Box<[AtomicBool]>,
}

impl Rest {
    pub(super) fn new(prompts: Arc<[Encoded]>) -> Self {
        Self { prompts, begun: codec::ALL.iter().map(|_| AtomicBool::new(false)).collect() }
    }

    /// A call speaks this codec: everything else that it may hear is made in the background. What it hears before that
    /// is done is made as it is asked for.
    pub(super) fn begin(&self, codec: CodecRef) {
        let at = codec::ALL.iter().position(|known| *known == codec);
        let Some(begun) = at.and_then(|at| self.begun.get(at)).filter(|_| codec.is_dear()) else { return };
        if begun.swap(true, Relaxed) {
            return;
        }
        let prompts = Arc::clone(&self.prompts);
        // Without the thread each is made when it is needed.
        let _ = std::thread::Builder::new().name("prompts".to_owned()).spawn(move || {
            crate::priority::stand_back();
            for prompt in prompts.iter() {
                prompt.of(codec);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dear_is_made_once_and_late() {
        let pcm = Pcm { samples: vec![1000; 16_000], rate_hz: 16_000 };
        let prompt = encode(&pcm, codec::ALL);
        let made = |prompt: &Codecs| prompt.made.iter().filter(|place| place.get().is_some()).count();
        let cheap = codec::ALL.iter().filter(|codec| !codec.is_dear()).count();
        assert_eq!((made(&prompt), prompt.duration()), (cheap, Duration::from_secs(1)));
        let opus = codec::by_name("opus", 48_000).unwrap();
        let first = prompt.of(opus).unwrap();
        assert!(Arc::ptr_eq(&first, &prompt.of(opus).unwrap()));
        for codec in codec::ALL {
            let encoded = prompt.of(*codec).unwrap();
            assert_eq!((encoded.codec(), encoded.duration()), (*codec, Duration::from_secs(1)));
        }
        assert!(made(&prompt) == codec::ALL.len() && prompt.source().is_none(), "the source is let go");
    }

    #[test]
    fn a_site_s_own_codecs_are_all_that_is_made() {
        let pcm = Pcm { samples: vec![1000; 8_000], rate_hz: 8_000 };
        let [pcma, pcmu] = ["PCMA", "PCMU"].map(|name| codec::by_name(name, 8000).unwrap());
        let prompt = encode(&pcm, &[pcma]);
        assert!(prompt.of(pcma).is_some() && prompt.of(pcmu).is_none() && prompt.source().is_none());
    }

    #[test]
    fn the_first_call_in_a_dear_codec_has_the_rest_made() {
        let pcm = Pcm { samples: vec![1000; 1_600], rate_hz: 16_000 };
        let opus = codec::by_name("opus", 48_000).unwrap();
        let prompts: Arc<[Encoded]> = (0..3).map(|_| encode(&pcm, &[opus])).collect();
        let rest = Rest::new(Arc::clone(&prompts));
        rest.begin(opus);
        rest.begin(opus);
        let deadline = std::time::Instant::now() + Duration::from_secs(20);
        let done = |prompt: &Encoded| prompt.source().is_none();
        while !prompts.iter().all(done) {
            assert!(std::time::Instant::now() < deadline, "they are made in the background");
            std::thread::yield_now();
        }
    }
}
