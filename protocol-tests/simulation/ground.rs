//! What the broker stands on: the naive journal, or the real store on a disk in memory. Both lose what they may lose.

use std::sync::Arc;

use hoofbeat::broker::journal::{Journal, Recovered};
use hoofbeat::store::disk::Disk;
use hoofbeat::store::simulated::{Crash, Faults, Simulated};
use hoofbeat::store::{Settings, Store};

use crate::paper::Paper;
use crate::random::Random;

pub enum Ground {
    Paper(Arc<Paper>),
    Log {
        disk: Simulated,
        store: Arc<Store>,
        settings: Settings,
    },
}

impl std::fmt::Debug for Ground {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ground::Paper(paper) => paper.fmt(f),
            Ground::Log { disk, store, .. } => {
                let (files, faults, pending) = (disk.files(), disk.faults(), store.pending_octets());
                write!(f, "{files:?}, {pending} octets wait, {faults:?}")
            }
        }
    }
}

/// A start: what it stands on, and what was found there.
pub type Start = Result<(Ground, Vec<Recovered>), String>;

impl Ground {
    /// A new one, as the seed has it: three of four are the real store.
    pub fn new(seed: u64) -> Result<Ground, String> {
        let mut random = Random::new(seed, u64::MAX - 2);
        if random.below(4) == 0 {
            return Ok(Ground::Paper(Arc::default()));
        }
        let settings = Settings {
            // So small that segments are begun, emptied and removed all the time.
            segment_octets: random.pick(&[4 << 10, 8 << 10, 64 << 10]),
            reserve_octets: random.pick(&[4 << 10, 0]),
            salt: 1 + random.below(1 << 20) as u32,
            ..Settings::default()
        };
        start(Simulated::new(), settings).map(|(ground, _)| ground)
    }

    pub fn journal(&self) -> Arc<dyn Journal> {
        match self {
            Ground::Paper(paper) => Arc::clone(paper) as Arc<dyn Journal>,
            Ground::Log { store, .. } => Arc::clone(store) as Arc<dyn Journal>,
        }
    }

    /// Does what there is to do; whether there was anything.
    pub fn step(&self) -> bool {
        match self {
            Ground::Paper(paper) => paper.step(),
            Ground::Log { store, .. } => {
                let waits = store.pending_octets() > 0;
                store.step() || waits
            }
        }
    }

    /// The disk misbehaves from now on; false if it cannot.
    pub fn misbehave(&self, random: &mut Random) -> bool {
        let Ground::Log { disk, .. } = self else { return false };
        let used: u64 = disk.files().iter().map(|(_, length)| length).sum();
        let faults = match random.below(6) {
            0 => Faults {
                sync_fails: true,
                ..Faults::default()
            },
            3 => Faults {
                syncs: Some(random.next() % 8),
                ..Faults::default()
            },
            4 => Faults {
                read_fails: true,
                ..Faults::default()
            },
            1 => Faults {
                read_only: true,
                ..Faults::default()
            },
            2 => Faults {
                capacity: Some(used + random.next() % 3_000),
                ..Faults::default()
            },
            _ => Faults {
                fuel: Some(random.next() % 3_000),
                ..Faults::default()
            },
        };
        disk.set_faults(faults);
        true
    }

    /// The disk is well again.
    pub fn heal(&self) {
        if let Ground::Log { disk, .. } = self {
            disk.set_faults(Faults::default());
        }
    }

    /// Whether persistent messages are refused.
    pub fn is_unwell(&self) -> bool {
        self.journal().refuses().is_some()
    }

    /// The process is killed, or the power goes.
    pub fn crash(&self, random: &mut Random) -> Start {
        match self {
            Ground::Paper(paper) => {
                let (paper, found) = paper.crash(random);
                Ok((Ground::Paper(Arc::new(paper)), found))
            }
            Ground::Log { disk, settings, .. } => {
                if random.chance(30) {
                    // In the middle of what is being written, removed or moved.
                    let fuel = Some(random.next() % 2_000);
                    disk.set_faults(Faults {
                        fuel,
                        ..Faults::default()
                    });
                    self.step();
                }
                let crash = match random.below(4) {
                    0 => Crash::Killed,
                    1 => Crash::Dropped,
                    _ => Crash::Torn(random.next()),
                };
                start(disk.crash(crash), *settings)
            }
        }
    }

    /// The process ends as it should.
    pub fn close(&self, random: &mut Random) -> Start {
        match self {
            Ground::Paper(paper) => {
                while paper.step() {}
                let (paper, found) = paper.crash(random);
                Ok((Ground::Paper(Arc::new(paper)), found))
            }
            Ground::Log { disk, store, settings } => {
                store.close();
                // What was closed survives even the loss of power.
                start(disk.crash(Crash::Dropped), *settings)
            }
        }
    }
}

fn start(disk: Simulated, settings: Settings) -> Start {
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let opened = Store::manual(&shared, settings).map_err(|error| format!("no start: {error}"))?;
    if let Some(damage) = opened.damage.iter().find(|damage| damage.is_loss()) {
        return Err(format!("a crash damages nothing, and a start reports: {damage}"));
    }
    let ground = Ground::Log {
        disk,
        store: opened.store,
        settings,
    };
    Ok((ground, opened.queues))
}
