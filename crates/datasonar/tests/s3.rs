//! Blobs: the same suite on files and on a real S3 server, and what happens when that server does not do what it should.
#![expect(clippy::unwrap_used, reason = "tests fail by panicking, and are their own documentation")]

#[path = "support/s3.rs"]
mod s3;

use std::{collections::BTreeSet, time::Duration};

use datasonar::{
    blobs::{Blobs, BlobsError, Patience, S3Error, S3Options, input_key, segment_key},
    config::AwsVariables,
};
use datasonar_store::JobId;
use futures::{StreamExt, TryStreamExt};
use s3::{BUCKET, S3, SECRET_KEY, Trouble};
use tokio::time::Instant;
use uuid::Uuid;

const SHORT: Patience =
    Patience { exchange: Duration::from_millis(400), retry: Duration::from_secs(1), check: Duration::from_secs(2) };

fn options(server: &S3, patience: Patience, changes: &[(&str, &str)]) -> S3Options {
    let variables = server.variables();
    let mut all: Vec<(&str, &str)> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
    all.retain(|(name, _)| !changes.iter().any(|(changed, _)| changed == name));
    all.extend(changes);
    let variables = all.into_iter().collect::<AwsVariables>();
    S3Options { bucket: BUCKET.to_owned(), prefix: "some/where".to_owned(), variables, patience }
}

fn job(number: u128) -> JobId {
    JobId(Uuid::from_u128(number))
}

/// Bytes that tell where they are.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

async fn upload(blobs: &Blobs, key: &str, bytes: &[u8]) -> Result<(), BlobsError> {
    let mut upload = blobs.upload(key);
    for piece in bytes.chunks(300_000) {
        upload.write(piece).await?;
    }
    upload.finish().await
}

/// What both kinds of storage promise.
async fn suite(blobs: &Blobs, jobs: u128) {
    let (one, other, large) = (job(1), job(2), pattern(20_000_003));
    let segment = segment_key(one, 0, 1, 0);
    blobs.put(&segment, b"segment".to_vec()).await.unwrap();
    blobs.put(&segment, b"segment".to_vec()).await.unwrap();
    blobs.put(&input_key(other), b"other".to_vec()).await.unwrap();
    upload(blobs, &input_key(one), &large).await.unwrap();
    upload(blobs, &segment_key(one, 1, 1, 0), b"").await.unwrap();
    upload(blobs, &segment_key(one, 2, 1, 0), b"little").await.unwrap();

    assert_eq!(&blobs.get(&segment).await.unwrap()[..], b"segment");
    assert_eq!(blobs.get(&segment_key(one, 1, 1, 0)).await.unwrap().len(), 0);
    assert_eq!(&blobs.get(&segment_key(one, 2, 1, 0)).await.unwrap()[..], b"little");
    assert!(blobs.get(&input_key(one)).await.unwrap() == large, "other bytes were read than written");
    assert_eq!(blobs.length(&input_key(one)).await.unwrap(), large.len() as u64);
    for (offset, length) in [(0, 1), (5_242_879, 2), (7_000_000, 4_000_000), (large.len() - 10, 10)] {
        let read = blobs.get_range(&input_key(one), offset as u64, length as u64).await.unwrap();
        assert!(read == large[offset..offset + length], "at {offset}");
    }
    for (offset, length) in [(large.len() as u64 - 10, 11), (large.len() as u64 + 1, 1), (1 << 40, 7)] {
        let short = blobs.get_range(&input_key(one), offset, length).await;
        assert!(matches!(short, Err(BlobsError::Missing { .. })), "{short:?}");
    }
    for key in [input_key(job(3)), "jobs/x".to_owned()] {
        assert!(matches!(blobs.get(&key).await, Err(BlobsError::Missing { .. })));
        assert!(matches!(blobs.get_range(&key, 0, 1).await, Err(BlobsError::Missing { .. })));
        assert!(matches!(blobs.length(&key).await, Err(BlobsError::Missing { .. })));
    }

    // Discarded: neither shown nor in the way.
    let mut discarded = blobs.upload(&input_key(job(4)));
    discarded.write(&large[..11_000_000]).await.unwrap();
    discarded.abort().await;
    assert!(matches!(blobs.get(&input_key(job(4))).await, Err(BlobsError::Missing { .. })));

    let write = |number| async move { blobs.put(&input_key(job(number)), vec![1]).await.unwrap() };
    futures::stream::iter(1_000..1_000 + jobs).for_each_concurrent(16, write).await;
    let listed: Vec<JobId> = blobs.jobs().try_collect().await.unwrap();
    let distinct: BTreeSet<JobId> = listed.iter().copied().filter(|id| *id != job(4)).collect();
    let expected: BTreeSet<JobId> = [one, other].into_iter().chain((1_000..1_000 + jobs).map(job)).collect();
    assert_eq!(distinct, expected);

    blobs.delete_job(one).await.unwrap();
    blobs.delete_job(one).await.unwrap();
    assert!(matches!(blobs.get(&input_key(one)).await, Err(BlobsError::Missing { .. })));
    assert!(matches!(blobs.get(&segment).await, Err(BlobsError::Missing { .. })));
    assert_eq!(&blobs.get(&input_key(other)).await.unwrap()[..], b"other");
}

#[tokio::test]
async fn files_do_what_is_promised() {
    let directory = tempfile::tempdir().unwrap();
    let blobs = Blobs::local(&directory.path().join("blobs")).unwrap();
    assert!(blobs.jobs().try_collect::<Vec<_>>().await.unwrap().is_empty());
    suite(&blobs, 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_does_what_is_promised() {
    let server = S3::start().await;
    let options = options(&server, Patience::default(), &[]);
    options.check(Uuid::nil()).await.unwrap();
    assert!(server.files("").is_empty(), "the check leaves nothing behind");
    let blobs = Blobs::s3(&options).unwrap();
    assert!(blobs.jobs().try_collect::<Vec<_>>().await.unwrap().is_empty());
    // More than one page of a list.
    suite(&blobs, 1_100).await;
    assert!(server.files("some/where/jobs").len() > 1_100, "keys begin with the prefix");
    assert_eq!(server.unfinished_parts(), 0, "an upload that was discarded keeps no parts");
    assert!(!format!("{blobs:?} {options:?}").contains(SECRET_KEY));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_of_many_blobs_is_deleted_in_bulk() {
    let server = S3::start().await;
    let blobs = Blobs::s3(&options(&server, Patience::default(), &[])).unwrap();
    let write = |seq| {
        let blobs = blobs.clone();
        async move { blobs.put(&segment_key(job(1), seq, 1, 0), vec![1]).await.unwrap() }
    };
    futures::stream::iter(0..1_200).for_each_concurrent(16, write).await;
    let (before, _) = server.calls();
    blobs.delete_job(job(1)).await.unwrap();
    let (after, _) = server.calls();
    assert!(server.files("some").is_empty());
    // Two of each; this server fails to list what is being deleted, so that a page may be asked for again.
    assert!(after - before < 20, "two pages of keys took {} calls", after - before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_half_of_all_calls_fail_everything_is_written_and_read_in_the_end() {
    let server = S3::start().await;
    let blobs = Blobs::s3(&options(&server, Patience::default(), &[])).unwrap();
    server.trouble(Trouble::Share(50));
    let work = |number: u128| {
        let blobs = blobs.clone();
        async move {
            let bytes = pattern(1_000 + number as usize * 7_919);
            let key = segment_key(job(number), 0, 1, 0);
            blobs.put(&key, bytes.clone()).await.unwrap();
            assert!(blobs.get(&key).await.unwrap() == bytes, "wrong bytes");
            let range = blobs.get_range(&key, 500, 400).await.unwrap();
            assert!(range == bytes[500..900], "wrong bytes");
            assert!(matches!(blobs.get(&input_key(job(number))).await, Err(BlobsError::Missing { .. })));
        }
    };
    futures::stream::iter(1..=40).for_each_concurrent(8, work).await;
    let large = pattern(20_000_003);
    for number in 100..103 {
        upload(&blobs, &input_key(job(number)), &large).await.unwrap();
        assert!(blobs.get(&input_key(job(number))).await.unwrap() == large, "wrong bytes");
    }
    let listed: BTreeSet<JobId> = blobs.jobs().try_collect().await.unwrap();
    assert_eq!(listed, (1..=40).chain(100..103).map(job).collect());
    for job in listed {
        blobs.delete_job(job).await.unwrap();
    }
    server.trouble(Trouble::Nothing);
    assert!(server.files("some/where/jobs").is_empty());
    let (calls, failed) = server.calls();
    assert!(failed > 100 && failed * 3 > calls, "{failed} of {calls} calls failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_fails_for_good_is_unavailable_within_bounds_and_keeps_no_parts() {
    let server = S3::start().await;
    let blobs = Blobs::s3(&options(&server, SHORT, &[])).unwrap();
    blobs.put(&input_key(job(1)), b"there".to_vec()).await.unwrap();
    let mut begun = blobs.upload(&input_key(job(2)));
    begun.write(&pattern(11_000_000)).await.unwrap();
    for trouble in [Trouble::Down, Trouble::Hang] {
        server.trouble(trouble);
        let begin = Instant::now();
        let read = blobs.get(&input_key(job(1))).await;
        assert!(matches!(&read, Err(BlobsError::Unavailable(_))), "{trouble:?}: {read:?}");
        let written = blobs.put(&input_key(job(3)), vec![1]).await;
        assert!(matches!(&written, Err(BlobsError::Unavailable(_))), "{trouble:?}: {written:?}");
        assert!(blobs.jobs().try_collect::<Vec<_>>().await.is_err());
        assert!(matches!(blobs.delete_job(job(1)).await, Err(BlobsError::Unavailable(_))));
        // Each may try for a second and wait for the last exchange.
        assert!(begin.elapsed() < Duration::from_secs(12), "{trouble:?} took {:?}", begin.elapsed());
    }
    server.trouble(Trouble::Nothing);
    assert_eq!(&blobs.get(&input_key(job(1))).await.unwrap()[..], b"there");
    drop(begun);
    tokio::time::timeout(Duration::from_secs(10), async {
        while server.unfinished_parts() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("a dropped upload is aborted");
}

#[tokio::test]
async fn a_slow_storage_is_only_slow() {
    let server = S3::start().await;
    let blobs = Blobs::s3(&options(&server, Patience::default(), &[])).unwrap();
    server.trouble(Trouble::Slow(Duration::from_millis(300)));
    let large = pattern(11_000_000);
    upload(&blobs, &input_key(job(1)), &large).await.unwrap();
    assert!(blobs.get(&input_key(job(1))).await.unwrap() == large);
}

async fn refused(options: S3Options) -> String {
    let begin = Instant::now();
    let error = options.check(Uuid::nil()).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(matches!(error, S3Error::Unusable { .. }), "{error}");
    assert!(!error.to_string().contains(SECRET_KEY) && !format!("{error:?}").contains(SECRET_KEY), "{error:?}");
    error.to_string()
}

#[tokio::test]
async fn the_start_says_what_is_wrong_with_a_bucket() {
    let server = S3::start().await;
    let wrong = options(&server, SHORT, &[("AWS_SECRET_ACCESS_KEY", "another-secret")]);
    let error = refused(wrong).await;
    assert!(error.contains("SignatureDoesNotMatch") && error.contains("Check AWS_ACCESS_KEY_ID"), "{error}");
    assert!(
        error.contains("s3://blobs/some/where") && error.contains("to us write") || error.contains("us write"),
        "{error}"
    );
    let unknown = options(&server, SHORT, &[("AWS_ACCESS_KEY_ID", "AKIASOMEBODYELSE")]);
    let error = refused(unknown).await;
    assert!(error.contains("Check AWS_ACCESS_KEY_ID") && !error.contains("AKIASOMEBODYELSE"), "{error}");

    let missing = S3Options { bucket: "missing".to_owned(), ..options(&server, SHORT, &[]) };
    let error = refused(missing).await;
    assert!(error.contains("NoSuchBucket") && error.contains("Make the bucket"), "{error}");

    let nobody = options(&server, SHORT, &[("AWS_ENDPOINT_URL", "http://127.0.0.1:1")]);
    let error = refused(nobody).await;
    assert!(error.contains("http://127.0.0.1:1") && error.contains("Check AWS_ENDPOINT_URL"), "{error}");

    server.trouble(Trouble::Hang);
    let error = refused(options(&server, SHORT, &[])).await;
    assert!(error.contains("in time") || error.contains("within 2s"), "{error}");
}
