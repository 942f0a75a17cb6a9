//! Checks of accounts, keys and usage.

use super::samples::*;
use crate::{Account, AccountId, Caller, KeyId, NewKey, Scope, Setup, StoreError, Usage, UsageSample};

/// Fills a store with an account and keys.
pub(super) async fn set_up(store: &Tested) -> AccountId {
    let scope = scope();
    assert!(store.set_up(setup(scope)).await.unwrap());
    scope.account
}

fn setup(scope: Scope) -> Setup {
    let account = Account {
        id: scope.account,
        email: "owner@example.com".to_owned(),
        plan: "self-hosted".to_owned(),
        created_at: at(0),
        is_built_in: true,
    };
    Setup {
        account,
        keys: vec![key(scope, 1), key(sandbox_of(scope), 2)],
        secrets: vec![secret(scope, at(0)), secret(sandbox_of(scope), at(0))],
        links: Vec::new(),
    }
}

fn key(scope: Scope, hash: u8) -> NewKey {
    NewKey {
        id: KeyId(uuid()),
        scope,
        hash: [hash; 32],
        prefix: format!("osk_{hash}"),
        name: format!("key {hash}"),
        created_at: at(hash.into()),
    }
}

/// An empty store is filled, once.
pub async fn set_up_fills_an_empty_store_once(store: Tested) {
    let scope = scope();
    assert!(store.set_up(setup(scope)).await.unwrap());
    let other = self::scope();
    assert!(!store.set_up(Setup { keys: vec![key(other, 9)], ..setup(other) }).await.unwrap());
    assert_eq!(store.account(None).await.unwrap().id, scope.account);
    assert_eq!(store.authenticate([9; 32]).await.unwrap(), None);
    assert_eq!(store.authenticate([2; 32]).await.unwrap().unwrap().scope, sandbox_of(scope));
    assert_eq!(store.secrets(scope, at(0)).await.unwrap().len(), 1);
    assert_eq!(store.secrets(sandbox_of(scope), at(0)).await.unwrap().len(), 1);
    assert_eq!(store.secrets(other, at(0)).await.unwrap(), []);
}

/// Accounts are found by id, the built-in one without.
pub async fn accounts_are_found(store: Tested) {
    assert!(matches!(store.account(None).await, Err(StoreError::NotFound)));
    let setup = setup(scope());
    let account = setup.account.clone();
    store.set_up(setup).await.unwrap();
    assert_eq!(store.account(None).await.unwrap(), account);
    assert_eq!(store.account(Some(account.id)).await.unwrap(), account);
    assert!(matches!(store.account(Some(AccountId(uuid()))).await, Err(StoreError::NotFound)));
}

/// A key speaks for its scope until it is revoked.
pub async fn keys_authenticate_until_revoked(store: Tested) {
    let new = key(scope(), 3);
    store.create_key(new.clone()).await.unwrap();
    assert_eq!(store.authenticate([3; 32]).await.unwrap(), Some(Caller { key: new.id, scope: new.scope }));
    assert_eq!(store.authenticate([4; 32]).await.unwrap(), None);
    let account = new.scope.account;
    store.revoke_key(account, new.id, at(20)).await.unwrap();
    store.revoke_key(account, new.id, at(30)).await.unwrap();
    assert_eq!(store.authenticate([3; 32]).await.unwrap(), None);
    assert_eq!(store.keys(account).await.unwrap()[0].revoked_at, Some(at(20)));
    assert!(matches!(store.revoke_key(account, KeyId(uuid()), at(20)).await, Err(StoreError::NotFound)));
}

/// An account sees its own keys, newest first, and revokes no other's.
pub async fn keys_are_listed_by_account(store: Tested) {
    let (mine, other) = (scope(), scope());
    let new = [key(mine, 5), key(sandbox_of(mine), 6), key(mine, 7), key(other, 8)];
    for key in &new {
        store.create_key(key.clone()).await.unwrap();
    }
    let ids: Vec<_> = store.keys(mine.account).await.unwrap().into_iter().map(|key| key.id).collect();
    assert_eq!(ids, [new[2].id, new[1].id, new[0].id]);
    let listed = store.keys(other.account).await.unwrap().remove(0);
    assert_eq!((listed.scope, listed.prefix.as_str(), listed.created_at), (other, "osk_8", at(8)));
    assert!(matches!(store.revoke_key(mine.account, new[3].id, at(9)).await, Err(StoreError::NotFound)));
    assert!(store.authenticate([8; 32]).await.unwrap().is_some());
}

/// Neither a key's id nor its hash is stored twice.
pub async fn the_same_key_is_refused(store: Tested) {
    let first = key(scope(), 3);
    store.create_key(first.clone()).await.unwrap();
    assert!(matches!(store.create_key(first.clone()).await, Err(StoreError::Conflict(_))));
    assert!(matches!(store.create_key(key(scope(), 3)).await, Err(StoreError::Conflict(_))));
    assert_eq!(store.authenticate([3; 32]).await.unwrap().unwrap().key, first.id);
}

/// Usage is summed by scope over the days from that of `since` on.
pub async fn usage_sums_days_and_scopes(store: Tested) {
    const DAY: i64 = 86_400;
    let scope = scope();
    let sample = |scope, seconds, pages| UsageSample {
        scope,
        at: at(seconds),
        pages,
        succeeded: pages / 2,
        time_ms: 5,
        is_charged: false,
    };
    store
        .record_usage(vec![
            sample(scope, 0, 1),
            sample(scope, DAY, 10),
            sample(scope, DAY + 1, 20),
            sample(scope, 2 * DAY, 100),
            sample(sandbox_of(scope), DAY, 1000),
        ])
        .await
        .unwrap();
    store.record_usage(vec![sample(scope, 2 * DAY, 100)]).await.unwrap();
    store.record_usage(Vec::new()).await.unwrap();
    let pages = async |scope, since| store.usage(scope, at(since)).await.unwrap().pages;
    assert_eq!(
        store.usage(scope, at(0)).await.unwrap(),
        Usage { pages: 231, succeeded: 115, time_ms: 25 },
        "1 + 10 + 20 + 2 × 100"
    );
    assert_eq!(pages(scope, DAY + 2).await, 230, "the whole day of `since` counts");
    assert_eq!(pages(scope, 2 * DAY).await, 200);
    assert_eq!(pages(scope, 9 * DAY).await, 0);
    assert_eq!(pages(sandbox_of(scope), 0).await, 1000);
    assert_eq!(store.usage(self::scope(), at(0)).await.unwrap(), Usage::default());
}
