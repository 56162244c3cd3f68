//! A disk in memory that keeps what a disk has to keep and loses what a disk may lose, for tests: what was not synced
//! when the power went is there, or not, or in part, block by block. It also fails as it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::{Disk, DiskFile};

/// What a disk writes as a whole.
const BLOCK: usize = 512;

/// What becomes of octets that were written and not synced when everything stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// The process was killed: the operating system has all of them.
    Killed,
    /// The power went, and none of them had reached the disk.
    Dropped,
    /// The power went, and some blocks of them had reached the disk, in any order; what decides is this number.
    Torn(u64),
}

/// How a disk misbehaves; all of it can change while it is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Octets that all files together may have.
    pub capacity: Option<u64>,
    /// Every sync fails.
    pub sync_fails: bool,
    /// After so many more syncs, every sync fails.
    pub syncs: Option<u64>,
    /// Everything that changes something fails.
    pub read_only: bool,
    /// Every read fails.
    pub read_fails: bool,
    /// After so many more octets written, creations, removals and syncs (one each), everything fails: the crash. What
    /// is written then ends in the middle.
    pub fuel: Option<u64>,
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub struct Simulated(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    files: BTreeMap<String, usize>,
    /// The files that are found again after the power went.
    durable: BTreeMap<String, usize>,
    contents: Vec<Contents>,
    faults: Faults,
    /// Syncs that succeeded.
    syncs: u64,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    octets: Vec<u8>,
    /// Octets that were there when it was last synced.
    durable: usize,
    /// Blocks that were changed since, as they were.
    before: BTreeMap<usize, Vec<u8>>,
}

impl Contents {
    fn new(octets: Vec<u8>) -> Contents {
        Contents {
            durable: octets.len(),
            octets,
            before: BTreeMap::new(),
        }
    }

    /// Remembers what is durable of a part that is to change.
    fn remember(&mut self, part: Range<usize>) {
        let end = part.end.min(self.durable).min(self.octets.len());
        let mut index = part.start / BLOCK;
        while index * BLOCK < end {
            let block = index * BLOCK..((index + 1) * BLOCK).min(self.octets.len());
            let octets = self.octets.get(block).unwrap_or_default();
            self.before.entry(index).or_insert_with(|| octets.to_vec());
            index += 1;
        }
    }

    fn truncate(&mut self, length: usize) {
        self.remember(length..self.octets.len());
        self.octets.truncate(length);
    }

    fn sync(&mut self) {
        self.durable = self.octets.len();
        self.before.clear();
    }

    /// As it is found with some of the changed blocks as they were, those for which `kept` gives less than their
    /// length.
    fn found(&self, length: usize, mut kept: impl FnMut(usize) -> usize) -> Vec<u8> {
        let mut found = self.octets.clone();
        found.resize(length, 0);
        let beyond = self.durable / BLOCK * BLOCK..length;
        let changed = self.before.keys().copied();
        let changed: BTreeSet<usize> = changed.chain(beyond.step_by(BLOCK).map(|at| at / BLOCK)).collect();
        for index in changed {
            let from = index * BLOCK;
            let Some(block) = found.get_mut(from..((index + 1) * BLOCK).min(length)) else {
                continue;
            };
            let skip = kept(block.len()).min(block.len());
            let before = self.before.get(&index).map(Vec::as_slice).unwrap_or_else(|| {
                // Unchanged as far as it was durable, and not there beyond.
                let end = self.durable.clamp(from, self.octets.len().max(from));
                self.octets.get(from..end).unwrap_or_default()
            });
            for (place, octet) in block.iter_mut().enumerate().skip(skip) {
                *octet = before.get(place).copied().unwrap_or_default();
            }
        }
        found
    }
}

#[derive(Debug)]
struct Open {
    disk: Simulated,
    place: usize,
}

impl Simulated {
    /// An empty disk without faults.
    pub fn new() -> Simulated {
        Simulated::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Misbehaves like this from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// How it misbehaves now; `fuel` is what is left of it.
    pub fn faults(&self) -> Faults {
        self.lock().faults
    }

    /// How often something was synced.
    pub fn syncs(&self) -> u64 {
        self.lock().syncs
    }

    /// The disk as it is found after a crash, without faults. Who still has this one changes nothing in that one.
    pub fn crash(&self, crash: Crash) -> Simulated {
        let state = self.lock();
        let mut random = Random::new(match crash {
            Crash::Torn(seed) => seed,
            _ => 1,
        });
        let files = match crash {
            Crash::Killed => state.files.clone(),
            Crash::Dropped => state.durable.clone(),
            Crash::Torn(_) => torn_folder(&state, &mut random),
        };
        let mut after = State::default();
        for (name, place) in files {
            let Some(contents) = state.contents.get(place) else {
                continue;
            };
            let octets = match crash {
                Crash::Killed => contents.octets.clone(),
                Crash::Dropped => contents.found(contents.durable, |_| 0),
                Crash::Torn(_) => torn(contents, &mut random),
            };
            let place = after.contents.len();
            after.contents.push(Contents::new(octets));
            after.files.insert(name.clone(), place);
            after.durable.insert(name, place);
        }
        Simulated(Arc::new(Mutex::new(after)))
    }

    /// Names of the files with their lengths.
    pub fn files(&self) -> Vec<(String, u64)> {
        let state = self.lock();
        let length = |place: &usize| state.contents.get(*place).map_or(0, |file| file.octets.len() as u64);
        let files = state.files.iter();
        files.map(|(name, place)| (name.clone(), length(place))).collect()
    }

    /// What is in a file; nothing if there is none.
    pub fn read(&self, name: &str) -> Vec<u8> {
        let state = self.lock();
        let contents = state.files.get(name).and_then(|place| state.contents.get(*place));
        contents.map(|contents| contents.octets.clone()).unwrap_or_default()
    }

    /// Changes one bit of a file, if it has so many.
    pub fn flip(&self, name: &str, bit: u64) {
        self.change(name, |octets| {
            if let Some(octet) = octets.get_mut((bit / 8) as usize) {
                *octet ^= 1 << (bit % 8);
            }
        });
    }

    /// Cuts a file.
    pub fn cut(&self, name: &str, length: u64) {
        self.change(name, |octets| octets.truncate(length as usize));
    }

    /// Loses a file.
    pub fn lose(&self, name: &str) {
        let mut state = self.lock();
        state.files.remove(name);
        state.durable.remove(name);
    }

    fn change(&self, name: &str, change: impl Fn(&mut Vec<u8>)) {
        let mut state = self.lock();
        let place = state.files.get(name).copied();
        if let Some(contents) = place.and_then(|place| state.contents.get_mut(place)) {
            change(&mut contents.octets);
            contents.sync();
        }
    }
}

/// The files that are found: those that were synced, with some of what happened since.
fn torn_folder(state: &State, random: &mut Random) -> BTreeMap<String, usize> {
    let mut found = state.durable.clone();
    for (name, place) in &state.files {
        if found.get(name) != Some(place) && random.coin() {
            found.insert(name.clone(), *place);
        }
    }
    found.retain(|name, _| state.files.contains_key(name) || random.coin());
    found
}

/// What is found in a file: what was synced, with some of the blocks that were written since.
fn torn(contents: &Contents, random: &mut Random) -> Vec<u8> {
    let length = match random.coin() {
        true => contents.octets.len(),
        false => contents.durable,
    };
    // Mostly whole blocks; now and then one is cut itself.
    contents.found(length, |block| match random.below(8) {
        0..4 => block,
        4 => random.below(block as u64 + 1) as usize,
        _ => 0,
    })
}

impl State {
    /// Uses up fuel: how much of `wanted` there was.
    fn burn(&mut self, wanted: u64) -> u64 {
        let Some(fuel) = &mut self.faults.fuel else {
            return wanted;
        };
        let burnt = wanted.min(*fuel);
        *fuel -= burnt;
        burnt
    }

    fn changing(&mut self) -> io::Result<()> {
        if self.faults.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        match self.burn(1) {
            1 => Ok(()),
            _ => Err(stopped()),
        }
    }

    fn syncing(&mut self) -> io::Result<()> {
        self.changing()?;
        let spent = match &mut self.faults.syncs {
            Some(left) => {
                let spent = *left == 0;
                *left = left.saturating_sub(1);
                spent
            }
            None => false,
        };
        if spent || self.faults.sync_fails {
            return Err(io::Error::other("sync failed"));
        }
        self.syncs += 1;
        Ok(())
    }

    /// Makes a file longer, if there is room.
    fn grow(&mut self, place: usize, length: usize) -> io::Result<()> {
        let used: usize = self
            .files
            .values()
            .filter_map(|place| Some(self.contents.get(*place)?.octets.len()))
            .sum();
        let contents = self.contents.get_mut(place).ok_or_else(stopped)?;
        let more = length.saturating_sub(contents.octets.len());
        if more > 0 && self.faults.capacity.is_some_and(|most| (used + more) as u64 > most) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        if more > 0 {
            contents.octets.resize(length, 0);
        }
        Ok(())
    }
}

fn stopped() -> io::Error {
    io::Error::other("stopped")
}

impl Disk for Simulated {
    fn name(&self) -> String {
        "memory".to_owned()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self
            .lock()
            .files
            .keys()
            .filter(|name| !name.contains('/'))
            .cloned()
            .collect())
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        state.changing()?;
        if state.files.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let place = state.contents.len();
        state.contents.push(Contents::default());
        state.files.insert(name.to_owned(), place);
        drop(state);
        Ok(Arc::new(Open {
            disk: self.clone(),
            place,
        }))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let place = self.lock().files.get(name).copied();
        let place = place.ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(Open {
            disk: self.clone(),
            place,
        }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.lock();
        state.changing()?;
        state
            .files
            .remove(name)
            .map(|_| ())
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_folder(&self) -> io::Result<()> {
        let mut state = self.lock();
        state.syncing()?;
        state.durable = state.files.clone();
        Ok(())
    }
}

impl DiskFile for Open {
    fn length(&self) -> io::Result<u64> {
        let state = self.disk.lock();
        Ok(state
            .contents
            .get(self.place)
            .map_or(0, |file| file.octets.len() as u64))
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.lock();
        if state.faults.read_fails {
            return Err(io::Error::other("read failed"));
        }
        let contents = state.contents.get(self.place).ok_or_else(stopped)?;
        let there = contents.octets.get(offset as usize..).unwrap_or_default();
        let count = out.len().min(there.len());
        if let (Some(to), Some(from)) = (out.get_mut(..count), there.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }

    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        if state.faults.read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        let offset = offset as usize;
        let count = state.burn(octets.len() as u64) as usize;
        state.grow(self.place, offset + count)?;
        let contents = state.contents.get_mut(self.place).ok_or_else(stopped)?;
        contents.remember(offset..offset + count);
        if let (Some(to), Some(from)) = (contents.octets.get_mut(offset..offset + count), octets.get(..count)) {
            to.copy_from_slice(from);
        }
        match count < octets.len() {
            true => Err(stopped()),
            false => Ok(()),
        }
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.changing()?;
        state.grow(self.place, length as usize)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.changing()?;
        // As a file system does with a file that is shorter.
        state.grow(self.place, length as usize)?;
        let contents = state.contents.get_mut(self.place).ok_or_else(stopped)?;
        contents.truncate(length as usize);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.lock();
        state.syncing()?;
        let contents = state.contents.get_mut(self.place).ok_or_else(stopped)?;
        contents.sync();
        Ok(())
    }
}

/// Numbers that look random and follow from a seed (xorshift).
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) % most.max(1)
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 0
    }
}
