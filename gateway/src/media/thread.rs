//! A media thread: a plain loop over commands, the wheel and the sockets. It owns its legs; nothing here locks, waits
//! for anything but the next millisecond, or allocates while packets flow.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use ark_media::record::Side;
use ark_media::session::{
    Dropped, DtmfRoads, PlayCause, PlayError, Playlist, Received, RelayKeys, Session, SessionConfig, SessionEvent,
    SourcePolicy,
};
use crossbeam_channel::{Receiver, Sender};

use super::{
    api::{Command, Event, LegId, Negotiated, PlayEnd, Quality, RecordAs, RecordEnd, RecordOf, RoomPart},
    disk::Disk,
    engine::{EngineConfig, Freed, Link, Message, ThreadContext, seed},
    events::EventOut,
    leg::{Bridge, ConsentTone, LegState, Recording, Scratch, Transport},
    limits::{
        BRIDGE_POLL, COMMANDS_PER_TURN, EVENTS_PER_LEG, FRAME, HEAR_AFTER_STALL, LATE, PACKETS_PER_PIPE_TURN,
        PACKETS_PER_SOCKET_TURN, PARKED_COMMANDS, READY_BATCH, SLOTS, SLOTS_PER_TURN,
    },
    metrics::{Drop, ThreadMetrics},
    pipe::PIPE_REMOTE,
    room::Room,
    sys::{self, Epoll, ReceiveBatch, nanos},
    wheel::{Due, Pace, Seat, Wheel},
};

/// Epoll token of the waker; sockets have `pair * 2`, and one more for RTCP.
const WAKER: u64 = u64::MAX;
/// Ticks between two looks at a leg's RTCP and time-out: half a second.
const HOUSEKEEPING_TICKS: u32 = 25;

pub(crate) struct MediaThread {
    index: usize,
    links: Arc<[Link]>,
    receiver: Receiver<Message>,
    /// By port pair. Boxes, so that a leg moves to another thread as a pointer.
    legs: Vec<Option<Box<LegState>>>,
    count: usize,
    bridges: usize,
    /// By place; empty places are used again.
    rooms: Vec<Option<Box<Room>>>,
    /// Legs whose packets come through a pipe, by their place in `legs`.
    piped: Vec<u16>,
    /// What was said to legs that are on their way here.
    expected: Vec<(LegId, Vec<Message>)>,
    wheel: Wheel,
    pace: Pace,
    epoll: Epoll,
    batch: ReceiveBatch,
    scratch: Box<Scratch>,
    events: EventOut,
    freed: Sender<Freed>,
    metrics: Arc<ThreadMetrics>,
    disk: Disk,
    config: EngineConfig,
    seed: u64,
}

impl MediaThread {
    pub(crate) fn new(context: ThreadContext) -> io::Result<Self> {
        let epoll = Epoll::new(READY_BATCH)?;
        epoll.add(context.links[context.index].waker(), WAKER)?;
        Ok(Self {
            index: context.index,
            links: context.links,
            receiver: context.receiver,
            legs: (0..context.capacity).map(|_| None).collect(),
            count: 0,
            bridges: 0,
            rooms: Vec::new(),
            piped: Vec::new(),
            expected: Vec::new(),
            wheel: Wheel::default(),
            pace: Pace::new(sys::monotonic_ns()),
            epoll,
            batch: ReceiveBatch::new(1),
            scratch: Scratch::new(),
            events: EventOut::new(context.events, Some(Arc::clone(&context.metrics))),
            freed: context.freed,
            metrics: context.metrics,
            disk: context.disk,
            config: context.config,
            seed: seed(),
        })
    }

    /// Runs until the engine is dropped.
    pub(crate) fn run(mut self) {
        while !self.links[self.index].is_stopping() {
            self.take_commands();
            self.hear_what_came_meanwhile();
            self.run_slots();
            self.receive();
            self.receive_pipes();
            self.flush_events();
            self.rest();
        }
        for pair in 0..self.legs.len() {
            if let Some(id) = self.legs[pair].as_ref().map(|leg| leg.id) {
                self.close(id);
            }
        }
        self.flush_events();
    }

    fn rest(&mut self) {
        let link = &self.links[self.index];
        if self.count == 0 && !self.events.is_waiting() {
            self.metrics.cpu_ns.store(sys::thread_cpu_ns(), Relaxed);
            if link.may_sleep(&self.receiver) {
                self.epoll.wait(-1);
                link.waker().clear();
            }
            self.pace.restart(sys::monotonic_ns());
            return;
        }
        let mut until = self.pace.next_ns();
        if self.bridges > 0 {
            until = until.min(sys::monotonic_ns() + nanos(BRIDGE_POLL));
        }
        sys::sleep_until_ns(until);
    }

    // ---- commands

    fn take_commands(&mut self) {
        if self.events.is_stuck() {
            return;
        }
        for _ in 0..COMMANDS_PER_TURN {
            let Ok(message) = self.receiver.try_recv() else { return };
            self.handle(message);
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Adopt(leg) => self.adopt(leg),
            Message::Expect(id) => self.expected.push((id, Vec::new())),
            Message::Move(id, to) => {
                if self.park(id, Message::Move(id, to)).is_some() {
                    self.give_away(id, to);
                }
            }
            Message::Command(id, command) => {
                if let Some(Message::Command(id, command)) = self.park(id, Message::Command(id, command)) {
                    self.command(id, *command);
                }
            }
        }
    }

    /// Keeps a message for a leg that is on its way here; gives it back otherwise.
    fn park(&mut self, id: LegId, message: Message) -> Option<Message> {
        let Some((_, parked)) = self.expected.iter_mut().find(|(expected, _)| *expected == id) else {
            return Some(message);
        };
        let keep = parked.len() < PARKED_COMMANDS
            || matches!(&message, Message::Command(_, command) if matches!(**command, Command::Close));
        if keep {
            parked.push(message);
        } else {
            ThreadMetrics::count(&self.metrics.stale_commands, 1);
        }
        None
    }

    fn adopt(&mut self, mut leg: Box<LegState>) {
        let (id, pair) = (leg.id, leg.id.pair());
        let token = u64::from(pair) * 2;
        let watched = match &leg.transport {
            Transport::Udp { rtp, rtcp } => self.epoll.add(rtp, token).and_then(|()| self.epoll.add(rtcp, token + 1)),
            Transport::Pipe(_) => {
                self.piped.push(pair);
                Ok(())
            }
        };
        if let Err(error) = watched {
            // Without it the leg is deaf; that shows as its time-out.
            tracing::error!(%id, %error, "cannot watch the sockets of a leg");
        }
        leg.seat = Some(self.wheel.add(pair));
        leg.half_seat = None;
        leg.events_waiting = 0;
        ThreadMetrics::count(&self.metrics.recordings, leg.recordings().count() as u64);
        self.legs[usize::from(pair)] = Some(leg);
        self.count += 1;
        ThreadMetrics::count(&self.metrics.legs, 1);
        self.settle_seats(id);
        if let Some(at) = self.expected.iter().position(|(expected, _)| *expected == id) {
            for message in self.expected.swap_remove(at).1 {
                self.handle(message);
            }
        }
    }

    /// Takes a leg out of the table, the wheel and the epoll set.
    fn remove(&mut self, id: LegId) -> Option<Box<LegState>> {
        self.unbridge(id);
        let leg = self.legs.get_mut(usize::from(id.pair()))?.take_if(|leg| leg.id == id)?;
        match &leg.transport {
            Transport::Udp { rtp, rtcp } => {
                self.epoll.remove(rtp);
                self.epoll.remove(rtcp);
            }
            Transport::Pipe(_) => self.piped.retain(|pair| *pair != id.pair()),
        }
        self.free_seat(leg.seat);
        self.free_seat(leg.half_seat);
        self.count -= 1;
        ThreadMetrics::uncount(&self.metrics.legs, 1);
        Some(leg)
    }

    /// Leaves a seat of the wheel, and tells the leg that takes it over.
    fn free_seat(&mut self, seat: Option<Seat>) {
        let Some((moved, seat)) = seat.and_then(|seat| self.wheel.remove(seat)) else { return };
        let Some(other) = &mut self.legs[usize::from(moved)] else { return };
        // It has one seat in a slot.
        if other.seat.is_some_and(|own| own.slot() == seat.slot()) {
            other.seat = Some(seat);
        } else {
            other.half_seat = Some(seat);
        }
    }

    /// A leg whose packet time is no multiple of 20 ms has two seats.
    fn settle_seats(&mut self, id: LegId) {
        let Some(leg) = self.leg(id) else { return };
        let twice = leg.session.as_ref().is_some_and(|session| session.tick() < FRAME);
        match (leg.seat, leg.half_seat) {
            (Some(seat), None) if twice => {
                let half = self.wheel.add_opposite(id.pair(), seat);
                if let Some(leg) = self.leg(id) {
                    leg.half_seat = Some(half);
                }
            }
            (_, Some(half)) if !twice => {
                leg.half_seat = None;
                self.free_seat(Some(half));
            }
            _ => {}
        }
    }

    fn give_away(&mut self, id: LegId, to: usize) {
        let Some(mut leg) = self.remove(id) else { return };
        (leg.seat, leg.half_seat) = (None, None);
        ThreadMetrics::uncount(&self.metrics.recordings, leg.recordings().count() as u64);
        ThreadMetrics::count(&self.metrics.moves, 1);
        self.links[to].send_always(Message::Adopt(leg));
    }

    fn leg(&mut self, id: LegId) -> Option<&mut LegState> {
        self.legs.get_mut(usize::from(id.pair()))?.as_deref_mut().filter(|leg| leg.id == id)
    }

    fn command(&mut self, id: LegId, command: Command) {
        let now = Instant::now();
        let Some(leg) = self.leg(id) else {
            ThreadMetrics::count(&self.metrics.stale_commands, 1);
            return;
        };
        match command {
            Command::Start { negotiated, signalled_from, dtmf } if leg.session.is_none() => {
                self.begin(id, now, negotiated, signalled_from, dtmf);
            }
            Command::Update { negotiated } if leg.session.is_none() => {
                self.begin(id, now, negotiated, None, DtmfRoads::Auto);
            }
            Command::Start { negotiated, .. } | Command::Update { negotiated } => {
                if let Some(session) = &mut leg.session {
                    session.update(now, negotiated);
                    leg.expecting = now;
                }
            }
            Command::Play { id: play, items, barge_in, repeat } => {
                self.play(id, Playlist { id: play, items, barge_in, repeat });
            }
            Command::StopPlay { id: play } => {
                if let Some(session) = &mut leg.session {
                    session.stop(Some(play));
                }
            }
            Command::Bridge { other } => self.bridge(id, other),
            Command::Join { with, part } => self.join(id, with, part),
            Command::Mute { muted } => {
                leg.muted = muted;
                if let Some(room) = leg.room {
                    self.room(room, |room| room.mute(id, muted));
                    self.settle_room(room);
                }
            }
            Command::Listen { on } => {
                let tap = self.config.tap.clone().filter(|_| on);
                if let Some(leg) = self.leg(id) {
                    leg.tap = tap;
                }
            }
            Command::Unbridge => {
                for (_, parked) in &mut self.expected {
                    parked.retain(|message| {
                        !matches!(message, Message::Command(_, command)
                            if matches!(**command, Command::Bridge { other } if other == id))
                    });
                }
                self.unbridge(id);
            }
            Command::RecordStart { of, path, how, limit, silence } => {
                self.record(id, of, (path, how), (limit, silence));
            }
            Command::RecordInto { of, side } => leg.recorded_in = Some((of, side)),
            Command::RecordPause { paused } => {
                for recording in leg.recordings() {
                    recording.pause(paused);
                }
            }
            Command::RecordStop { of } => self.end_recording(id, of, RecordEnd::Stopped),
            Command::SendDtmf { digit, duration } => {
                if let Some(session) = &mut leg.session {
                    session.send_digit(digit, duration);
                }
            }
            Command::InfoDigit { digit } => {
                if let Some(session) = &mut leg.session {
                    session.info_digit(now, digit);
                }
            }
            Command::Close => return self.close(id),
        }
        self.settle_seats(id);
        self.drain(id);
    }

    fn begin(
        &mut self,
        id: LegId,
        now: Instant,
        negotiated: Negotiated,
        signalled_from: Option<IpAddr>,
        dtmf: DtmfRoads,
    ) {
        self.seed = self.seed.wrapping_mul(0x5851_F42D_4C95_7F2D).wrapping_add(0x1405_7B7E_F767_814F);
        let mut config = SessionConfig::new(negotiated, self.seed ^ seed());
        config.dtmf = dtmf;
        if let Some(host) = signalled_from {
            config.source = SourcePolicy::LearnOnce { host, window: self.config.learn_window };
        }
        let mut session = Session::new(now, config);
        if let Some(leg) = self.leg(id) {
            session.set_relay(leg.bridge.is_some().then_some(RelayKeys::Pass));
            leg.expecting = now;
            leg.session = Some(session);
        }
    }

    fn play(&mut self, id: LegId, playlist: Playlist) {
        let play = playlist.id;
        let Some(leg) = self.leg(id) else { return };
        let refused = match &mut leg.session {
            None => Some(PlayEnd::Refused),
            Some(session) => match session.play(playlist) {
                Ok(()) => None,
                Err(PlayError::Empty) => {
                    session.stop(None);
                    Some(PlayEnd::End)
                }
                Err(_) => {
                    session.stop(None);
                    Some(PlayEnd::Refused)
                }
            },
        };
        if let Some(cause) = refused {
            self.drain(id);
            self.events.push(Event::PlayFinished { leg: id, id: play, heard: Duration::ZERO, cause });
        }
    }

    fn bridge(&mut self, id: LegId, other: LegId) {
        if id == other {
            return;
        }
        if let Some((_, parked)) = self.expected.iter_mut().find(|(expected, _)| *expected == other) {
            // A bridge is the same from both sides: it waits for the side that is not here yet.
            parked.push(Message::Command(other, Box::new(Command::Bridge { other: id })));
            return;
        }
        if self.leg(other).is_none() {
            ThreadMetrics::count(&self.metrics.stale_commands, 1);
            return;
        }
        self.unbridge(id);
        self.unbridge(other);
        for side in [id, other] {
            if let Some(session) = self.leg(side).and_then(|leg| leg.session.as_mut()) {
                session.stop(None);
            }
            self.drain(side);
        }
        self.link(id, other);
    }

    /// Lets two legs pass packets to each other.
    fn link(&mut self, id: LegId, other: LegId) {
        for (side, far) in [(id, other), (other, id)] {
            if let Some(leg) = self.leg(side) {
                leg.bridge = Some(Bridge::new(far));
                if let Some(session) = &mut leg.session {
                    session.set_relay(Some(RelayKeys::Pass));
                }
            }
        }
        self.bridges += 1;
        self.metrics.bridges.store(self.bridges as u64, Relaxed);
    }

    /// Ends what connects the leg to others: a bridge, or its place in a room.
    fn unbridge(&mut self, id: LegId) {
        self.leave_room(id);
        let Some(other) = self.leg(id).and_then(|leg| leg.bridge.as_ref()).map(|bridge| bridge.other) else { return };
        for side in [id, other] {
            if let Some(leg) = self.leg(side) {
                leg.bridge = None;
                if let Some(session) = &mut leg.session {
                    session.set_relay(None);
                }
            }
        }
        self.bridges -= 1;
        self.metrics.bridges.store(self.bridges as u64, Relaxed);
    }

    // ---- rooms

    fn room<T>(&mut self, place: u16, f: impl FnOnce(&mut Room) -> T) -> Option<T> {
        self.rooms.get_mut(usize::from(place))?.as_deref_mut().map(f)
    }

    /// Brings a leg into the room in which `with` is, or makes one of `with` and whoever is bridged to it.
    fn join(&mut self, id: LegId, with: LegId, part: RoomPart) {
        // Behind a bridge of the host whose other side is on its way here, and behind the host itself.
        let bridges_host = |message: &Message| {
            matches!(message, Message::Command(_, command)
                if matches!(**command, Command::Bridge { other } if other == with))
        };
        let waits =
            |(expected, parked): &&mut (LegId, Vec<Message>)| *expected == with || parked.iter().any(bridges_host);
        if let Some((_, parked)) = self.expected.iter_mut().find(waits) {
            parked.push(Message::Command(id, Box::new(Command::Join { with, part })));
            return;
        }
        let Some(host) = self.leg(with) else {
            ThreadMetrics::count(&self.metrics.stale_commands, 1);
            return;
        };
        let room = match host.room {
            Some(room) => room,
            None if id == with => return,
            None => self.open_room(with),
        };
        if self.leg(id).is_some_and(|leg| leg.room != Some(room)) {
            self.unbridge(id);
        }
        if !self.enter(room, id, part) {
            tracing::warn!(leg = %id, room = %with, "a leg cannot come into a room: it is full, or the leg has not begun");
        }
        self.drain(id);
        self.settle_room(room);
    }

    fn open_room(&mut self, host: LegId) -> u16 {
        let ssrc = (self.seed >> 32) as u32 ^ self.rooms.len() as u32;
        let place = self.rooms.iter().position(Option::is_none).unwrap_or_else(|| {
            self.rooms.push(None);
            self.rooms.len() - 1
        });
        self.rooms[place] = Some(Box::new(Room::new(ssrc)));
        let place = place as u16;
        let bridged = self.leg(host).and_then(|leg| leg.bridge.as_ref()).map(|bridge| bridge.other);
        self.unbridge(host);
        for leg in std::iter::once(host).chain(bridged) {
            self.enter(place, leg, RoomPart::Speaks);
        }
        place
    }

    /// Gives a leg a place in a room, or another part in it.
    fn enter(&mut self, place: u16, id: LegId, part: RoomPart) -> bool {
        let now = Instant::now();
        let Some(room) = self.rooms.get_mut(usize::from(place)).and_then(Option::as_mut) else { return false };
        let Some(leg) = self.legs.get_mut(usize::from(id.pair())).and_then(Option::as_mut) else { return false };
        let Some(session) = leg.session.as_mut().filter(|_| leg.id == id) else { return false };
        if !room.join(now, id, part, leg.muted, session.negotiated()) {
            return false;
        }
        if part != RoomPart::Held && leg.room != Some(place) && !session.is_relaying() {
            session.stop(None);
        }
        session.set_relay(Some(RelayKeys::Pass));
        leg.room = Some(place);
        true
    }

    fn leave_room(&mut self, id: LegId) {
        let Some(leg) = self.leg(id) else { return };
        let Some(place) = leg.room.take() else { return };
        if let Some(session) = &mut leg.session {
            session.set_relay(None);
        }
        self.room(place, |room| room.leave(id));
        self.settle_room(place);
    }

    /// A room of two who talk becomes a bridge, one that is left by all but one is closed.
    fn settle_room(&mut self, place: u16) {
        let Some(room) = self.rooms.get(usize::from(place)).and_then(Option::as_deref) else { return };
        let pair = room.pair();
        if pair.is_none() && !room.is_over() {
            return;
        }
        let rest: [Option<LegId>; 2] = match pair {
            Some((a, b)) => [Some(a), Some(b)],
            None => [room.leader(), None],
        };
        self.rooms[usize::from(place)] = None;
        for id in rest.into_iter().flatten() {
            if let Some(leg) = self.leg(id) {
                leg.room = None;
                if let Some(session) = leg.session.as_mut().filter(|_| pair.is_none()) {
                    session.set_relay(None);
                }
            }
        }
        if let Some((a, b)) = pair {
            self.link(a, b);
        }
    }

    /// 20 ms of the room, when it is its leader's turn.
    fn run_room(&mut self, place: u16, id: LegId, now: Instant) {
        // Taken out while its members are looked at.
        let Some(mut room) = self.rooms[usize::from(place)].take() else { return };
        if room.leader() == Some(id) {
            let mut seats = 0..;
            let recorded = std::iter::from_fn(|| room.at(seats.next()?))
                .filter_map(|member| self.legs.get(usize::from(member.pair()))?.as_ref())
                .find_map(|leg| leg.tone());
            room.mix(now, recorded);
            let mut seat = 0;
            while let Some(member) = room.at(seat) {
                if let Some(Some(leg)) = self.legs.get_mut(usize::from(member.pair()))
                    && leg.id == member
                    && let Some(agreed) = leg.session.as_ref().map(|session| session.negotiated().clone())
                {
                    room.speak(seat, &agreed, |media| {
                        leg.relay((now, now), media, None, &mut self.scratch, &self.metrics);
                    });
                }
                seat += 1;
            }
        }
        self.rooms[usize::from(place)] = Some(room);
    }

    fn record(
        &mut self,
        id: LegId,
        of: RecordOf,
        file: (std::path::PathBuf, RecordAs),
        ends: (Option<Duration>, Option<Duration>),
    ) {
        self.end_recording(id, of, RecordEnd::Stopped);
        if self.leg(id).is_none_or(|leg| leg.session.is_none()) {
            let error = "the leg has not begun: there is nothing to record".to_owned();
            self.events.push(Event::RecordFailed { leg: id, path: file.0, error });
            return;
        }
        match Recording::start(&self.disk, Instant::now(), id, file, ends) {
            Ok(recording) => {
                if let Some(leg) = self.leg(id) {
                    *leg.recording_of(of) = Some(Box::new(recording));
                    ThreadMetrics::count(&self.metrics.recordings, 1);
                }
            }
            Err(path) => {
                let error = format!("{}: the disk is too far behind to begin a recording", path.display());
                self.events.push(Event::RecordFailed { leg: id, path, error });
            }
        }
    }

    fn end_recording(&mut self, id: LegId, of: RecordOf, cause: RecordEnd) {
        if let Some(recording) = self.leg(id).and_then(|leg| leg.recording_of(of).take()) {
            recording.finish(&self.disk, Instant::now(), cause);
            ThreadMetrics::uncount(&self.metrics.recordings, 1);
        }
    }

    fn close(&mut self, id: LegId) {
        for of in RecordOf::ALL {
            self.end_recording(id, of, RecordEnd::Closed);
        }
        let Some(mut leg) = self.remove(id) else { return };
        let mut quality = Quality::default();
        if let Some(session) = &mut leg.session {
            session.stop(None);
            let bye = session.rtcp_bye(Instant::now(), &mut self.scratch.packet);
            quality = session.quality();
            if let Transport::Pipe(pipe) = &leg.transport {
                quality.round_trip = quality.round_trip.or(pipe.round_trip());
            }
            if let Some(length) = bye {
                leg.send_rtcp(&self.scratch.packet[..length], &self.metrics);
            }
        }
        drain(&mut leg, &mut self.events, &self.metrics, true);
        self.events.push(Event::Closed { leg: id, quality });
        drop(leg);
        // It holds every pair that there is: it is never full.
        let _ = self.freed.try_send((id.pair(), Instant::now()));
    }

    // ---- the wheel

    /// After a stall: what the kernel had in time is heard before the slots that were missed run, which fill with silence
    /// what they have not got.
    fn hear_what_came_meanwhile(&mut self) {
        let now = sys::monotonic_ns();
        if !self.pace.has_stalled(now) {
            return;
        }
        let until = now + nanos(HEAR_AFTER_STALL);
        while self.receive_round() > 0 && sys::monotonic_ns() < until {}
    }

    fn run_slots(&mut self) {
        for _ in 0..SLOTS_PER_TURN {
            let Some(due) = self.pace.due(sys::monotonic_ns()) else { return };
            if due.skip_frames > 0 {
                self.skip(due.skip_frames);
            }
            self.run_slot(due);
        }
    }

    fn skip(&mut self, frames: u32) {
        ThreadMetrics::count(&self.metrics.resyncs, 1);
        for leg in self.legs.iter_mut().flatten() {
            if let Some(session) = &mut leg.session {
                session.skip(frames);
            }
        }
    }

    fn run_slot(&mut self, due: Due) {
        let began = sys::monotonic_ns();
        if began.saturating_sub(due.at_ns) > nanos(LATE) {
            ThreadMetrics::count(&self.metrics.late_ticks, 1);
        }
        if due.slot == SLOTS - 1 {
            self.metrics.cpu_ns.store(sys::thread_cpu_ns(), Relaxed);
        }
        let mut position = 0;
        // By position: a leg never leaves the wheel while a slot runs.
        while let Some(pair) = self.wheel.leg(due.slot, position) {
            position += 1;
            if let Some(next) = self.wheel.leg(due.slot, position) {
                self.prefetch_leg(usize::from(next));
            }
            self.tick(pair, due);
        }
    }

    /// 20 ms of one leg.
    fn tick(&mut self, pair: u16, due: Due) {
        let tone = self.tone_of(usize::from(pair));
        let Some(leg) = &mut self.legs[usize::from(pair)] else { return };
        let id = leg.id;
        let Some(session) = &mut leg.session else { return };
        let now = Instant::now();
        if let Some(length) = session.next_frame(now, &mut self.scratch.packet) {
            let length = leg.sound_over(tone, length, &mut self.scratch);
            leg.send_rtp(now, length, &self.scratch, &self.metrics);
            self.metrics.lateness(Duration::from_nanos(sys::monotonic_ns().saturating_sub(due.at_ns)));
        }
        if leg.half_seat.is_some_and(|half| half.slot() == due.slot) {
            return drain(leg, &mut self.events, &self.metrics, false);
        }
        leg.ticks = leg.ticks.wrapping_add(1);
        if leg.bridge.is_some() {
            self.speak(usize::from(pair), now);
        }
        let Some(leg) = &mut self.legs[usize::from(pair)] else { return };
        if let Some(room) = leg.room {
            self.run_room(room, id, now);
        }
        let Some(leg) = &mut self.legs[usize::from(pair)] else { return };
        if leg.ticks.is_multiple_of(HOUSEKEEPING_TICKS) {
            self.housekeeping(pair, now);
        }
        let Some(leg) = &mut self.legs[usize::from(pair)] else { return };
        drain(leg, &mut self.events, &self.metrics, false);
        for of in RecordOf::ALL {
            if let Some(Some(leg)) = self.legs.get_mut(usize::from(pair))
                && let Some(recording) = leg.recording_of(of)
                && let Some(cause) = recording.tick(&self.disk, now)
            {
                self.end_recording(id, of, cause);
            }
        }
    }

    /// A leg of a bridge hears this tick of the other one, where packets are not passed on as they are.
    fn speak(&mut self, pair: usize, now: Instant) {
        let Some(bridge) = self.legs[pair].as_ref().and_then(|leg| leg.bridge.as_ref()) else { return };
        let tone = self.tone_of(pair).or_else(|| self.tone_of(usize::from(bridge.other.pair())));
        let Some((leg, Some(other))) = with_other(&mut self.legs, pair) else { return };
        let Some(codec) = other.session.as_ref().map(|session| session.negotiated().codec) else { return };
        leg.speak(now, (codec, other.muted), tone, &mut self.scratch, &self.metrics);
    }

    /// What is to be heard of the recordings in which a leg is.
    fn tone_of(&self, pair: usize) -> Option<ConsentTone> {
        let leg = self.legs.get(pair)?.as_ref()?;
        leg.tone().or_else(|| {
            let (of, _) = leg.recorded_in?;
            let other = self.legs.get(usize::from(of.pair()))?.as_ref().filter(|other| other.id == of)?;
            other.recording.as_ref().filter(|recording| recording.has_legs())?.tone()
        })
    }

    fn housekeeping(&mut self, pair: u16, now: Instant) {
        let Some(leg) = &mut self.legs[usize::from(pair)] else { return };
        let report = leg.session.as_mut().and_then(|session| session.rtcp_report(now, &mut self.scratch.packet));
        if let Some(length) = report {
            leg.send_rtcp(&self.scratch.packet[..length], &self.metrics);
        }
        if leg.timed_out(now, self.config.rtp_timeout) {
            let event = Event::RtpTimeout { leg: leg.id };
            push_droppable(leg, event, &mut self.events, &self.metrics);
        }
    }

    // ---- packets

    fn receive(&mut self) {
        // One datagram of each socket a round: a second one on the same socket is rare, and asking for it every time
        // costs more than the round that finds it.
        for _ in 0..PACKETS_PER_SOCKET_TURN {
            let ready = self.receive_round();
            // What is not read now is read in the next turn; the wheel does not wait for it.
            if ready == 0 || sys::monotonic_ns() >= self.pace.next_ns() {
                return;
            }
        }
    }

    /// One datagram of each socket that has one; how many sockets had.
    fn receive_round(&mut self) -> usize {
        let ready = self.epoll.wait(0);
        let (now, real) = (Instant::now(), sys::realtime_ns());
        for index in 0..ready {
            // While the kernel hands over this leg's packet the next legs come into the cache.
            if index + 2 < ready {
                self.prefetch_leg((self.epoll.token(index + 2) >> 1) as usize);
            }
            if index + 1 < ready {
                self.prefetch_other((self.epoll.token(index + 1) >> 1) as usize);
            }
            let token = self.epoll.token(index);
            if token == WAKER {
                self.links[self.index].waker().clear();
            } else if token & 1 == 0 {
                self.receive_rtp((token >> 1) as usize, now, real);
            } else {
                self.receive_rtcp((token >> 1) as usize, now);
            }
        }
        ready
    }

    fn prefetch_leg(&self, pair: usize) {
        if let Some(Some(leg)) = self.legs.get(pair) {
            sys::prefetch(&**leg);
        }
    }

    /// The other side of a leg's bridge.
    fn prefetch_other(&self, pair: usize) {
        if let Some(Some(leg)) = self.legs.get(pair)
            && let Some(bridge) = &leg.bridge
        {
            self.prefetch_leg(usize::from(bridge.other.pair()));
        }
    }

    fn receive_rtp(&mut self, pair: usize, now: Instant, real: u64) {
        let Some(leg) = &self.legs[pair] else { return };
        let Transport::Udp { rtp, .. } = &leg.transport else { return };
        if self.batch.receive(rtp, 1) == 0 {
            return;
        }
        let packet = self.batch.get(0);
        let Some(from) = packet.from else { return };
        // When the kernel had it, by our clock: what it waited for our turn is no jitter of the network.
        let waited = if packet.at_realtime_ns == 0 { 0 } else { real.saturating_sub(packet.at_realtime_ns) };
        let at = now.checked_sub(Duration::from_nanos(waited.min(1_000_000_000))).unwrap_or(now);
        let mut tap = Tap::take(&mut self.legs, pair);
        if let Some((leg, other)) = with_other(&mut self.legs, pair) {
            let far = Far::of(leg, other, &mut self.rooms);
            hear(leg, (far, tap.as_mut()), (now, at), from, packet.bytes, &mut self.scratch, &self.metrics);
            drain(leg, &mut self.events, &self.metrics, false);
        }
        Tap::give_back(tap, &mut self.legs);
    }

    /// What has come through the pipes of browsers' legs.
    fn receive_pipes(&mut self) {
        for position in 0..self.piped.len() {
            let pair = usize::from(self.piped[position]);
            let now = Instant::now();
            let mut read = 0;
            let mut tap = Tap::take(&mut self.legs, pair);
            while read < PACKETS_PER_PIPE_TURN
                && let Some((leg, other)) = with_other(&mut self.legs, pair)
                && let Transport::Pipe(pipe) = &leg.transport
                && let Some(packet) = pipe.receive()
            {
                read += 1;
                let (scratch, metrics) = (&mut self.scratch, &self.metrics);
                let far = Far::of(leg, other, &mut self.rooms);
                hear(
                    leg,
                    (far, tap.as_mut()),
                    (now, packet.at.min(now)),
                    PIPE_REMOTE,
                    packet.bytes(),
                    scratch,
                    metrics,
                );
            }
            Tap::give_back(tap, &mut self.legs);
            if read > 0
                && let Some(leg) = &mut self.legs[pair]
            {
                drain(leg, &mut self.events, &self.metrics, false);
            }
        }
    }

    fn receive_rtcp(&mut self, pair: usize, now: Instant) {
        let Some(leg) = &mut self.legs[pair] else { return };
        let Transport::Udp { rtcp, .. } = &leg.transport else { return };
        if self.batch.receive(rtcp, 1) == 0 {
            return;
        }
        ThreadMetrics::count(&self.metrics.rtcp_in, 1);
        let packet = self.batch.get(0);
        match (&mut leg.session, packet.from) {
            (Some(session), Some(from)) => session.receive_rtcp(now, from, packet.bytes),
            _ => self.metrics.dropped(Drop::NotStarted),
        }
        drain(leg, &mut self.events, &self.metrics, false);
    }

    // ---- events

    fn drain(&mut self, id: LegId) {
        if let Some(leg) = self.legs.get_mut(usize::from(id.pair())).and_then(Option::as_mut) {
            drain(leg, &mut self.events, &self.metrics, false);
        }
    }

    fn flush_events(&mut self) {
        let legs = &mut self.legs;
        self.events.flush(|id| {
            if let Some(Some(leg)) = legs.get_mut(usize::from(id.pair()))
                && leg.id == id
            {
                leg.events_waiting = leg.events_waiting.saturating_sub(1);
            }
        });
    }
}

/// A leg and, when it is bridged, the other one of its bridge.
fn with_other(
    legs: &mut [Option<Box<LegState>>],
    pair: usize,
) -> Option<(&mut Box<LegState>, Option<&mut Box<LegState>>)> {
    let other = legs[pair].as_ref()?.bridge.as_ref().map(|bridge| usize::from(bridge.other.pair()));
    match other {
        Some(other) => match legs.get_disjoint_mut([pair, other]) {
            Ok([Some(leg), other]) => Some((leg, other.as_mut())),
            _ => None,
        },
        None => legs[pair].as_mut().map(|leg| (leg, None)),
    }
}

/// The recording of another leg in which a leg's voice is kept, too: out of its place while a packet is dealt with.
struct Tap {
    recording: Box<Recording>,
    of: usize,
    side: Side,
}

impl Tap {
    /// Takes it, where there is one with a channel for the leg.
    fn take(legs: &mut [Option<Box<LegState>>], pair: usize) -> Option<Self> {
        let (of, side) = legs[pair].as_ref()?.recorded_in?;
        let (id, of) = (of, usize::from(of.pair()));
        let other = legs.get_mut(of)?.as_mut().filter(|leg| leg.id == id && of != pair)?;
        let recording = other.recording.take_if(|recording| recording.has_legs())?;
        Some(Self { recording, of, side })
    }

    fn give_back(tap: Option<Self>, legs: &mut [Option<Box<LegState>>]) {
        let Some(Self { recording, of, .. }) = tap else { return };
        if let Some(leg) = &mut legs[of] {
            leg.recording = Some(recording);
        }
    }
}

/// Who hears a leg.
enum Far<'a> {
    Nobody,
    /// The other side of its bridge.
    Leg(&'a mut LegState),
    /// Those who are in a room with it.
    Room(&'a mut Room),
}

impl<'a> Far<'a> {
    fn of(leg: &LegState, other: Option<&'a mut Box<LegState>>, rooms: &'a mut [Option<Box<Room>>]) -> Self {
        if let Some(place) = leg.room {
            return rooms.get_mut(usize::from(place)).and_then(Option::as_deref_mut).map_or(Self::Nobody, Self::Room);
        }
        other.filter(|_| !leg.muted).map_or(Self::Nobody, |other| Self::Leg(other))
    }
}

/// A packet of a leg's far side, which came `at`: to its session, and to whoever listens.
fn hear(
    leg: &mut LegState,
    (far, tap): (Far<'_>, Option<&mut Tap>),
    (now, at): (Instant, Instant),
    from: SocketAddr,
    bytes: &[u8],
    scratch: &mut Scratch,
    metrics: &ThreadMetrics,
) {
    ThreadMetrics::count(&metrics.rtp_in, 1);
    let Some(session) = &mut leg.session else { return metrics.dropped(Drop::NotStarted) };
    match session.receive_rtp(at, from, bytes) {
        Received::Dropped(why) => metrics.dropped(reason(why)),
        Received::Comfort(media) => match far {
            Far::Leg(other) => other.relay_pause(at, &media),
            Far::Room(room) => room.heard(at, leg.id, &media),
            Far::Nobody => {}
        },
        Received::Media(media) => {
            if let Some(tap) = leg.tap.as_ref().filter(|_| !leg.muted) {
                tap.heard(leg.id, at, &media);
            }
            let mut tone: Option<ConsentTone> = None;
            for recording in [&mut leg.recording, &mut leg.message].into_iter().flatten() {
                recording.heard(at, Side::Caller, &media);
                tone = tone.or(recording.tone());
            }
            if let Some(tap) = tap {
                tap.recording.heard(at, tap.side, &media);
                tone = tone.or(tap.recording.tone());
            }
            match far {
                Far::Leg(other) => {
                    let tone = tone.or(other.tone());
                    other.relay((now, at), &media, tone, scratch, metrics);
                }
                Far::Room(room) => room.heard(at, leg.id, &media),
                Far::Nobody => {}
            }
        }
    }
}

fn reason(why: Dropped) -> Drop {
    match why {
        Dropped::Garbage => Drop::Malformed,
        Dropped::WrongSource => Drop::WrongSource,
        Dropped::PayloadType | Dropped::Sequence | Dropped::Held | Dropped::Rtcp => Drop::Unwanted,
    }
}

/// Passes on what happened in the session.
fn drain(leg: &mut LegState, events: &mut EventOut, metrics: &ThreadMetrics, closing: bool) {
    while let Some(event) = leg.session.as_mut().and_then(Session::poll) {
        match event {
            SessionEvent::Digit { digit, road } => {
                let event = Event::Digit { leg: leg.id, digit, road, at: Instant::now() };
                push_droppable(leg, event, events, metrics);
            }
            SessionEvent::PlayEnded(ended) => {
                let cause = match ended.cause {
                    PlayCause::End => PlayEnd::End,
                    PlayCause::Barge(digit) => PlayEnd::Barge(digit),
                    PlayCause::Stopped if closing => PlayEnd::Closed,
                    PlayCause::Stopped | PlayCause::Replaced => PlayEnd::Stopped,
                    PlayCause::CodecChanged => PlayEnd::CodecChanged,
                };
                events.push(Event::PlayFinished { leg: leg.id, id: ended.id, heard: ended.heard, cause });
            }
            // A hint that signalling does not need, and the end of a key that has been told.
            SessionEvent::DigitEnded { .. } | SessionEvent::SourceLearned(_) | SessionEvent::PeerLeft => {}
        }
    }
}

/// Sends an event of which a hostile peer can cause any number: only so many of one leg wait.
fn push_droppable(leg: &mut LegState, event: Event, events: &mut EventOut, metrics: &ThreadMetrics) {
    if leg.events_waiting >= EVENTS_PER_LEG {
        ThreadMetrics::count(&metrics.events_dropped, 1);
    } else if events.push(event) {
        leg.events_waiting += 1;
    }
}
