//! 3.2 – 3.6: the GIL is a set of variables of its own.

/// `Python/ceval_gil.h`, the same from 3.2 to 3.6: all are `static`, so only an unstripped file names them. Checked live
/// on 3.6.15.
pub const GIL_VARIABLES: [&str; 8] = [
    "gil_interval",
    "gil_last_holder",
    "gil_locked",
    "gil_switch_number",
    "gil_cond",
    "gil_mutex",
    "switch_cond",
    "switch_mutex",
];
