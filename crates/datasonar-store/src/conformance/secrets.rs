//! Checks of webhook secrets.

use super::samples::*;
use crate::{Scope, SecretId};

async fn signing(store: &Tested, scope: Scope, seconds: i64) -> Vec<SecretId> {
    store.secrets(scope, at(seconds)).await.unwrap().into_iter().map(|secret| secret.id).collect()
}

/// Secrets are listed newest first, as they were stored.
pub async fn the_newest_signs_first(store: Tested) {
    let scope = scope();
    assert_eq!(store.secrets(scope, at(0)).await.unwrap(), []);
    let (old, new) = (secret(scope, at(0)), secret(scope, at(10)));
    store.rotate_secret(old.clone(), seconds(100)).await.unwrap();
    store.rotate_secret(new.clone(), seconds(100)).await.unwrap();
    let listed = store.secrets(scope, at(10)).await.unwrap();
    assert_eq!(listed.iter().map(|secret| secret.id).collect::<Vec<_>>(), [new.id, old.id]);
    assert_eq!((listed[0].created_at, listed[0].expires_at), (at(10), None));
    assert_eq!((listed[1].created_at, listed[1].expires_at), (at(0), Some(at(110))));
    assert_eq!((listed[0].scope, &listed[0].sealed), (scope, &new.sealed));
}

/// The old secret signs beside the new one until the overlap has passed, and not at its end.
pub async fn rotation_lets_the_old_one_overlap(store: Tested) {
    let scope = scope();
    let (old, new) = (secret(scope, at(0)), secret(scope, at(10)));
    store.rotate_secret(old.clone(), seconds(100)).await.unwrap();
    store.rotate_secret(new.clone(), seconds(100)).await.unwrap();
    assert_eq!(signing(&store, scope, 109).await, [new.id, old.id]);
    assert_eq!(signing(&store, scope, 110).await, [new.id]);
}

/// A rotation does not lengthen the life of a secret that is to expire sooner.
pub async fn a_shorter_overlap_counts(store: Tested) {
    let scope = scope();
    let secrets = [secret(scope, at(0)), secret(scope, at(10)), secret(scope, at(20)), secret(scope, at(30))];
    for (secret, overlap) in secrets.iter().zip([100, 100, 500, 0]) {
        store.rotate_secret(secret.clone(), seconds(overlap)).await.unwrap();
        if overlap == 500 {
            assert_eq!(signing(&store, scope, 109).await, [secrets[2].id, secrets[1].id, secrets[0].id]);
            assert_eq!(signing(&store, scope, 110).await, [secrets[2].id, secrets[1].id]);
        }
    }
    assert_eq!(signing(&store, scope, 30).await, [secrets[3].id], "an overlap of nothing ends all others at once");
}

/// However often a secret is rotated, ten sign at most: the newest.
pub async fn ten_sign_at_most(store: Tested) {
    let scope = scope();
    let mut ids = Vec::new();
    for second in 0..15 {
        let new = secret(scope, at(second));
        ids.insert(0, new.id);
        store.rotate_secret(new, seconds(1000)).await.unwrap();
        ids.truncate(10);
        assert_eq!(signing(&store, scope, second).await, ids);
    }
}

/// Neither another account nor the other environment sees a secret or has it rotated away.
pub async fn secrets_keep_to_their_scope(store: Tested) {
    let scope = scope();
    let mine = secret(scope, at(0));
    store.rotate_secret(mine.clone(), seconds(0)).await.unwrap();
    for other in [sandbox_of(scope), self::scope()] {
        assert_eq!(signing(&store, other, 0).await, []);
        store.rotate_secret(secret(other, at(5)), seconds(0)).await.unwrap();
        store.rotate_secret(secret(other, at(6)), seconds(0)).await.unwrap();
    }
    assert_eq!(signing(&store, scope, 10).await, [mine.id]);
}
