//! Why a folder cannot be opened.

use std::io;
use std::path::{Path, PathBuf};

use super::disk::Disk;
use super::header::VERSION;

/// Why a folder cannot be opened. Damage is none of the reasons: what is not damaged is served.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another process has the folder.
    #[error("the folder {} is in use by another process", .0.display())]
    Locked(PathBuf),

    /// It was written by a later version, and nothing in it was changed.
    #[error("the folder {folder} has format {found}, and this version reads up to {VERSION}: use the hoofbeat that wrote it, or a later one")]
    Newer {
        /// The folder.
        folder: String,
        /// Its format.
        found: u8,
    },

    /// The disk refuses.
    #[error("{doing} {folder}: {source}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// The folder.
        folder: String,
        /// What the operating system says.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io<'a>(doing: &'static str, folder: &'a Path) -> impl FnOnce(io::Error) -> Error + use<'a> {
        move |source| Error::Io {
            doing,
            folder: folder.display().to_string(),
            source,
        }
    }

    pub(super) fn io_in<'a>(doing: &'static str, disk: &'a dyn Disk) -> impl FnOnce(io::Error) -> Error + use<'a> {
        move |source| Error::Io {
            doing,
            folder: disk.name(),
            source,
        }
    }

    pub(super) fn newer(disk: &dyn Disk, found: u8) -> Error {
        Error::Newer {
            folder: disk.name(),
            found,
        }
    }
}
