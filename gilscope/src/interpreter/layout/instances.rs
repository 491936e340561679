//! From an object of a Python class to its attributes: offsets in bytes.
//!
//! By the headers of each version (`Include/cpython/object.h`, `Include/internal/pycore_dict.h`, `pycore_object.h`; to 3.10
//! `Objects/dict-common.h`, `Include/cpython/dictobject.h`); `tests/tests/names.rs` holds them against 3.6.15, 3.7.16, 3.8.18, 3.9.2, 3.9.18, 3.10.13,
//! 3.11.2, 3.11.7, 3.12.1, 3.13.0, 3.13.5 (also free-threaded), 3.14.8 and 3.15.2.

use super::super::version::Version;
use super::frame_table::FREE_THREADED_HEAD;

/// Where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstanceLayout {
    /// Frame → its first local variable.
    pub first_local: u64,
    /// A type → `tp_basicsize`.
    pub basic_size: u64,
    /// A type → `tp_flags`.
    pub flags: u64,
    /// A type → `tp_dictoffset`.
    pub dict_offset: u64,
    /// A class → pointer to the keys that its instances share (`ht_cached_keys`).
    pub shared_keys: u64,
    /// Where an instance has its attributes.
    pub kept: Kept,
    /// Dictionary → pointer to its keys.
    pub keys: u64,
    /// Dictionary → pointer to its values, where it shares its keys.
    pub values: u64,
    /// Values → the first of them.
    pub first_value: u64,
    /// How keys are kept.
    pub key_table: KeyTable,
}

/// Where an instance has its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In a dictionary that `tp_dictoffset` leads to.
    InDictionary,
    /// So many bytes before the object are a pointer to values, or else one to a dictionary (3.11).
    InValues {
        /// To values.
        values: u64,
        /// To a dictionary.
        dict: u64,
    },
    /// So many bytes before it is either pointer; that to values is one too low (3.12).
    InMarked(u64),
    /// Behind the object are values, unless so many bytes before it is a pointer to a dictionary (3.13+).
    Behind(u64),
}

/// How a dictionary's keys are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyTable {
    /// 3.6 – 3.10.
    Sized,
    /// 3.11+.
    Logarithmic,
}

/// The instance's dictionary is where its type does not say (`Py_TPFLAGS_MANAGED_DICT`, 3.11+).
pub const MANAGED_DICT: u64 = 1 << 4;
/// Its values are behind it (`Py_TPFLAGS_INLINE_VALUES`, 3.13+).
pub const INLINE_VALUES: u64 = 1 << 2;

const V3_6: InstanceLayout = InstanceLayout {
    first_local: 376,
    basic_size: 32,
    flags: 168,
    dict_offset: 288,
    shared_keys: 0,
    kept: Kept::InDictionary,
    keys: 32,
    values: 40,
    first_value: 0,
    key_table: KeyTable::Sized,
};
const V3_7: InstanceLayout = InstanceLayout {
    first_local: 360,
    ..V3_6
};
const V3_10: InstanceLayout = InstanceLayout {
    first_local: 352,
    ..V3_7
};
const V3_11: InstanceLayout = InstanceLayout {
    first_local: 72,
    shared_keys: 872,
    kept: Kept::InValues {
        values: 32,
        dict: 24,
    },
    key_table: KeyTable::Logarithmic,
    ..V3_10
};
const V3_12: InstanceLayout = InstanceLayout {
    shared_keys: 880,
    kept: Kept::InMarked(24),
    ..V3_11
};
const V3_13: InstanceLayout = InstanceLayout {
    kept: Kept::Behind(24),
    first_value: 8,
    ..V3_12
};
const V3_14: InstanceLayout = InstanceLayout {
    first_local: 80,
    ..V3_13
};
const V3_15: InstanceLayout = InstanceLayout {
    shared_keys: 888,
    ..V3_14
};

/// The layout of a version; `None` where it is not known.
pub fn instances(version: Version, free_threaded: bool) -> Option<InstanceLayout> {
    let layout = match (version.major, version.minor) {
        (3, 6) => V3_6,
        (3, 7..=9) => V3_7,
        (3, 10) => V3_10,
        (3, 11) => V3_11,
        (3, 12) => V3_12,
        (3, 13) => V3_13,
        (3, 14) => V3_14,
        (3, 15) => V3_15,
        _ => return None,
    };
    match (free_threaded, version.minor) {
        (false, _) => Some(layout),
        (true, 13) => Some(InstanceLayout {
            basic_size: layout.basic_size + FREE_THREADED_HEAD,
            flags: layout.flags + FREE_THREADED_HEAD,
            dict_offset: layout.dict_offset + FREE_THREADED_HEAD,
            shared_keys: layout.shared_keys + FREE_THREADED_HEAD,
            // Before the object are two words less (`Include/internal/pycore_object.h`: `MANAGED_DICT_OFFSET`).
            kept: Kept::Behind(8),
            keys: layout.keys + FREE_THREADED_HEAD,
            values: layout.values + FREE_THREADED_HEAD,
            ..layout
        }),
        (true, _) => None,
    }
}
