//! What the files in `deploy` say of Datasonar is true of it, and what they ask of a container holds for all.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    time::Duration,
};

use datasonar::{
    config::{Role, Settings, Sources},
    serve::STOP_WITHIN,
};
use serde_json::{Value, json};

use crate::compose::{Compose, folder, variables, yaml};

/// What an operator would fill in.
pub(crate) fn secrets() -> BTreeMap<String, String> {
    let pairs = [
        ("POSTGRES_PASSWORD", "5a".repeat(24)),
        ("DATASONAR_ENCRYPTION_KEY", "5a".repeat(32)),
        ("S3_ACCESS_KEY_ID", format!("GK{}", "5a".repeat(12))),
        ("S3_SECRET_ACCESS_KEY", "5a".repeat(32)),
        ("GARAGE_RPC_SECRET", "5a".repeat(32)),
    ];
    pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

#[track_caller]
fn settings(variables: BTreeMap<String, String>) -> Settings {
    Sources::default().environment(variables).unwrap().settings().unwrap()
}

fn texts(value: &Value) -> BTreeMap<String, String> {
    let members = value.as_object().unwrap().iter();
    members.map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned())).collect()
}

fn duration(value: &Value) -> Duration {
    humantime::parse_duration(value.as_str().unwrap()).unwrap()
}

#[test]
fn the_compose_file_has_all_roles_and_settings_that_exist() {
    let compose = Compose::read(secrets());
    let mut processes = BTreeMap::new();
    for service in compose.processes() {
        let settings = settings(compose.environment(&service));
        assert_eq!(settings.listen.port(), 8080, "{service}: the port of the health check");
        assert!(duration(&compose.part(&format!("/services/{service}/stop_grace_period"))) > STOP_WITHIN, "{service}");
        for role in settings.roles {
            *processes.entry(format!("{role:?}")).or_default() += compose.replicas(&service);
        }
    }
    let expected = [(Role::Api, 2), (Role::Worker, 3), (Role::Dispatcher, 2), (Role::Scheduler, 1)];
    assert_eq!(processes, expected.map(|(role, count)| (format!("{role:?}"), count)).into());
}

#[test]
fn the_compose_file_hardens_every_container_and_refers_to_what_is_there() {
    let compose = Compose::read(secrets());
    let (networks, volumes) = (compose.names("/networks"), compose.names("/volumes"));
    for service in compose.names("/services") {
        let part = compose.part(&format!("/services/{service}"));
        assert_eq!(part["read_only"], true, "{service}");
        assert_eq!(part["cap_drop"], json!(["ALL"]), "{service}");
        assert_eq!(part["security_opt"], json!(["no-new-privileges:true"]), "{service}");
        assert_eq!(part["restart"], "unless-stopped", "{service}");
        for limit in ["cpus", "memory"] {
            assert!(part["deploy"]["resources"]["limits"][limit].is_string(), "{service}: {limit}");
        }
        assert!(part["healthcheck"]["test"].is_array(), "{service}");
        for (needed, how) in part["depends_on"].as_object().into_iter().flatten() {
            assert!(compose.names("/services").contains(needed), "{service} needs {needed}");
            assert_eq!(how["condition"], "service_healthy", "{service}");
        }
        for network in part["networks"].as_array().unwrap() {
            assert!(networks.contains(network.as_str().unwrap()), "{service}: {network}");
        }
        for volume in part["volumes"].as_array().into_iter().flatten() {
            let from = volume.as_str().unwrap().split(':').next().unwrap();
            let is_there = if from.starts_with('.') { folder().join(from).is_file() } else { volumes.contains(from) };
            assert!(is_there, "{service}: {volume}");
        }
    }
    compose.part("");
    let offered: BTreeSet<String> = variables(".env.example", false).into_keys().collect();
    assert_eq!(compose.asked(), offered, "compose.yaml asks for what .env.example offers");
    for (name, value) in variables(".env.example", false) {
        assert_eq!(value.is_empty(), secrets().contains_key(&name), "{name}: no secret has a default");
    }
}

/// Every resource below `deploy/kubernetes` of a kind.
fn resources(kind: &str) -> Vec<Value> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder().join("kubernetes")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        found.extend(yaml(&format!("kubernetes/{name}")).into_iter().filter(|resource| resource["kind"] == kind));
    }
    found
}

#[test]
fn the_manifests_have_all_roles_and_settings_that_exist() {
    let mut common = texts(&resources("ConfigMap")[0]["data"]);
    common.extend(texts(&resources("Secret")[0]["stringData"]));
    let mut roles = BTreeSet::new();
    for deployment in resources("Deployment") {
        let pod = &deployment["spec"]["template"]["spec"];
        let container = &pod["containers"][0];
        let mut variables = common.clone();
        for variable in container["env"].as_array().unwrap() {
            variables
                .insert(variable["name"].as_str().unwrap().to_owned(), variable["value"].as_str().unwrap().to_owned());
        }
        let settings = settings(variables);
        assert_eq!(container["ports"][0]["containerPort"], settings.listen.port());
        roles.extend(settings.roles.iter().map(|role| format!("{role:?}")));
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(container[probe]["httpGet"], json!({"path": path, "port": "http"}), "{probe}");
        }
        let paused = container["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap_or(0);
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() > STOP_WITHIN.as_secs() + paused);
        assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
        assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
        assert_eq!(pod["automountServiceAccountToken"], false);
        let hardened = json!({
            "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]},
        });
        assert_eq!(container["securityContext"], hardened);
        for labels in [
            &deployment["spec"]["selector"]["matchLabels"],
            &pod["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
            &pod["topologySpreadConstraints"][1]["labelSelector"]["matchLabels"],
        ] {
            assert_eq!(*labels, deployment["spec"]["template"]["metadata"]["labels"]);
        }
    }
    assert_eq!(
        roles,
        [Role::Api, Role::Worker, Role::Dispatcher, Role::Scheduler].map(|role| format!("{role:?}")).into()
    );
}

#[test]
fn the_unit_has_settings_that_exist_and_time_to_stop() {
    let mut all = variables("systemd/datasonar.env.example", true);
    settings(all.clone());
    all.insert("DATASONAR_NO_SUCH".to_owned(), String::new());
    Sources::default().environment(all).unwrap_err();
    let unit = fs::read_to_string(folder().join("systemd/datasonar.service")).unwrap();
    let stop = unit.lines().find_map(|line| line.strip_prefix("TimeoutStopSec=")).unwrap();
    assert!(humantime::parse_duration(stop).unwrap() > STOP_WITHIN);
}
