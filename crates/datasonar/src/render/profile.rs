//! Directories of browsers: of each the profile, for the user that it runs as alone, and gone when it ends.
//!
//! They are in the data directory, or in a run directory where the browser's user cannot come into that: a server that is root
//! starts browsers as somebody else. A directory is locked while its server lives, so that a server that starts removes what
//! others that were killed have left, and nothing else.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::find::User;

/// What the names of profiles begin with.
const PREFIX: &str = "render-";
/// A browser makes sockets in its profile, whose paths have 107 bytes at most.
const MAX_HOME_BYTES: usize = 47;

/// Places for the directories of browsers.
#[derive(Clone, Debug)]
pub(super) struct Homes {
    /// The first that can be used is taken.
    own: Vec<PathBuf>,
    /// The same for browsers that run as another user: these let everybody through to what they may enter, and list nothing.
    others: Vec<PathBuf>,
}

/// A browser's directory. Dropped, it is removed.
#[derive(Debug)]
pub(super) struct Profile {
    directory: TempDir,
    _lock: File,
}

impl Homes {
    /// The places below a data directory and the run directory of this server, if it was given one.
    pub(super) fn new(data_dir: &Path, run_dir: Option<&Path>) -> Self {
        // Chromium is told the path from wherever it is.
        let data_dir = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
        let run_dir = run_dir.map(Path::to_owned);
        let temporary =
            |kind: &str| std::env::temp_dir().join(format!("datasonar-{kind}-{}", rustix::process::geteuid().as_raw()));
        let own = [Some(data_dir.join("browsers")), run_dir.clone().map(|run| run.join("own")), Some(temporary("own"))];
        let system = PathBuf::from("/run/datasonar/browsers");
        let others = [Some(run_dir.map_or(system, |run| run.join("browsers"))), Some(temporary("browsers"))];
        Self { own: own.into_iter().flatten().collect(), others: others.into_iter().flatten().collect() }
    }

    /// Makes a directory for a browser.
    ///
    /// # Errors
    /// Why there is no place for one.
    pub(super) fn create(&self, user: Option<User>) -> io::Result<Profile> {
        // Root comes everywhere.
        let user = user.filter(|user| user.uid != 0);
        let (homes, mode) = if user.is_some() { (&self.others, 0o711) } else { (&self.own, 0o700) };
        let mut why = io::Error::from(io::ErrorKind::NotFound);
        for home in homes {
            match open(home, mode).and_then(|()| profile(home, user)) {
                Ok(profile) => return Ok(profile),
                Err(error) => why = io::Error::new(error.kind(), format!("{}: {error}", home.display())),
            }
        }
        Err(why)
    }

    /// Removes directories whose servers have ended without doing so. Returns how many there were.
    pub(super) fn sweep(&self) -> usize {
        let entries = self.own.iter().chain(&self.others).filter_map(|home| fs::read_dir(home).ok()).flatten();
        let is_left = |entry: &fs::DirEntry| {
            let is_named = entry.file_name().to_string_lossy().starts_with(PREFIX);
            is_named && entry.file_type().is_ok_and(|kind| kind.is_dir())
        };
        let mut removed = 0;
        for entry in entries.flatten().filter(is_left) {
            let is_free = File::open(entry.path()).is_ok_and(|directory| directory.try_lock().is_ok());
            removed += usize::from(is_free && fs::remove_dir_all(entry.path()).is_ok());
        }
        removed
    }
}

impl Profile {
    /// Its path.
    pub(super) fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Removes it.
    ///
    /// # Errors
    /// When something of it is left.
    pub(super) fn close(self) -> io::Result<()> {
        self.directory.close()
    }
}

/// Makes a place, or sees that the one that is there is ours and nobody else's.
fn open(home: &Path, mode: u32) -> io::Result<()> {
    if home.as_os_str().len() > MAX_HOME_BYTES {
        return Err(io::Error::other("the path is too long for a browser's sockets"));
    }
    if let Some(above) = home.parent().filter(|above| !above.exists()) {
        DirBuilder::new().recursive(true).mode(mode).create(above)?;
        // Whatever the umask: browsers of another user have to come through.
        fs::set_permissions(above, fs::Permissions::from_mode(mode))?;
    }
    match DirBuilder::new().mode(mode).create(home) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let found = fs::symlink_metadata(home)?;
    if !found.is_dir() || found.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("it is not a directory of this server's user"));
    }
    if found.mode() & 0o7777 != mode {
        fs::set_permissions(home, fs::Permissions::from_mode(mode))?;
    }
    Ok(())
}

fn profile(home: &Path, user: Option<User>) -> io::Result<Profile> {
    let mut tries = 0;
    loop {
        let private = fs::Permissions::from_mode(0o700);
        let directory = tempfile::Builder::new().prefix(PREFIX).permissions(private).tempdir_in(home)?;
        let lock = File::open(directory.path())?;
        // A server that starts just now may have taken it for one that was left.
        let is_ours = lock.try_lock().is_ok() && directory.path().exists();
        tries += 1;
        if !is_ours && tries < 3 {
            continue;
        }
        if let Some(user) = user {
            std::os::unix::fs::chown(directory.path(), Some(user.uid), Some(user.gid))?;
        }
        return Ok(Profile { directory, _lock: lock });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn profiles_are_private_and_what_the_dead_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("d");
        let homes = Homes::new(&data, Some(&folder.path().join("r")));
        let kept = homes.create(None).unwrap();
        assert_eq!(kept.path().parent(), Some(&*data.join("browsers")));
        assert_eq!((mode(kept.path()), mode(&data.join("browsers"))), (0o700, 0o700));
        let left = data.join("browsers").join(format!("{PREFIX}left"));
        fs::create_dir_all(left.join("Default")).unwrap();
        let other = data.join("browsers/other");
        fs::create_dir(&other).unwrap();
        assert_eq!(homes.sweep(), 1);
        assert!(kept.path().exists() && other.exists() && !left.exists());
        let path = kept.path().to_owned();
        kept.close().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn another_user_is_let_through_to_its_own() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let homes = Homes::new(&folder.path().join("d"), Some(&folder.path().join("r")));
        let profile = homes.create(Some(User { uid: 65_534, gid: 65_534 })).unwrap();
        let home = folder.path().join("r/browsers");
        assert_eq!(profile.path().parent(), Some(&*home));
        assert_eq!((mode(&home), mode(profile.path())), (0o711, 0o700));
        assert_eq!(fs::metadata(profile.path()).unwrap().uid(), 65_534);
        assert!(!folder.path().join("d").exists());
    }
}
