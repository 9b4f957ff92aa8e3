//! The conductor: one run from its first instant to its recorded result. Seconds are gathered, shown and written down.

use crate::farm::Farm;
use crate::gather::Gather;
use crate::live::{Live, Shown, TrunkLine};
use crate::observe::{HostSample, Watched};
use crate::partfile::PartReader;
use core::time::Duration;
use driver::clock::{self, WallAnchor};
use reports::Recorder;
use reports::result::{Event, Phase, RunResult, SeriesPoint};
use sansio::Time;
use std::io;
use std::path::Path;

/// How long after a second's end its parts are waited for.
const LATE: Duration = Duration::from_millis(250);

/// A carrier in a process of its own.
#[derive(Debug)]
pub(crate) struct Outside {
    /// Reads what it writes.
    pub(crate) reader: PartReader,
}

/// One run.
#[derive(Debug)]
pub(crate) struct Conductor {
    pub(crate) callers: Option<Farm>,
    /// Carriers of this process: the first shards of the carriers' side.
    pub(crate) carriers: Option<Farm>,
    /// Carriers of other processes: the shards behind those.
    pub(crate) outside: Vec<Outside>,
    pub(crate) gather: Gather,
    pub(crate) live: Live,
    pub(crate) watched: Vec<Watched>,
    pub(crate) series: Vec<SeriesPoint>,
    pub(crate) result: RunResult,
    pub(crate) calls_wanted: u64,
    pub(crate) length: f64,
    recorder: Option<Recorder>,
    start: Time,
    next_second: Time,
    host: HostSample,
    phase: String,
}

impl Conductor {
    /// Begins the record of a run that starts at `start`; `result` holds what is known of it.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub(crate) fn new(
        mut result: RunResult,
        out: Option<&Path>,
        start: Time,
        quiet: bool,
    ) -> io::Result<Self> {
        result.run.start_unix = WallAnchor::take().wall(start).as_secs_f64();
        let recorder = out.map(|dir| Recorder::create(dir, &result)).transpose()?;
        let title = result.run.title.clone();
        let mut conductor = Self {
            callers: None,
            carriers: None,
            outside: Vec::new(),
            gather: Gather::default(),
            live: Live::new(quiet),
            watched: Vec::new(),
            series: Vec::new(),
            result,
            calls_wanted: 0,
            length: 0.0,
            recorder,
            start,
            next_second: start + Duration::from_secs(1),
            host: HostSample::take(),
            phase: String::new(),
        };
        conductor.event(Event {
            kind: reports::result::event_kind::STARTED.to_owned(),
            text: format!("{title} begins"),
            ..Event::default()
        });
        Ok(conductor)
    }

    /// Seconds since the start.
    pub(crate) fn t(&self) -> f64 {
        self.t_of(clock::now())
    }

    /// Seconds from the start to `at`.
    pub(crate) fn t_of(&self, at: Time) -> f64 {
        at.since(self.start).as_secs_f64() - self.start.since(at).as_secs_f64()
    }

    /// Writes an event down; its time is now if it has none.
    pub(crate) fn event(&mut self, mut event: Event) {
        if event.t == 0.0 {
            event.t = self.t().max(0.0);
        }
        if event.kind != reports::result::event_kind::PHASE {
            self.live.say(&format!("{:>6.1} s  {}", event.t, event.text));
        }
        let written = self.recorder.as_mut().map(|recorder| recorder.event(&event));
        self.complain(written);
    }

    fn complain(&mut self, written: Option<io::Result<()>>) {
        if let Some(Err(error)) = written {
            self.live.say(&format!("cannot write the record: {error}"));
        }
    }

    /// Begins a phase.
    pub(crate) fn phase(&mut self, name: &str) {
        let t = self.t().max(0.0);
        if let Some(last) = self.result.phases.last_mut()
            && last.end_s == 0.0
        {
            last.end_s = t;
        }
        self.phase = name.to_owned();
        self.result.phases.push(Phase { name: name.to_owned(), start_s: t, end_s: 0.0 });
        let event = Event {
            t,
            kind: reports::result::event_kind::PHASE.to_owned(),
            text: format!("phase {name}"),
            ..Event::default()
        };
        self.event(event.with("phase", name));
    }

    /// Takes what came, and closes the second if it is over. `decorate` adds what the target says of itself.
    pub(crate) fn step(&mut self, decorate: impl FnOnce(&mut SeriesPoint) -> Vec<TrunkLine>) {
        self.collect();
        let now = clock::now();
        if now < self.next_second + LATE {
            return;
        }
        for (index, outside) in self.outside.iter_mut().enumerate() {
            let shard = self.carriers.as_ref().map_or(0, Farm::len) + index;
            for part in outside.reader.look() {
                self.gather.carriers.take(shard, &part);
            }
        }
        let t = self.t_of(self.next_second);
        let mut point = self.gather.close_second(t);
        while self.next_second + LATE <= now {
            self.next_second += Duration::from_secs(1);
        }
        for watched in &mut self.watched {
            if let Some((cores, rss, fds)) = watched.look(t) {
                point.cores.insert(watched.name().to_owned(), (cores * 1000.0).round() / 1000.0);
                point.rss.insert(watched.name().to_owned(), rss);
                point.fds.insert(watched.name().to_owned(), fds);
            }
        }
        let trunks = decorate(&mut point);
        self.show(&point, &trunks);
        let written = self.recorder.as_mut().map(|recorder| recorder.series(&point));
        self.complain(written);
        self.series.push(point);
        if self.series.len().is_multiple_of(10) {
            self.result.run.duration_s = t;
            let written = self.recorder.as_ref().map(|recorder| recorder.checkpoint(&self.result));
            self.complain(written);
        }
    }

    fn show(&mut self, point: &SeriesPoint, trunks: &[TrunkLine]) {
        let (lost, heard) = [&self.gather.callers.total.voice, &self.gather.carriers.total.voice]
            .iter()
            .fold((0, 0), |sum, voice| (sum.0 + voice.lost.max(0) as u64, sum.1 + voice.heard));
        let loss_percent = (lost + heard > 0).then(|| 100.0 * lost as f64 / (lost + heard) as f64);
        self.live.show(&Shown {
            title: &self.result.run.title,
            phase: &self.phase,
            length: self.length,
            calls_wanted: self.calls_wanted,
            point: point.clone(),
            loss_percent,
            failed: self.gather.callers.total.failed,
            trunks,
        });
    }

    /// Takes the parts that came.
    fn collect(&mut self) {
        let (callers, carriers) = (&mut self.gather.callers, &mut self.gather.carriers);
        if let Some(farm) = &mut self.callers {
            farm.poll(|shard, part| callers.take(shard, &part));
        }
        if let Some(farm) = &mut self.carriers {
            farm.poll(|shard, part| carriers.take(shard, &part));
        }
    }

    /// Ends the farms of this process and takes their last words, and those of outside carriers.
    pub(crate) fn stop_farms(&mut self) {
        let (callers, carriers) = (&mut self.gather.callers, &mut self.gather.carriers);
        let patience = Duration::from_secs(3);
        let own = self.carriers.as_ref().map_or(0, Farm::len);
        if let Some(farm) = self.callers.take() {
            farm.stop(patience, |shard, part| callers.take(shard, &part));
        }
        if let Some(farm) = self.carriers.take() {
            farm.stop(patience, |shard, part| carriers.take(shard, &part));
        }
        for (index, outside) in self.outside.iter_mut().enumerate() {
            for part in outside.reader.look() {
                carriers.take(own + index, &part);
            }
        }
    }

    /// What the host lost and gave away during the run, for the environment.
    pub(crate) fn close_environment(&mut self) {
        let host = HostSample::take();
        let environment = &mut self.result.environment;
        environment.steal = Some(host.steal_since(&self.host));
        let mut note = |name: &str, value: u64| {
            environment.notes.insert(name.to_owned(), value.to_string());
        };
        note(
            "udp receive buffer drops, whole host",
            host.receive_drops.saturating_sub(self.host.receive_drops),
        );
        note("udp send buffer drops, whole host", host.send_drops.saturating_sub(self.host.send_drops));
        note("softnet drops, whole host", host.softnet_drops.saturating_sub(self.host.softnet_drops));
        self.result.resources.processes = self.watched.iter().map(Watched::cost).collect();
    }

    /// Closes the record: judged, hashed, written.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn finish(mut self) -> io::Result<RunResult> {
        let end = self.t();
        if let Some(last) = self.result.phases.last_mut()
            && last.end_s == 0.0
        {
            last.end_s = end;
        }
        self.result.run.duration_s = end;
        self.result.run.end_unix = WallAnchor::take().wall(clock::now()).as_secs_f64();
        let kind = match self.result.run.ended {
            reports::result::Ended::Interrupted => reports::result::event_kind::INTERRUPTED,
            _ => reports::result::event_kind::FINISHED,
        };
        self.event(Event { kind: kind.to_owned(), text: "the run is over".to_owned(), ..Event::default() });
        match self.recorder.take() {
            Some(recorder) => recorder.finish(self.result),
            None => {
                reports::limits::judge(&mut self.result);
                Ok(self.result)
            }
        }
    }
}
