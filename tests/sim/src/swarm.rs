//! The swarm: many seeds, every topology, and what failed.

use crate::scene::{self, Options, Report, Topology};

/// Which scenes a swarm runs.
#[derive(Clone, Debug)]
pub struct Swarm {
    /// The first seed; the others count up from it.
    pub base: u64,
    /// How many seeds for each topology.
    pub seeds: u64,
    /// Which topologies.
    pub topologies: Vec<Topology>,
    /// How each is run.
    pub options: Options,
    /// Stop after this many failures.
    pub failures_max: usize,
}

/// What came of a swarm.
#[derive(Clone, Debug, Default)]
pub struct Harvest {
    /// Scenes run.
    pub scenes: u64,
    /// Calls made and answered in them.
    pub calls: (usize, usize),
    /// Lines of log.
    pub lines: u64,
    /// The scenes in which something was wrong.
    pub failures: Vec<Report>,
}

impl Swarm {
    /// `seeds` seeds from `base` on, for every topology.
    pub fn new(base: u64, seeds: u64) -> Self {
        Self { base, seeds, topologies: Topology::ALL.to_vec(), options: Options::default(), failures_max: 5 }
    }

    /// Runs them; `watch` sees every report as it comes.
    pub fn run(&self, mut watch: impl FnMut(&Report)) -> Harvest {
        let mut harvest = Harvest::default();
        for number in 0..self.seeds {
            for topology in &self.topologies {
                let report = scene::run(*topology, self.base.wrapping_add(number), self.options);
                watch(&report);
                harvest.scenes += 1;
                harvest.calls.0 += report.calls.0;
                harvest.calls.1 += report.calls.1;
                harvest.lines += report.log.1;
                if !report.violations.is_empty() {
                    harvest.failures.push(report);
                    if harvest.failures.len() >= self.failures_max {
                        return harvest;
                    }
                }
            }
        }
        harvest
    }
}

impl Harvest {
    /// The failures as text: seeds, what was wrong, and how to see it again.
    pub fn complaint(&self) -> String {
        let mut text = String::new();
        for report in &self.failures {
            text.push_str(&format!("topology {} seed {}\n", report.topology, report.seed));
            for violation in report.violations.iter().take(10) {
                text.push_str(&format!("    {violation}\n"));
            }
            text.push_str(&format!("  again: {}\n", report.command()));
        }
        text
    }
}
