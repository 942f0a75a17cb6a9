//! The data directory is its owner's alone, whatever the umask, and is repaired where it was not.

use std::{
    fs::{self, Permissions},
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use datasonar::cli::{
    client::{Api, Server},
    demo::child::Child,
};
use http::Method;
use serde_json::{Value, json};
use tokio::process::Command;

use super::server::{site, until};

/// The program under a umask that forbids nothing.
fn careless(folder: &Path) -> PathBuf {
    let path = folder.join("careless");
    fs::write(&path, format!("#!/bin/sh\numask 0\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_datasonar"))).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

fn set(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Everything in a folder that others can reach. What the tests' harness makes beside the server is left out.
fn open_to_others(path: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let metadata = fs::symlink_metadata(path).unwrap();
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let expected = if metadata.is_dir() { 0o700 } else { 0o600 };
    if metadata.mode() & 0o7777 != expected && !metadata.is_symlink() && name != "keys-shown" {
        found.push(format!("{} {:o}", path.display(), metadata.mode()));
    }
    if metadata.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            found.extend(open_to_others(&entry.unwrap().path()));
        }
    }
    found
}

#[tokio::test]
async fn the_data_directory_is_private_whatever_the_umask_and_is_repaired() {
    let folder = tempfile::tempdir().unwrap();
    let (program, data) = (careless(folder.path()), folder.path().join("data"));
    let mut child = Child::start_program(&program, &data, &[]).await.unwrap();
    let keys = child.keys.clone().unwrap();
    let api = Api::new(Server { server: child.url(), api_key: keys.0.clone() }).unwrap();
    let pages = site(300).await;
    let urls: Vec<String> = pages.urls().take(300).collect();
    let body = json!({"urls": urls, "format": "raw_html"});
    let queued: Value = api.json(Method::POST, "/v1/scrape/batch/async", Some(&body)).await.unwrap();
    let path = format!("/v1/jobs/{}", queued["job_id"].as_str().unwrap());
    until("the job's end", async || {
        let job: Value = api.json(Method::GET, &path, None).await.unwrap();
        (job["status"] == "completed").then_some(())
    })
    .await;
    assert!(data.join("datasonar.db-wal").exists() && data.join("blobs").exists());
    assert_eq!(open_to_others(&data), [""; 0]);

    let copy = folder.path().join("copy");
    fs::create_dir(&copy).unwrap();
    set(&copy, 0o777);
    let backup = Command::new(&program).args(["admin", "backup", "--data-dir"]).arg(&data).arg(&copy).output();
    let backup = backup.await.unwrap();
    assert!(backup.status.success(), "{}", String::from_utf8_lossy(&backup.stderr));
    assert_eq!(open_to_others(&copy), [""; 0]);
    child.stop().await.unwrap();

    let outside = folder.path().join("outside");
    fs::write(&outside, "").unwrap();
    set(&outside, 0o644);
    symlink(&outside, data.join("blobs/link")).unwrap();
    fs::create_dir_all(data.join("blobs/jobs")).unwrap();
    for file in ["", "blobs", "blobs/jobs"] {
        set(&data.join(file), 0o755);
    }
    for file in ["datasonar.db", "encryption.key"] {
        set(&data.join(file), 0o666);
    }
    let mut child = Child::start_program(&program, &data, &[]).await.unwrap();
    assert_eq!(open_to_others(&data), [""; 0]);
    assert_eq!(fs::metadata(&outside).unwrap().mode() & 0o777, 0o644, "links are not followed");
    let log = fs::read_to_string(data.join("server.log")).unwrap();
    assert!(log.contains("other users could reach files in the data directory"), "{log}");
    assert!(log.contains("encryption.key"), "{log}");
    child.stop().await.unwrap();
}
