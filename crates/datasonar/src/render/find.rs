//! Which browser, and as whom it runs.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
};

/// The names under which Chromium is looked for. The shells for headless use alone (`chrome-headless-shell`) are not among them: they
/// know no preferences, by which WebRTC is kept behind the proxy.
const NAMES: [&str; 5] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"];

/// Why no browser was started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LaunchError {
    /// None was named, and none is installed.
    #[error(
        "this server has no browser to render pages with: install Chromium (Debian's package is `chromium`), or name one with \
         the setting RENDER_BROWSER"
    )]
    None,
    /// The one that was named is not there.
    #[error("RENDER_BROWSER names {0}, which is not a program")]
    NotThere(String),
    /// There is nobody of that name.
    #[error("RENDER_USER is {0}, and this system has no such user")]
    NoUser(String),
    /// It did not start, or ended at once.
    #[error("the browser did not start: {0}")]
    Failed(String),
}

/// A user that the browser runs as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// The browser that was named, or else the first that is installed.
///
/// # Errors
/// When there is none.
pub(super) fn browser(named: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf, LaunchError> {
    if let Some(named) = named {
        let there = named.to_path_buf();
        return if is_program(&there) { Ok(there) } else { Err(LaunchError::NotThere(named.display().to_string())) };
    }
    let directories: Vec<PathBuf> = path.map(std::env::split_paths).into_iter().flatten().collect();
    let all = NAMES.iter().flat_map(|name| directories.iter().map(move |directory| directory.join(name)));
    all.into_iter().find(|candidate| candidate.is_absolute() && is_program(candidate)).ok_or(LaunchError::None)
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Reads a user, by name or number, out of the text of `/etc/passwd`. A number need not be in it: it is its own group then.
///
/// # Errors
/// When there is nobody of that name.
pub(super) fn user(named: &str, passwd: &str) -> Result<User, LaunchError> {
    let number: Option<u32> = named.parse().ok();
    let known = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let user = User { uid: uid.parse().ok()?, gid: gid.parse().ok()? };
        (name == named || number == Some(user.uid)).then_some(user)
    });
    known
        .or(number.map(|number| User { uid: number, gid: number }))
        .ok_or_else(|| LaunchError::NoUser(named.to_owned()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_program_on_the_path_is_taken_and_nothing_else() {
        let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = std::env::join_paths([first.path(), second.path()]).unwrap();
        assert_eq!(browser(None, Some(&path)), Err(LaunchError::None));
        assert_eq!(browser(None, None), Err(LaunchError::None));
        let file = |directory: &Path, name: &str, mode| {
            let path = directory.join(name);
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path
        };
        let _no_program = file(first.path(), "chromium", 0o644);
        let chrome = file(first.path(), "google-chrome", 0o755);
        assert_eq!(browser(None, Some(&path)), Ok(chrome.clone()));
        let chromium = file(second.path(), "chromium", 0o755);
        assert_eq!(browser(None, Some(&path)), Ok(chromium));
        assert_eq!(browser(Some(&chrome), Some(&path)), Ok(chrome));
        let nowhere = browser(Some(Path::new("/no/such/browser")), Some(&path)).unwrap_err();
        assert_eq!(nowhere.to_string(), "RENDER_BROWSER names /no/such/browser, which is not a program");
    }

    #[test]
    fn users_have_names_and_numbers() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nnobody:x:65534:65533:nobody:/:/bin/false\n";
        assert_eq!(user("nobody", passwd), Ok(User { uid: 65_534, gid: 65_533 }));
        assert_eq!(user("65534", passwd), Ok(User { uid: 65_534, gid: 65_533 }));
        assert_eq!(user("4711", passwd), Ok(User { uid: 4_711, gid: 4_711 }));
        assert_eq!(user("somebody", passwd), Err(LaunchError::NoUser("somebody".to_owned())));
        assert_eq!(user("", passwd), Err(LaunchError::NoUser(String::new())));
    }
}
