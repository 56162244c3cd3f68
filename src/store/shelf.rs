//! Things by rising number, taken out in any order.

use std::collections::VecDeque;

/// A sorted list. Nearly everything is put in at its end and taken from its beginning, and both are cheap there; what
/// is taken out elsewhere leaves its place until half of the places are empty.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    places: VecDeque<(u64, Option<T>)>,
    length: usize,
}

/// Empty places that are not worth closing up.
const SLACK: usize = 64;

impl<T> Default for Shelf<T> {
    fn default() -> Self {
        Shelf {
            places: VecDeque::new(),
            length: 0,
        }
    }
}

impl<T> Shelf<T> {
    /// Puts a thing in; what had its number before.
    pub(super) fn insert(&mut self, number: u64, thing: T) -> Option<T> {
        let before = match self.find(number) {
            Ok(place) => self.places.get_mut(place).and_then(|(_, old)| old.replace(thing)),
            Err(place) => {
                self.places.insert(place, (number, Some(thing)));
                None
            }
        };
        self.length += usize::from(before.is_none());
        before
    }

    pub(super) fn get(&self, number: u64) -> Option<&T> {
        let place = self.find(number).ok()?;
        self.places.get(place)?.1.as_ref()
    }

    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let place = self.find(number).ok()?;
        self.places.get_mut(place)?.1.as_mut()
    }

    pub(super) fn remove(&mut self, number: u64) -> Option<T> {
        let place = self.find(number).ok()?;
        let thing = self.places.get_mut(place)?.1.take()?;
        self.length -= 1;
        while let Some((_, None)) = self.places.front() {
            self.places.pop_front();
        }
        self.close_up();
        Some(thing)
    }

    /// Everything, in the order of the numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &T)> {
        self.places
            .iter()
            .filter_map(|(number, thing)| Some((*number, thing.as_ref()?)))
    }

    fn find(&self, number: u64) -> Result<usize, usize> {
        match (self.places.front(), self.places.back()) {
            (Some((first, _)), _) if *first == number => Ok(0),
            (_, Some((last, _))) if *last < number => Err(self.places.len()),
            _ => self.places.binary_search_by_key(&number, |(number, _)| *number),
        }
    }

    fn close_up(&mut self) {
        if self.places.len() > SLACK + 2 * self.length {
            self.places.retain(|(_, thing)| thing.is_some());
        }
        if self.places.capacity() > SLACK + 4 * self.places.len() {
            self.places.shrink_to(2 * self.places.len());
        }
    }
}
