//! Drives gilscope on real Python processes.
