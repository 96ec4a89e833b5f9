//! The files that cannot read the fleet agree with it.

use std::{collections::BTreeSet, fs, path::Path};

use common::fleet::{self, Program};

fn file(name: &str) -> String {
    let path = Path::new("..").join(name);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The part of a Compose file about a container: its lines, without their indentation.
fn container(compose: &str, name: &str) -> Vec<String> {
    let heading = format!("  {name}:");
    let mut lines = compose.lines().skip_while(|line| *line != heading);
    assert!(lines.next().is_some(), "there is no container {name}");
    let belongs = |line: &&str| line.is_empty() || line.starts_with("    ");
    let lines = lines.take_while(belongs);
    lines.map(|line| line.trim().to_owned()).collect()
}

#[test]
fn the_example_has_every_default() {
    let example = file(".env.example");
    let lines: BTreeSet<&str> = example.lines().collect();
    let has = |line: String| assert!(lines.contains(line.as_str()), ".env.example lacks {line}");
    for Program {
        http_variable,
        port,
        ..
    } in fleet::programs()
    {
        has(format!("{http_variable}=0.0.0.0:{port}"));
    }
    for database in fleet::databases() {
        let config = database.config(&Default::default()).unwrap();
        has(format!("{}={}", database.variable, config.url.expose()));
        let url = database.audit_url(&Default::default()).unwrap();
        has(format!("{}={}", database.audit_variable, url.expose()));
    }
}

#[test]
fn compose_runs_every_program() {
    let compose = file("docker-compose.yml");
    for program in fleet::programs() {
        let lines = container(&compose, program.name);
        let has = |line: String| {
            let name = program.name;
            assert!(lines.contains(&line), "container {name} lacks {line}");
        };
        has(format!(
            "build: {{ context: ., args: {{ PROGRAM: {} }} }}",
            program.name
        ));
        let port = program.port;
        has(format!(r#"ports: ["127.0.0.1:{port}:{port}"]"#));
        has(format!("{}: 0.0.0.0:{port}", program.http_variable));
    }
    let built = compose.matches("PROGRAM: ").count();
    assert_eq!(built, fleet::programs().count() + 1, "and migrate, no more");
}

#[test]
fn compose_tells_each_program_its_own_databases_only() {
    let compose = file("docker-compose.yml");
    let told = |container_name: &str| -> BTreeSet<String> {
        let lines = container(&compose, container_name).into_iter();
        let variables =
            lines.filter_map(|line| Some(line.split_once(": postgres://")?.0.to_owned()));
        variables.collect()
    };
    let owners: BTreeSet<_> = fleet::databases().map(|d| d.variable.to_owned()).collect();
    let auditors = fleet::databases().map(|d| d.audit_variable.to_owned());
    let auditors: BTreeSet<_> = auditors.collect();
    for service in fleet::SERVICES {
        let own = BTreeSet::from([service.database.variable.to_owned()]);
        assert_eq!(told(service.program.name), own);
    }
    assert_eq!(told(fleet::AUDIT.name), auditors);
    assert_eq!(told("migrate"), owners.union(&auditors).cloned().collect());
}

#[test]
fn a_url_in_a_file_is_set_too() {
    // Any file that is there.
    let vars = [("ORDER_DATABASE_URL_FILE", "Cargo.toml")];
    let vars = vars.into_iter().collect();
    assert_eq!(fleet::ORDER.database.audit_role(&vars).unwrap(), None);
}

#[test]
fn production_reads_every_url_from_a_file_of_its_own() {
    let compose = file("docker-compose.prod.yml");
    let settings = compose.lines().filter(|line| !line.starts_with('#'));
    let with_url = settings.filter(|line| line.contains("://"));
    assert_eq!(with_url.collect::<Vec<_>>(), Vec::<&str>::new());
    let reads = |name: &str, variables: &mut dyn Iterator<Item = &str>| {
        let lines = container(&compose, name);
        for variable in variables {
            let secret = variable.to_lowercase();
            let line = format!("{variable}_FILE: /run/secrets/{secret}");
            assert!(lines.contains(&line), "container {name} lacks {line}");
            let declared =
                format!("  {secret}: {{ file: \"${{SECRETS:-./secrets}}/{secret}\" }}\n");
            assert!(compose.contains(&declared), "there is no secret {secret}");
        }
        let read = lines.iter().filter(|line| line.contains("_URL_FILE: "));
        read.count()
    };
    for service in fleet::SERVICES {
        let mut own = [service.database.variable].into_iter();
        assert_eq!(reads(service.program.name, &mut own), 1);
    }
    let mut audited = fleet::databases().map(|d| d.audit_variable);
    assert_eq!(
        reads(fleet::AUDIT.name, &mut audited),
        fleet::SERVICES.len()
    );
    let mut all = fleet::databases().flat_map(|d| [d.variable, d.audit_variable]);
    assert_eq!(reads("migrate", &mut all), 2 * fleet::SERVICES.len());
}

#[test]
fn the_image_is_built_with_a_rust_that_is_new_enough() {
    let dockerfile = file("Dockerfile");
    let image = dockerfile
        .lines()
        .find_map(|line| line.strip_prefix("FROM rust:"));
    let version = image.unwrap().split('-').next().unwrap();
    let manifest = file("Cargo.toml");
    let needed = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = "));
    let number = |version: &str| {
        let parts = version.split('.').map(|part| part.parse::<u32>().unwrap());
        parts.collect::<Vec<_>>()
    };
    assert!(number(version) >= number(needed.unwrap().trim_matches('"')));
    // It names a toolchain that rustup would fetch into the image, beside the one that is there.
    assert!(
        file(".dockerignore")
            .lines()
            .any(|line| line == "rust-toolchain.toml")
    );
}

#[test]
fn the_image_has_every_program() {
    let dockerfile = file("Dockerfile");
    for program in fleet::programs() {
        let crate_argument = format!("-p {}", program.name);
        assert!(dockerfile.contains(&crate_argument), "{crate_argument}");
        let built = format!("target/release/{}", program.name);
        assert!(dockerfile.contains(&built), "{built}");
        assert!(dockerfile.contains(&program.port.to_string()));
    }
}
