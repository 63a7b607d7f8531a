//! A mixer: each member of a room hears the others, and never itself.
//!
//! Who hears whom follows from each member's [`Part`]: parties talk to all, a listener hears all and is heard by nobody, a
//! whisper is heard by the one whom it is for, and who is held neither hears nor is heard (music is played to them by
//! their own session). Frames of PCM go in with [`Mixer::put`], and [`Mixer::mix`] gives what one member hears. All
//! frames have one length and one sample rate, which the mixer need not know.
//!
//! Several voices together may be too loud for 16 bits. They are turned down as a whole, by a gain of each listener's own
//! that falls at once and comes back slowly, so that nothing is clipped and nothing is heard to jump.

use crate::limits::{MIX_MEMBERS_MAX, MIX_SAMPLES_MAX};

/// Above this level a mix is turned down. Room is left below full scale for what codecs add to a sample.
const CEILING: i32 = 31_000;
/// How much of the way back to full gain is gone in each frame: all of it in about half a second.
const RELEASE: f32 = 0.08;

/// A member of a mixer; its number is used again after it has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MemberId(u8);

/// A set of members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Members(u32);

impl Members {
    /// Nobody.
    pub const NONE: Self = Self(0);

    /// This one alone.
    #[must_use]
    pub const fn one(member: MemberId) -> Self {
        Self(1 << member.0)
    }

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether it is one of them.
    #[must_use]
    pub const fn contains(self, member: MemberId) -> bool {
        self.0 >> member.0 & 1 == 1
    }

    /// Whether nobody is.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    fn iter(self) -> impl Iterator<Item = usize> {
        (0..MIX_MEMBERS_MAX).filter(move |member| self.0 >> member & 1 == 1)
    }
}

/// What a member does in the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Part {
    /// Talks with all.
    #[default]
    Speaks,
    /// Hears all and is heard by nobody (a supervisor who listens).
    Listens,
    /// Hears all and is heard by these alone (a supervisor who whispers to the agent).
    Whispers(Members),
    /// Neither hears nor is heard: its session plays music.
    Held,
}

#[derive(Debug, Clone)]
struct Member {
    part: Part,
    muted: bool,
    gain: f32,
    /// Whether `samples` are of this frame.
    present: bool,
    samples: Box<[i16]>,
}

/// A room of at most [`MIX_MEMBERS_MAX`] members.
#[derive(Debug)]
pub struct Mixer {
    frame: usize,
    members: [Option<Member>; MIX_MEMBERS_MAX],
    /// Whom each member hears.
    hears: [Members; MIX_MEMBERS_MAX],
    /// Who speaks to everybody and has put a frame: their sum is made once for all who hear it.
    sum: Box<[i32]>,
    summed: Option<Members>,
    scratch: Box<[i32]>,
}

/// Why nobody can join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the room is full: {MIX_MEMBERS_MAX} are in it")]
pub struct Full;

impl Mixer {
    /// An empty room for frames of so many samples (mono; at most [`MIX_SAMPLES_MAX`], more is taken for that).
    #[must_use]
    pub fn new(samples: usize) -> Self {
        let frame = samples.min(MIX_SAMPLES_MAX);
        Self {
            frame,
            members: [const { None }; MIX_MEMBERS_MAX],
            hears: [Members::NONE; MIX_MEMBERS_MAX],
            sum: vec![0; frame].into(),
            summed: None,
            scratch: vec![0; frame].into(),
        }
    }

    /// Samples in a frame.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.frame
    }

    /// Members in the room.
    #[must_use]
    pub fn len(&self) -> usize {
        self.members.iter().flatten().count()
    }

    /// Whether nobody is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Somebody comes in.
    ///
    /// # Errors
    /// [`Full`].
    pub fn join(&mut self, part: Part) -> Result<MemberId, Full> {
        let free = self.members.iter().position(Option::is_none).ok_or(Full)?;
        self.members[free] =
            Some(Member { part, muted: false, gain: 1.0, present: false, samples: vec![0; self.frame].into() });
        self.settle();
        Ok(MemberId(free as u8))
    }

    /// Somebody goes. A whisper that was for them is for nobody then.
    pub fn leave(&mut self, member: MemberId) {
        self.members[usize::from(member.0)] = None;
        for other in self.members.iter_mut().flatten() {
            if let Part::Whispers(to) = &mut other.part {
                to.0 &= !(1 << member.0);
            }
        }
        self.settle();
    }

    /// Gives a member another part, from the next frame on.
    pub fn set_part(&mut self, member: MemberId, part: Part) {
        if let Some(known) = &mut self.members[usize::from(member.0)] {
            known.part = part;
            self.settle();
        }
    }

    /// A member's part.
    #[must_use]
    pub fn part(&self, member: MemberId) -> Option<Part> {
        self.members[usize::from(member.0)].as_ref().map(|known| known.part)
    }

    /// A muted member hears and is not heard.
    pub fn set_muted(&mut self, member: MemberId, muted: bool) {
        if let Some(known) = &mut self.members[usize::from(member.0)] {
            known.muted = muted;
            self.settle();
        }
    }

    /// Whether `listener` hears `speaker`.
    #[must_use]
    pub fn hears(&self, listener: MemberId, speaker: MemberId) -> bool {
        self.hears[usize::from(listener.0)].contains(speaker)
    }

    fn settle(&mut self) {
        let speaks = |listener: usize, speaker: usize| {
            let (Some(ear), Some(mouth)) = (&self.members[listener], &self.members[speaker]) else { return false };
            let to_them = match mouth.part {
                Part::Speaks => true,
                Part::Whispers(to) => to.contains(MemberId(listener as u8)),
                Part::Listens | Part::Held => false,
            };
            listener != speaker && to_them && !mouth.muted && ear.part != Part::Held
        };
        let mut hears = [Members::NONE; MIX_MEMBERS_MAX];
        for (listener, heard) in hears.iter_mut().enumerate() {
            for speaker in 0..MIX_MEMBERS_MAX {
                heard.0 |= u32::from(speaks(listener, speaker)) << speaker;
            }
        }
        self.hears = hears;
        self.summed = None;
    }

    /// A new frame begins: what was put is forgotten.
    pub fn begin(&mut self) {
        for member in self.members.iter_mut().flatten() {
            member.present = false;
        }
        self.summed = None;
    }

    /// What a member says in this frame; what is missing at its end is silence. Who puts nothing says nothing.
    pub fn put(&mut self, member: MemberId, pcm: &[i16]) {
        let frame = self.frame;
        let Some(known) = &mut self.members[usize::from(member.0)] else { return };
        let samples = pcm.len().min(frame);
        known.samples[..samples].copy_from_slice(&pcm[..samples]);
        known.samples[samples..].fill(0);
        known.present = true;
        self.summed = None;
    }

    /// Writes to `out` what a member hears in this frame ([`Mixer::samples`] of it, or as much as `out` holds). False:
    /// nobody whom it hears has said anything, and `out` is silence.
    pub fn mix(&mut self, member: MemberId, out: &mut [i16]) -> bool {
        let samples = self.frame.min(out.len());
        let out = &mut out[..samples];
        let heard = self.present(self.hears[usize::from(member.0)]);
        let voices = heard.0.count_ones();
        if voices == 0 {
            out.fill(0);
            return false;
        }
        if voices == 1
            && let Some(only) = heard.iter().next().and_then(|speaker| self.members[speaker].as_ref())
        {
            // One voice needs no sum: it is handed on as it is, and the gain has time to come back.
            let full = self.members[usize::from(member.0)].as_ref().is_none_or(|m| m.gain >= 1.0);
            if full {
                out.copy_from_slice(&only.samples[..samples]);
                return true;
            }
        }
        self.add_up(member, heard);
        let Some(listener) = &mut self.members[usize::from(member.0)] else { return false };
        write(&self.scratch[..samples], &mut listener.gain, out);
        true
    }

    fn present(&self, members: Members) -> Members {
        let mut present = Members::NONE;
        for member in members.iter() {
            present.0 |= u32::from(self.members[member].as_ref().is_some_and(|m| m.present)) << member;
        }
        present
    }

    /// Puts the sum of what `heard` say in `scratch`: from the sum of all who speak, when that needs less work.
    fn add_up(&mut self, member: MemberId, heard: Members) {
        let mut everybody = Members::NONE;
        for (speaker, known) in self.members.iter().enumerate() {
            let open = known.as_ref().is_some_and(|m| m.present && !m.muted && m.part == Part::Speaks);
            everybody.0 |= u32::from(open) << speaker;
        }
        let own = Members::one(member);
        if everybody.0 & !own.0 != heard.0 {
            return sum(&self.members, heard, &mut self.scratch);
        }
        if self.summed != Some(everybody) {
            sum(&self.members, everybody, &mut self.sum);
            self.summed = Some(everybody);
        }
        self.scratch.copy_from_slice(&self.sum);
        if everybody.contains(member)
            && let Some(me) = &self.members[usize::from(member.0)]
        {
            for (total, mine) in self.scratch.iter_mut().zip(&me.samples) {
                *total -= i32::from(*mine);
            }
        }
    }
}

fn sum(members: &[Option<Member>], heard: Members, to: &mut [i32]) {
    to.fill(0);
    for speaker in heard.iter() {
        let Some(member) = &members[speaker] else { continue };
        for (total, sample) in to.iter_mut().zip(&member.samples) {
            *total += i32::from(*sample);
        }
    }
}

/// Turns a sum down as far as it must be: within the frame the gain moves in a straight line.
fn write(sum: &[i32], gain: &mut f32, out: &mut [i16]) {
    let peak = sum.iter().map(|sample| sample.abs()).max().unwrap_or(0);
    let allowed = if peak > CEILING { CEILING as f32 / peak as f32 } else { 1.0 };
    let target = allowed.min(*gain + RELEASE).min(1.0);
    // Down at once (a peak may come first in the frame), up over the frame.
    let from = gain.min(allowed);
    *gain = target;
    if from >= 1.0 && target >= 1.0 {
        for (out, sample) in out.iter_mut().zip(sum) {
            *out = *sample as i16;
        }
        return;
    }
    let step = (target - from) / out.len().max(1) as f32;
    let mut now = from;
    for (out, sample) in out.iter_mut().zip(sum) {
        *out = (*sample as f32 * now) as i16;
        now += step;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tone;

    const FRAME: usize = 160;

    /// A tone of one member, frame by frame.
    struct Voice {
        hz: f64,
        amplitude: f64,
        at: usize,
    }

    impl Voice {
        fn new(hz: f64, amplitude: f64) -> Self {
            Self { hz, amplitude, at: 0 }
        }

        fn next(&mut self) -> [i16; FRAME] {
            let mut pcm = [0; FRAME];
            for sample in &mut pcm {
                let angle = std::f64::consts::TAU * self.hz * self.at as f64 / 8000.0;
                *sample = (angle.sin() * self.amplitude) as i16;
                self.at += 1;
            }
            pcm
        }
    }

    /// What each member hears of each voice in half a second, as the voice's level.
    fn listen(mixer: &mut Mixer, ids: &[MemberId], voices: &mut [Voice]) -> Vec<Vec<f64>> {
        let mut heard = vec![Vec::new(); ids.len()];
        for _ in 0..25 {
            mixer.begin();
            for (id, voice) in ids.iter().zip(voices.iter_mut()) {
                mixer.put(*id, &voice.next());
            }
            for (id, heard) in ids.iter().zip(&mut heard) {
                let mut out = [0; FRAME];
                mixer.mix(*id, &mut out);
                heard.extend_from_slice(&out);
            }
        }
        heard.iter().map(|pcm| voices.iter().map(|voice| tone::level(pcm, 8000, voice.hz)).collect()).collect()
    }

    fn voices(count: usize, amplitude: f64) -> Vec<Voice> {
        (0..count).map(|n| Voice::new(400.0 + 300.0 * n as f64, amplitude)).collect()
    }

    fn is_heard(level: f64, amplitude: f64) -> bool {
        level > amplitude * 0.5
    }

    #[test]
    fn everybody_hears_all_but_themselves() {
        let mut mixer = Mixer::new(FRAME);
        let ids: Vec<_> = (0..4).map(|_| mixer.join(Part::Speaks).unwrap()).collect();
        let heard = listen(&mut mixer, &ids, &mut voices(4, 4000.0));
        for (listener, levels) in heard.iter().enumerate() {
            for (speaker, level) in levels.iter().enumerate() {
                assert_eq!(is_heard(*level, 4000.0), listener != speaker, "{listener} {speaker} {level}");
                assert!(listener != speaker || *level < 40.0, "{listener} hears itself: {level}");
            }
        }
    }

    #[test]
    fn a_whisper_is_heard_by_the_agent_and_never_by_the_caller() {
        let mut mixer = Mixer::new(FRAME);
        let caller = mixer.join(Part::Speaks).unwrap();
        let agent = mixer.join(Part::Speaks).unwrap();
        let supervisor = mixer.join(Part::Listens).unwrap();
        let ids = [caller, agent, supervisor];
        let who_hears_the_supervisor = |mixer: &mut Mixer| -> Vec<bool> {
            let heard = listen(mixer, &ids, &mut voices(3, 4000.0));
            // The supervisor hears both in every part, and they hear each other.
            assert!(is_heard(heard[2][0], 4000.0) && is_heard(heard[2][1], 4000.0));
            assert!(is_heard(heard[0][1], 4000.0) && is_heard(heard[1][0], 4000.0));
            heard.iter().map(|levels| levels[2] > 40.0).collect()
        };
        assert_eq!(who_hears_the_supervisor(&mut mixer), [false, false, false], "listens");
        mixer.set_part(supervisor, Part::Whispers(Members::one(agent)));
        assert_eq!(who_hears_the_supervisor(&mut mixer), [false, true, false], "whispers");
        mixer.set_part(supervisor, Part::Speaks);
        assert_eq!(who_hears_the_supervisor(&mut mixer), [true, true, false], "barges in");
        mixer.set_muted(supervisor, true);
        assert_eq!(who_hears_the_supervisor(&mut mixer), [false, false, false], "muted");
    }

    #[test]
    fn who_is_held_neither_hears_nor_is_heard_and_a_whisper_to_one_who_left_is_for_nobody() {
        let mut mixer = Mixer::new(FRAME);
        let a = mixer.join(Part::Speaks).unwrap();
        let b = mixer.join(Part::Speaks).unwrap();
        let c = mixer.join(Part::Whispers(Members::one(b))).unwrap();
        mixer.set_part(a, Part::Held);
        assert!(!mixer.hears(a, b) && !mixer.hears(b, a) && mixer.hears(b, c) && mixer.hears(c, b));
        mixer.leave(b);
        assert_eq!(mixer.part(c), Some(Part::Whispers(Members::NONE)));
        let again = mixer.join(Part::Speaks).unwrap();
        assert_eq!(again, b, "the number is used again");
        assert!(!mixer.hears(again, c), "the whisper was not for whoever comes next");
    }

    #[test]
    fn a_loud_room_is_turned_down_and_comes_back() {
        let mut mixer = Mixer::new(FRAME);
        let ids: Vec<_> = (0..5).map(|_| mixer.join(Part::Speaks).unwrap()).collect();
        let mut loud = voices(5, 20_000.0);
        let mut out = [0; FRAME];
        for _ in 0..50 {
            mixer.begin();
            for (id, voice) in ids.iter().zip(&mut loud) {
                mixer.put(*id, &voice.next());
            }
            assert!(mixer.mix(ids[0], &mut out));
            assert!(out.iter().all(|sample| i32::from(*sample).abs() <= CEILING + 1), "clipped");
        }
        // One voice alone comes back to its own level within half a second, and is then not touched at all.
        let mut one = Voice::new(700.0, 20_000.0);
        let mut last = one.next();
        for _ in 0..25 {
            mixer.begin();
            last = one.next();
            mixer.put(ids[1], &last);
            mixer.mix(ids[0], &mut out);
        }
        assert_eq!(out, last);
    }

    #[test]
    fn a_frame_of_the_wrong_length_is_cut_or_filled_and_a_full_room_says_so() {
        let mut mixer = Mixer::new(FRAME);
        let a = mixer.join(Part::Speaks).unwrap();
        let b = mixer.join(Part::Speaks).unwrap();
        mixer.put(a, &[7; 3 * FRAME]);
        let mut out = [1; FRAME];
        assert!(mixer.mix(b, &mut out) && out == [7; FRAME]);
        mixer.begin();
        mixer.put(a, &[7; 10]);
        assert!(mixer.mix(b, &mut out) && out[9] == 7 && out[10..] == [0; FRAME - 10]);
        assert!(!mixer.mix(a, &mut out) && out == [0; FRAME], "nobody spoke to it");
        mixer.begin();
        assert!(!mixer.mix(b, &mut out), "a frame is of one turn only");
        let more = (2..MIX_MEMBERS_MAX).filter(|_| mixer.join(Part::Speaks).is_ok()).count();
        assert_eq!((more, mixer.join(Part::Listens)), (MIX_MEMBERS_MAX - 2, Err(Full)));
        assert_eq!(Mixer::new(usize::MAX).samples(), MIX_SAMPLES_MAX);
    }
}
