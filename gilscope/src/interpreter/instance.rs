//! An attribute of an object of a Python class, from 3.6 on.

use super::layout::{INLINE_VALUES, InstanceLayout, Kept, KeyTable, MANAGED_DICT};
use super::object::Objects;
use super::text;

/// More attributes than this are not looked through.
const MAX_ENTRIES: u64 = 256;
/// `DICT_KEYS_GENERAL`: entries have a hash, a key and a value (`Include/internal/pycore_dict.h`, 3.11+); the others a key and a value.
const GENERAL: u8 = 0;

impl Objects {
    /// The address of an attribute's value; `None` where there is none that can be read.
    pub(super) fn instance_attribute(
        &self,
        layout: &InstanceLayout,
        object: u64,
        name: &str,
    ) -> Option<u64> {
        let its_type = self.word(object, self.layout.object_type)?;
        let flags = self.word(its_type, layout.flags)?;
        let before = |offset: u64| self.word(object.wrapping_sub(offset), 0);
        let shared = |values: u64| {
            let keys = Keys::read(self, layout, self.word(its_type, layout.shared_keys)?)?;
            keys.shared(self, name, values)
        };
        let in_dictionary = |dict: u64| self.in_dictionary(layout, dict, name);
        if flags & MANAGED_DICT == 0 {
            // A negative one is counted from the end of an object of varying length, which no such class has.
            let offset = self.word(its_type, layout.dict_offset)?.cast_signed();
            let offset = u64::try_from(offset).ok().filter(|offset| *offset > 0)?;
            return in_dictionary(self.word(object, offset)?);
        }
        match layout.kept {
            Kept::InDictionary => None,
            Kept::InValues { values, dict } => match before(values)? {
                0 => in_dictionary(before(dict)?),
                values => shared(values),
            },
            Kept::InMarked(offset) => match before(offset)? {
                values if values & 1 != 0 => shared(values.wrapping_add(1)),
                dict => in_dictionary(dict),
            },
            Kept::Behind(offset) => match before(offset)? {
                0 if flags & INLINE_VALUES != 0 => {
                    let size = self.word(its_type, layout.basic_size)?;
                    let values = object.wrapping_add(size);
                    // `struct _dictvalues`: capacity, size, embedded, valid.
                    let [.., valid] = self.memory.read_array::<4>(values).ok()?;
                    (valid != 0).then(|| shared(values.wrapping_add(layout.first_value)))?
                }
                dict => in_dictionary(dict),
            },
        }
    }

    fn in_dictionary(&self, layout: &InstanceLayout, dict: u64, name: &str) -> Option<u64> {
        let keys = Keys::read(self, layout, self.word(dict, layout.keys)?)?;
        match self.word(dict, layout.values)? {
            0 => keys.own(self, name),
            values => keys.shared(self, name, values.wrapping_add(layout.first_value)),
        }
    }
}

/// The keys of a dictionary, with its values unless those are elsewhere.
struct Keys {
    entries: u64,
    count: u64,
    /// Bytes of an entry, and the key's offset in it, behind which is the value.
    size: u64,
    key: u64,
}

impl Keys {
    /// `struct _dictkeysobject`.
    fn read(objects: &Objects, layout: &InstanceLayout, at: u64) -> Option<Self> {
        let word = |offset| objects.word(at, offset);
        match layout.key_table {
            KeyTable::Sized => {
                let slots = word(8)?;
                let width = match slots {
                    0..=0xff => 1,
                    0x100..=0xffff => 2,
                    0x1_0000..=0xffff_ffff => 4,
                    _ => return None,
                };
                Some(Self {
                    entries: at.wrapping_add(40 + slots * width),
                    count: word(32)?,
                    size: 24,
                    key: 8,
                })
            }
            KeyTable::Logarithmic => {
                let [_, log2_bytes, kind] = objects.memory.read_array(at.wrapping_add(8)).ok()?;
                let indices = 1_u64.checked_shl(log2_bytes.into())?;
                let key = if kind == GENERAL { 8 } else { 0 };
                Some(Self {
                    entries: at.wrapping_add(32).wrapping_add(indices),
                    count: word(24)?,
                    size: key + 16,
                    key,
                })
            }
        }
    }

    fn index(&self, objects: &Objects, name: &str) -> Option<u64> {
        let is_it = |at: &u64| {
            let key = objects.word(
                self.entries,
                at.wrapping_mul(self.size).wrapping_add(self.key),
            );
            let found = key.and_then(|key| text::read(objects.memory, key, objects.layout.text));
            found.as_deref() == Some(name)
        };
        (0..self.count.min(MAX_ENTRIES)).find(is_it)
    }

    fn own(&self, objects: &Objects, name: &str) -> Option<u64> {
        let at = self.index(objects, name)?.wrapping_mul(self.size);
        let value = objects.word(self.entries, at.wrapping_add(self.key).wrapping_add(8))?;
        Some(value).filter(|value| *value != 0)
    }

    fn shared(&self, objects: &Objects, name: &str, values: u64) -> Option<u64> {
        let at = self.index(objects, name)?.wrapping_mul(8);
        objects.word(values, at).filter(|value| *value != 0)
    }
}
