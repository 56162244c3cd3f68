//! What the log asks of a disk, and a folder that does it.

use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Error;

/// One flat folder of files. What is created, removed or written is certain to be found again only after the
/// matching `sync`.
pub trait Disk: Send + Sync + Debug {
    /// What it is called in error texts.
    fn name(&self) -> String;

    /// Names of all files.
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Makes a file, empty; one of that name must not exist. `part/name` is in a folder `part`, which is made too.
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Opens a file that exists.
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Removes a file. Who has it open may go on reading it.
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Makes sure that files which were created are found again.
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn sync_folder(&self) -> io::Result<()>;
}

/// One open file. The offsets are the caller's: it has no position of its own.
pub trait DiskFile: Send + Sync + Debug {
    /// Octets in it.
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn length(&self) -> io::Result<u64>;

    /// Reads from `offset` on; fewer octets than asked for only at the end of the file.
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize>;

    /// Writes all of `octets` from `offset` on.
    ///
    /// # Errors
    ///
    /// As the operating system says; any part may have been written then.
    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file at least so long, with zeros at the end and with room on the disk for all of it.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::StorageFull`] if there is no room, or as the operating system says.
    fn allocate(&self, length: u64) -> io::Result<()>;

    /// Cuts the file.
    ///
    /// # Errors
    ///
    /// As the operating system says.
    fn truncate(&self, length: u64) -> io::Result<()>;

    /// Waits until everything that was written is on the disk (`fdatasync`).
    ///
    /// # Errors
    ///
    /// As the operating system says. Nothing is known then of what was written since the last success, and asking
    /// again tells nothing: the system may have dropped it.
    fn sync(&self) -> io::Result<()>;
}

/// A folder of the file system, kept from other processes by a lock on the file `lock`.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    writable: bool,
    /// Locked as long as it is open; `None` if the folder has no such file and is only read.
    _lock: Option<File>,
}

impl Folder {
    /// Makes the folder if need be, and takes it.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if another process has it; [`Error::Io`] if it cannot be made or opened.
    pub fn take(path: &Path) -> Result<Folder, Error> {
        let failed = |doing| Error::io(doing, path);
        make_folder(path).map_err(failed("cannot make the folder"))?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(PRIVATE)
            .open(path.join("lock"))
            .map_err(failed("cannot open the lock file in"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::Locked(path.to_owned())),
            Err(TryLockError::Error(error)) => return Err(failed("cannot lock")(error)),
        }
        Ok(Folder {
            path: path.to_owned(),
            writable: true,
            _lock: Some(lock),
        })
    }

    /// Looks into a folder that exists, and changes nothing in it.
    ///
    /// # Errors
    ///
    /// [`Error::Locked`] if a process writes in it; [`Error::Io`] if it cannot be read.
    pub fn look(path: &Path) -> Result<Folder, Error> {
        let failed = |doing| Error::io(doing, path);
        fs::read_dir(path).map_err(failed("cannot read the folder"))?;
        let lock = match File::open(path.join("lock")) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(failed("cannot open the lock file in")(error)),
        };
        match lock.as_ref().map(File::try_lock_shared) {
            None | Some(Ok(())) => {}
            Some(Err(TryLockError::WouldBlock)) => return Err(Error::Locked(path.to_owned())),
            Some(Err(TryLockError::Error(error))) => return Err(failed("cannot lock")(error)),
        }
        Ok(Folder {
            path: path.to_owned(),
            writable: false,
            _lock: lock,
        })
    }
}

impl Disk for Folder {
    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        Ok(names)
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path.join(name);
        if let Some(folder) = path.parent() {
            make_folder(folder)?;
        }
        let mut options = OpenOptions::new();
        let file = options
            .read(true)
            .write(true)
            .create_new(true)
            .mode(PRIVATE)
            .open(path)?;
        Ok(Arc::new(Open(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.path.join(name);
        let file = OpenOptions::new().read(true).write(self.writable).open(path)?;
        Ok(Arc::new(Open(file)))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

/// Messages are for nobody else on the machine to read.
const PRIVATE: u32 = 0o600;

fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[derive(Debug)]
struct Open(File);

impl DiskFile for Open {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.0.read_at(rest, offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, octets: &[u8], offset: u64) -> io::Result<()> {
        self.0.write_all_at(octets, offset)
    }

    fn allocate(&self, length: u64) -> io::Result<()> {
        let flags = rustix::fs::FallocateFlags::empty();
        match rustix::fs::fallocate(&self.0, flags, 0, length) {
            Ok(()) => Ok(()),
            // Some file systems cannot promise room: then it shows with the writing whether there is any.
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => match self.length()? < length {
                true => self.0.set_len(length),
                false => Ok(()),
            },
            Err(error) => Err(error.into()),
        }
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
