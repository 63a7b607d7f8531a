//! The gateway dies in the middle of a call: what it acknowledged is there, and a recording can be heard up to its last
//! second.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use ark_tests::kit::{Gateway, Phone, SOON, dominant_hz, read_wav, tone_site};

/// How long the caller speaks before the power goes.
const SPOKEN: Duration = Duration::from_secs(5);

#[test]
fn a_recording_is_readable_up_to_the_last_second_after_the_gateway_was_killed() {
    let mut gateway = Gateway::start(&tone_site());
    let mut phone = Phone::new("chen");
    phone.say(Some(700.0));
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.press('2');
    gateway.wait_for_event("recording.started", SOON);
    let began = Instant::now();
    phone.talk_for(SPOKEN);
    let acknowledged = gateway.wait_for_event("recording.started", SOON);
    let spoken = began.elapsed();
    gateway.process.kill();

    let file = only_wav(&gateway.folder().join("data/files"));
    let (rate_hz, channels) = read_wav(&file);
    assert_eq!(channels.len(), 2, "the caller left, Ark right");
    let recorded = Duration::from_secs_f64(channels[0].len() as f64 / f64::from(rate_hz));
    assert!(recorded + Duration::from_millis(1_000) >= spoken, "{recorded:?} of {spoken:?} are in the file");
    let middle = &channels[0][channels[0].len() / 2..][..rate_hz as usize];
    assert_eq!(dominant_hz(middle, rate_hz), Some(700.0), "the caller is on the left");

    let gateway = gateway.start_again();
    let timeline = gateway.wait_for_event("call.lost", SOON);
    assert_eq!(timeline.0[..acknowledged.0.len()], acknowledged.0[..], "what was acknowledged is still there");
    let mut phone = Phone::new("chen");
    phone.call(gateway.sip, "95188");
    phone.wait_to_hear(440.0, SOON);
    phone.hang_up();
}

fn only_wav(folder: &Path) -> PathBuf {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() {
                open.push(path);
            } else if path.components().any(|part| part.as_os_str() == "recordings")
                && path.extension().is_some_and(|extension| extension == "wav")
            {
                found.push(path);
            }
        }
    }
    assert_eq!(found.len(), 1, "one recording under {}", folder.display());
    found.remove(0)
}
