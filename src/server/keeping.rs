//! Persistent messages on disk: a store for each virtual host, opened before anybody connects, closed when all have
//! gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

use serde::Serialize;

use super::clock::Clock;
use super::{random, Error, Mode, Settings};
use crate::broker::journal::{Listener, Report};
use crate::broker::{self, Broker, Found, Gauge, Journal, Volatile};
use crate::session::Hosts;
use crate::store::{Opened, Store};

/// What was found on disk for a virtual host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its name; `None` is the default one.
    pub host: Option<String>,
    /// The folder.
    pub folder: PathBuf,
    /// What was in it.
    pub found: Found,
    /// What of it is damaged, a line each; the rest is served.
    pub damage: Vec<String>,
    /// Whether something that had been promised may be lost with it.
    pub loss: bool,
}

/// The stores of all virtual hosts.
#[derive(Debug, Default)]
pub(super) struct Keeping {
    stores: Vec<(Arc<Broker>, Arc<Store>)>,
    kept: Vec<Kept>,
}

/// What `/stats` says of a store.
#[derive(Debug, Serialize)]
pub(super) struct StoreStats {
    folder: PathBuf,
    /// Octets that wait to be written.
    pending_octets: usize,
    /// Why persistent messages are refused now.
    unwell: Option<String>,
}

/// Opens what is on disk and makes the brokers of it.
pub(super) async fn open(settings: &Settings, clock: Clock) -> Result<(Hosts, Keeping), Error> {
    let settings = settings.clone();
    // A folder of millions of messages takes seconds to read.
    let opening = tokio::task::spawn_blocking(move || open_all(&settings, clock));
    match opening.await {
        Ok(opened) => opened,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
}

fn open_all(settings: &Settings, clock: Clock) -> Result<(Hosts, Keeping), Error> {
    let gauge = Arc::default();
    let mut keeping = Keeping::default();
    let default = keeping.host(None, &settings.broker, settings, &gauge, clock)?;
    let mut named = BTreeMap::new();
    for (name, host) in &settings.hosts {
        named.insert(name.clone(), keeping.host(Some(name), host, settings, &gauge, clock)?);
    }
    if settings.mode == Mode::Broker {
        keeping.tell_of_strangers(settings.data.as_deref());
    }
    Ok((Hosts { default, named }, keeping))
}

impl Keeping {
    fn host(
        &mut self,
        name: Option<&str>,
        host: &broker::Settings,
        settings: &Settings,
        gauge: &Arc<Gauge>,
        clock: Clock,
    ) -> Result<Arc<Broker>, Error> {
        let seed = u64::from_le_bytes(random()?);
        let make = |journal: Arc<dyn Journal>| Broker::sharing(host.clone(), seed, journal, Arc::clone(gauge));
        // A relay keeps nothing: its folder, if there is one, is that of the same machine as a broker.
        let data = settings.data.as_ref().filter(|_| settings.mode == Mode::Broker);
        let Some(data) = data else {
            return Ok(Arc::new(make(Arc::new(Volatile))));
        };
        let folder = folder(data, name);
        let Opened {
            store,
            queues,
            next_queue,
            damage,
        } = Store::open(&folder, settings.store)?;
        let broker = Arc::new(make(Arc::clone(&store) as Arc<dyn Journal>));
        let found = broker.recover(&queues, next_queue, clock.now());
        store.attach(Arc::new(Reporter {
            broker: Arc::downgrade(&broker),
            clock,
        }));
        self.kept.push(Kept {
            host: name.map(str::to_owned),
            folder,
            found,
            damage: damage.iter().map(ToString::to_string).collect(),
            loss: damage.iter().any(crate::store::Damage::is_loss),
        });
        self.stores.push((Arc::clone(&broker), store));
        Ok(broker)
    }

    /// Folders of virtual hosts that are not configured (any more) are left alone, but not silently.
    fn tell_of_strangers(&self, data: Option<&Path>) {
        let folders = data
            .and_then(|data| std::fs::read_dir(data).ok())
            .into_iter()
            .flatten()
            .flatten();
        for path in folders.map(|entry| entry.path()) {
            if path.is_dir() && !self.kept.iter().any(|kept| kept.folder == path) {
                let folder = path.display();
                tracing::warn!(%folder, "no configured virtual host has this folder; what is in it is not served");
            }
        }
    }

    /// What was found at the start.
    pub(super) fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Why persistent messages are refused now, by the first store that does.
    pub(super) fn unwell(&self) -> Option<Arc<str>> {
        self.stores.iter().find_map(|(_, store)| store.refuses())
    }

    /// Of the store of a virtual host; `None` if all is in memory.
    pub(super) fn stats(&self, host: Option<&str>) -> Option<StoreStats> {
        let mut all = self.stores.iter().zip(&self.kept);
        let ((_, store), kept) = all.find(|(_, kept)| kept.host.as_deref() == host)?;
        Some(StoreStats {
            folder: kept.folder.clone(),
            pending_octets: store.pending_octets(),
            unwell: store.refuses().map(|why| why.to_string()),
        })
    }

    /// Says that nothing is in doubt, and closes the stores.
    pub(super) async fn close(&self) {
        let stores = self.stores.clone();
        let closing = tokio::task::spawn_blocking(move || {
            for (broker, store) in stores {
                broker.rest();
                store.close();
            }
        });
        if let Err(error) = closing.await {
            tracing::error!(%error, "the stores were not closed");
        }
    }
}

/// The folder of a virtual host, whose name may hold anything.
fn folder(data: &Path, host: Option<&str>) -> PathBuf {
    let Some(host) = host else { return data.join("default") };
    let mut name = String::from("host-");
    for octet in host.bytes() {
        match octet {
            b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_' => name.push(char::from(octet)),
            // Capitals too: not every file system tells them apart.
            other => name.push_str(&format!("%{other:02X}")),
        }
    }
    data.join(name)
}

/// Hands on what a store reports. It holds the broker weakly: the broker holds the store.
struct Reporter {
    broker: Weak<Broker>,
    clock: Clock,
}

impl Listener for Reporter {
    fn report(&self, report: Report) {
        if let Some(broker) = self.broker.upgrade() {
            broker.report(report, self.clock.now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_host_has_a_folder_of_its_own_inside() {
        let data = Path::new("data");
        let named = |host: &str| folder(data, Some(host)).display().to_string();
        assert_eq!(folder(data, None).display().to_string(), "data/default");
        assert_eq!(named("a.example"), "data/host-a.example");
        assert_eq!(named("../x"), "data/host-..%2Fx");
        assert_ne!(named("A"), named("a"));
    }
}
