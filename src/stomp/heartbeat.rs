//! Heart-beating.
