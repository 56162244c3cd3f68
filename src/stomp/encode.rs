//! Frames to bytes.
