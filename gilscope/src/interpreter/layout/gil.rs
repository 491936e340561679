//! `struct _gil_runtime_state`: the same in 3.7 – 3.15.

/// Offsets of the GIL's fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GilFields {
    /// Whether the GIL is in use (int); only in free-threaded builds.
    pub enabled: Option<u64>,
    /// Microseconds (unsigned long).
    pub interval: u64,
    /// Pointer to a thread state.
    pub last_holder: u64,
    /// −1, 0 or 1 (int).
    pub locked: u64,
    /// Unsigned long.
    pub switch_number: u64,
    /// `pthread_cond_t`, 48 bytes.
    pub cond: u64,
    /// `pthread_mutex_t`, 40 bytes.
    pub mutex: u64,
    /// `pthread_cond_t`.
    pub switch_cond: u64,
    /// `pthread_mutex_t`.
    pub switch_mutex: u64,
}

impl GilFields {
    /// x86-64, normal builds. From DWARF (`ptype /o struct _gil_runtime_state`) of 3.7.16 to 3.13.0;
    /// the order is that of Include/internal/pycore_gil.h (3.7: internal/gil.h).
    pub const NORMAL: GilFields = GilFields {
        enabled: None,
        interval: 0,
        last_holder: 8,
        locked: 16,
        switch_number: 24,
        cond: 32,
        mutex: 80,
        switch_cond: 120,
        switch_mutex: 168,
    };

    /// Free-threaded builds (3.13+) put `int enabled` first: all else lies 8 bytes higher. Measured
    /// on 3.13.5t.
    pub const FREE_THREADED: GilFields = GilFields {
        enabled: Some(0),
        interval: 8,
        last_holder: 16,
        locked: 24,
        switch_number: 32,
        cond: 40,
        mutex: 88,
        switch_cond: 128,
        switch_mutex: 176,
    };
}
