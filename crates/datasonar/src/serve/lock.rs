//! One server at a time on a data directory, or one move out of it.
//!
//! The lock is the operating system's, on an open file: it goes with the process, however that ends, so that a start
//! after `kill -9` need not wait for anything.

use std::{
    fs::{File, TryLockError},
    path::Path,
};

use super::StartError;
use crate::files::create_private_dir;

/// The data directory, held.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Makes the directory if need be and takes its lock.
    ///
    /// # Errors
    /// [`StartError::InUse`] when a server has it, [`StartError::DataDir`] when the directory cannot be used.
    pub fn take(data_dir: &Path) -> Result<Self, StartError> {
        let path = data_dir.join("lock");
        let fail = |source| StartError::DataDir { path: data_dir.to_owned(), source };
        create_private_dir(data_dir).map_err(fail)?;
        let file = File::options().create(true).truncate(false).write(true).open(&path).map_err(fail)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StartError::InUse(data_dir.to_owned())),
            Err(TryLockError::Error(source)) => Err(fail(source)),
        }
    }
}
