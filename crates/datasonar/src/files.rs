//! The data directory is its owner's alone: directories have the mode 0700, files 0600.
//!
//! What this process makes has these modes by its umask. What was there before, made by an older version or by hand, is looked
//! at once when a server starts, and repaired. Symbolic links are not followed, except the data directory itself, which is
//! named by the operator.

use std::{
    fs::{self, File, Metadata, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use rustix::{fs::Mode, process::umask};

/// How many paths a report names.
const NAMED: usize = 5;
/// How deep directories are looked at. The blobs of a job are three levels down.
const MAX_DEPTH: usize = 16;

/// Makes every file that this process creates from now on its owner's alone.
pub fn keep_private() {
    umask(Mode::RWXG | Mode::RWXO);
}

/// Makes a directory, and those above it that are missing, for their owner alone.
///
/// # Errors
/// When it cannot be made.
pub fn create_private_dir(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Modes that were not as they must be.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Repairs {
    /// Paths whose mode was changed.
    pub repaired: Paths,
    /// Paths whose mode could not be changed: they belong to another user, or the file system has no modes.
    pub failed: Paths,
}

/// Paths, of which the first few are named.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// How many there are.
    pub count: u64,
    /// The first.
    pub first: Vec<PathBuf>,
}

impl Paths {
    fn add(&mut self, path: &Path) {
        self.count += 1;
        if self.first.len() < NAMED {
            self.first.push(path.to_owned());
        }
    }

    fn named(&self) -> String {
        let named: Vec<String> = self.first.iter().map(|path| path.display().to_string()).collect();
        named.join(", ")
    }
}

impl Repairs {
    /// Logs what was repaired, and what could not be.
    pub fn tell(&self, directory: &Path) {
        if self.repaired.count > 0 {
            tracing::warn!(
                directory = %directory.display(), count = self.repaired.count, first = self.repaired.named(),
                "other users could reach files in the data directory: directories were set to 0700 and files to 0600"
            );
        }
        if self.failed.count > 0 {
            tracing::warn!(
                directory = %directory.display(), count = self.failed.count, first = self.failed.named(),
                "other users can reach files in the data directory, and this process may not change that: give it to the \
                 server's user with `chown -R`, then restart"
            );
        }
    }
}

/// Takes the access of other users to a directory and everything in it away. Takes a while: for a thread that may block.
///
/// # Errors
/// When the directory itself cannot be read. What is below it and cannot be read is left out.
pub fn make_private(directory: &Path) -> io::Result<Repairs> {
    let root = directory.canonicalize()?;
    let mut repairs = Repairs::default();
    repair(&root, &fs::symlink_metadata(&root)?, &mut repairs);
    let mut open = vec![(root, 0)];
    while let Some((directory, depth)) = open.pop() {
        // A directory of another user that lets nobody in needs no repair.
        let Ok(entries) = fs::read_dir(&directory) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            // Files come and go while other processes work.
            let Ok(metadata) = fs::symlink_metadata(&path) else { continue };
            repair(&path, &metadata, &mut repairs);
            if metadata.is_dir() && depth < MAX_DEPTH {
                open.push((path, depth + 1));
            }
        }
    }
    Ok(repairs)
}

fn repair(path: &Path, found: &Metadata, repairs: &mut Repairs) {
    let is_ours = |metadata: &Metadata| metadata.is_dir() || metadata.is_file();
    if !is_ours(found) || found.mode() & 0o7077 == 0 {
        return;
    }
    match set_mode(path, found) {
        Ok(()) => repairs.repaired.add(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(_) => repairs.failed.add(path),
    }
}

/// Sets the mode of the very file that was looked at, not of one that took its place.
fn set_mode(path: &Path, found: &Metadata) -> io::Result<()> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK | rustix::fs::OFlags::CLOEXEC;
    let file = File::options().read(true).custom_flags(flags.bits().cast_signed()).open(path)?;
    let metadata = file.metadata()?;
    if (metadata.dev(), metadata.ino()) != (found.dev(), found.ino()) {
        return Err(io::ErrorKind::NotFound.into());
    }
    file.set_permissions(Permissions::from_mode(if metadata.is_dir() { 0o700 } else { 0o600 }))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn a_folder_is_repaired_once_and_links_are_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (outside, data) = (folder.path().join("outside"), folder.path().join("data"));
        fs::write(&outside, "mine").unwrap();
        fs::create_dir_all(data.join("blobs/jobs/1")).unwrap();
        fs::write(data.join("blobs/jobs/1/a"), "").unwrap();
        fs::write(data.join("encryption.key"), "").unwrap();
        symlink(&outside, data.join("link")).unwrap();
        symlink(folder.path(), data.join("away")).unwrap();
        let set = |path: &Path, mode| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        set(&outside, 0o644);
        set(folder.path(), 0o755);
        set(&data.join("encryption.key"), 0o600);
        set(&data.join("blobs/jobs/1/a"), 0o666);
        for directory in ["", "blobs", "blobs/jobs", "blobs/jobs/1"] {
            set(&data.join(directory), 0o777);
        }
        let repairs = make_private(&data).unwrap();
        assert_eq!((repairs.repaired.count, repairs.failed.count), (5, 0), "{repairs:?}");
        assert_eq!(mode(&data), 0o700);
        assert_eq!(mode(&data.join("blobs/jobs/1")), 0o700);
        assert_eq!(mode(&data.join("blobs/jobs/1/a")), 0o600);
        assert_eq!((mode(&outside), mode(folder.path())), (0o644, 0o755), "what links lead to is not ours");
        assert_eq!(make_private(&data).unwrap(), Repairs::default());
    }
}
