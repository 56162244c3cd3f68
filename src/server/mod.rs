//! All I/O on our side.
pub mod settings;
pub use settings::Settings;
