//! The bytes of a delivery, passed on as they come: they may be gigabytes.

use std::{
    fs::File,
    io::{self, BufWriter, IsTerminal, Write},
    path::Path,
};

use anyhow::{Context, Result};
use http::HeaderMap;
use indicatif::ProgressBar;
use uuid::Uuid;

use super::{Thing, advised, path};
use crate::cli::{
    client::{
        api::{Api, length_of, pour},
        print,
    },
    paint::bar,
};

pub(super) async fn run(api: &Api, id: Uuid, output: Option<&Path>) -> Result<()> {
    let opened = api.open(&format!("{}/payload", path(id)), HeaderMap::new()).await;
    // Before the file is made: what is refused spoils none that is there.
    let response = opened.map_err(|error| advised(error, Thing::Delivery))?;
    let length = length_of(&response).unwrap_or(0);
    // The bytes themselves would run through the bar.
    let is_in_the_way = output.is_none() && io::stdout().is_terminal();
    let bar = if is_in_the_way {
        ProgressBar::hidden()
    } else {
        bar("  {bar:32.cyan/dim} {bytes} of {total_bytes}  {bytes_per_sec}  {eta} left", length)
    };
    match output {
        Some(path) => {
            let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
            let mut file = BufWriter::new(bar.wrap_write(file));
            let poured = pour(response, "the payload", |bytes| file.write_all(bytes)).await;
            poured
                .and_then(|()| Ok(file.flush()?))
                .with_context(|| format!("{} has only a part of the payload", path.display()))?;
        }
        None => {
            let take = |bytes: &[u8]| {
                bar.inc(bytes.len() as u64);
                print(bytes)
            };
            pour(response, "the payload", take).await?;
        }
    }
    bar.finish_and_clear();
    Ok(())
}
