//! A bounded table whose keys say which generation of a place they mean, so that a late key finds nothing.

/// A key into a [`Slab`]: the place and how often it had been reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    index: u32,
    generation: u32,
}

impl Key {
    /// The place, below the slab's capacity: an index for tables kept beside it.
    pub const fn index(self) -> usize {
        self.index as usize
    }

    /// The key as one number (generation in the high half), to be carried through foreign hands.
    pub const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.index as u64
    }

    /// The key from [`Self::to_bits`].
    pub const fn from_bits(bits: u64) -> Self {
        Self { index: bits as u32, generation: (bits >> 32) as u32 }
    }
}

/// The slab holds as many as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

impl core::fmt::Display for Full {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("table full")
    }
}

impl core::error::Error for Full {}

#[derive(Debug)]
enum Place<T> {
    Taken(T),
    /// Empty, and not to be taken again yet.
    Retired,
    /// The next free place, or `u32::MAX`.
    Free(u32),
}

/// A table of at most `capacity` values; insert, get and remove are O(1). Memory grows with the highest use.
#[derive(Debug)]
pub struct Slab<T> {
    places: Vec<(u32, Place<T>)>,
    free: u32,
    len: u32,
    capacity: u32,
}

impl<T> Slab<T> {
    /// An empty slab that will hold at most `capacity` values.
    pub const fn new(capacity: u32) -> Self {
        Self { places: Vec::new(), free: u32::MAX, len: 0, capacity }
    }

    /// Puts a value in.
    ///
    /// # Errors
    /// [`Full`] when `capacity` values are held; the value is dropped.
    pub fn insert(&mut self, value: T) -> Result<Key, Full> {
        self.insert_with(|_| value)
    }

    /// Puts in a value that knows its own key.
    ///
    /// # Errors
    /// [`Full`] when `capacity` values are held; `make` is not called.
    pub fn insert_with(&mut self, make: impl FnOnce(Key) -> T) -> Result<Key, Full> {
        if self.len == self.capacity {
            return Err(Full);
        }
        self.len += 1;
        if self.free == u32::MAX {
            let index = self.places.len() as u32; // below capacity, a u32
            let key = Key { index, generation: 0 };
            self.places.push((0, Place::Taken(make(key))));
            return Ok(key);
        }
        let index = self.free;
        let (generation, place) = &mut self.places[index as usize];
        let key = Key { index, generation: *generation };
        if let Place::Free(next) = *place {
            self.free = next;
        }
        *place = Place::Taken(make(key));
        Ok(key)
    }

    /// Takes a value out; `None` if the key is of another time.
    pub fn remove(&mut self, key: Key) -> Option<T> {
        let (generation, place) = self.places.get_mut(key.index())?;
        if *generation != key.generation || !matches!(place, Place::Taken(_)) {
            return None;
        }
        *generation = generation.wrapping_add(1);
        let taken = core::mem::replace(place, Place::Free(self.free));
        self.free = key.index;
        self.len -= 1;
        match taken {
            Place::Taken(value) => Some(value),
            Place::Retired | Place::Free(_) => None,
        }
    }

    /// Takes a value out but keeps its place, which counts as held until [`Self::release`]: for keys whose index
    /// others use in tables of their own, until they know that the value is gone.
    pub fn retire(&mut self, key: Key) -> Option<T> {
        let (generation, place) = self.places.get_mut(key.index())?;
        if *generation != key.generation || !matches!(place, Place::Taken(_)) {
            return None;
        }
        match core::mem::replace(place, Place::Retired) {
            Place::Taken(value) => Some(value),
            Place::Retired | Place::Free(_) => None,
        }
    }

    /// Gives the place of a retired value free; does nothing if the key is of another time or its value not retired.
    pub fn release(&mut self, key: Key) {
        let Some((generation, place)) = self.places.get_mut(key.index()) else { return };
        if *generation == key.generation && matches!(place, Place::Retired) {
            *generation = generation.wrapping_add(1);
            *place = Place::Free(self.free);
            self.free = key.index;
            self.len -= 1;
        }
    }

    /// The value, if the key is of this time.
    pub fn get(&self, key: Key) -> Option<&T> {
        match self.places.get(key.index())? {
            (generation, Place::Taken(value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// The value to be changed, if the key is of this time.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        match self.places.get_mut(key.index())? {
            (generation, Place::Taken(value)) if *generation == key.generation => Some(value),
            _ => None,
        }
    }

    /// All values with their keys, by place.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().enumerate().filter_map(|(index, (generation, place))| match place {
            Place::Taken(value) => Some((Key { index: index as u32, generation: *generation }, value)),
            Place::Retired | Place::Free(_) => None,
        })
    }

    /// All values with their keys, by place, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut T)> {
        self.places.iter_mut().enumerate().filter_map(|(index, (generation, place))| match place {
            Place::Taken(value) => Some((Key { index: index as u32, generation: *generation }, value)),
            Place::Retired | Place::Free(_) => None,
        })
    }

    /// Values held, retired ones included.
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether none is held.
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The most it will hold.
    pub const fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_key_finds_nothing_in_a_reused_place() {
        let mut slab = Slab::new(2);
        let a = slab.insert("a").unwrap();
        let b = slab.insert("b").unwrap();
        assert_eq!(slab.insert("c"), Err(Full));
        assert_eq!(slab.remove(a), Some("a"));
        assert_eq!(slab.remove(a), None);
        let c = slab.insert("c").unwrap();
        assert_eq!(c.index(), a.index());
        assert_eq!(slab.get(a), None);
        assert_eq!(slab.get(Key::from_bits(c.to_bits())), Some(&"c"));
        assert_eq!(slab.iter().map(|(_, v)| *v).collect::<Vec<_>>(), ["c", "b"]);
        assert_eq!(slab.remove(b), Some("b"));
        assert_eq!(slab.remove(c), Some("c"));
        assert!(slab.is_empty());
    }

    #[test]
    fn a_retired_place_is_not_taken_again_before_its_release() {
        let mut slab = Slab::new(2);
        let a = slab.insert("a").unwrap();
        assert_eq!(slab.retire(a), Some("a"));
        assert_eq!((slab.retire(a), slab.remove(a), slab.get(a)), (None, None, None));
        let b = slab.insert("b").unwrap();
        assert_ne!(b.index(), a.index());
        assert_eq!(slab.insert("c"), Err(Full));
        slab.release(b);
        assert_eq!(slab.get(b), Some(&"b"), "what is not retired is not released");
        slab.release(a);
        slab.release(a);
        let c = slab.insert("c").unwrap();
        assert_eq!(c.index(), a.index());
        assert_ne!(c, a);
        assert_eq!(slab.iter().count(), 2);
    }
}
