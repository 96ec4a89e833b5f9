//! The arrows that should never be, read from the sources: who names lapin, and who uses whom.
//!
//! To guard another crate, add it to [`HOUSE`].

#![expect(clippy::unwrap_used, reason = "a test that cannot go on panics")]

mod source;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use source::{Module, Path as Names, Uses, modules};

/// What is forbidden in a crate.
struct Crate {
    /// Its sources, seen from the root of the workspace.
    src: &'static str,
    /// The only rooms that may name lapin. A room is a module right below the crate's root.
    lapin_in: &'static [&'static str],
    /// Rooms that use no other room.
    alone: &'static [&'static str],
    /// Modules that are one thing in several files. All others use each other in one direction only, directly and by
    /// way of others.
    whole: &'static [&'static str],
    /// Words that no name in its code has in it.
    silent_about: &'static [&'static str],
}

const HOUSE: &[Crate] = &[
    Crate {
        src: "common/src",
        lapin_in: &["amqp"],
        alone: &["contract", "batch", "watchdog", "metrics"],
        whole: &[],
        silent_about: &[],
    },
    Crate {
        src: "saga/src",
        lapin_in: &[],
        alone: &[],
        // A model and what has to hold in it.
        whole: &["testing::check"],
        // The engine does not know what sagas are about.
        silent_about: &["order", "payment", "stock", "inventory"],
    },
    Crate {
        src: "order-service/src",
        lapin_in: &[],
        alone: &[],
        whole: &[],
        silent_about: &[],
    },
    Crate {
        src: "payment-service/src",
        lapin_in: &[],
        alone: &[],
        whole: &[],
        silent_about: &[],
    },
    Crate {
        src: "inventory-service/src",
        lapin_in: &[],
        alone: &[],
        whole: &[],
        silent_about: &[],
    },
    Crate {
        src: "sagactl/src",
        lapin_in: &[],
        alone: &["failure"],
        whole: &[],
        silent_about: &[],
    },
];

fn house() -> impl Iterator<Item = (&'static Crate, Vec<Module>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    HOUSE.iter().map(move |guarded| {
        let modules = modules(&root.join(guarded.src));
        assert!(modules.len() > 3, "{} has sources", guarded.src);
        (guarded, modules)
    })
}

#[test]
fn only_one_room_sees_lapin() {
    for (guarded, modules) in house() {
        for module in modules {
            let may = guarded.lapin_in.contains(&module.room());
            let uses = Uses::of(&module.code);
            assert!(
                may || !uses.names_crate("lapin"),
                "{}: {} names lapin",
                guarded.src,
                module.name()
            );
        }
    }
}

#[test]
fn nobody_goes_by_the_clock_of_his_process() {
    for (guarded, modules) in house() {
        let others = modules.iter().filter(|one| one.name() != "contract::clock");
        for module in others {
            for clock in ["Utc::now", "SystemTime", "now_v7"] {
                assert!(
                    !module.code.contains(clock),
                    "{}: {} asks {clock} instead of contract::clock",
                    guarded.src,
                    module.name()
                );
            }
        }
    }
}

#[test]
fn who_is_to_be_alone_uses_no_other_room() {
    for (guarded, modules) in house() {
        let arrows = room_arrows(&file_arrows(&modules));
        for room in guarded.alone {
            let used = arrows.get(*room);
            assert!(
                used.is_none_or(BTreeSet::is_empty),
                "{}: {room} uses {used:?}",
                guarded.src
            );
        }
    }
}

#[test]
fn no_two_files_and_no_two_rooms_use_each_other() {
    for (guarded, modules) in house() {
        let files = with_whole(file_arrows(&modules), guarded.whole);
        for arrows in [room_arrows(&files), files] {
            if let Some(circle) = circle(&arrows) {
                panic!("{}: {}", guarded.src, circle.join(" → "));
            }
        }
    }
}

#[test]
fn nobody_names_what_is_not_his_business() {
    for (guarded, modules) in house() {
        for module in modules {
            let code = module.code.to_lowercase();
            for word in guarded.silent_about {
                assert!(
                    !code.contains(word),
                    "{}: {} names {word}",
                    guarded.src,
                    module.name()
                );
            }
        }
    }
}

/// Who uses whom.
type Arrows = BTreeMap<String, BTreeSet<String>>;

/// Which file uses which, by the names of their modules. Passing something on with `pub use` is no use of it: who uses
/// it then uses the file in which it is.
fn file_arrows(modules: &[Module]) -> Arrows {
    let known: BTreeSet<Names> = modules.iter().map(|module| module.path.clone()).collect();
    let uses: Vec<_> = modules
        .iter()
        .map(|module| Uses::of(&module.code))
        .collect();
    let passed_on: BTreeMap<Names, Names> = modules
        .iter()
        .zip(&uses)
        .flat_map(|(module, uses)| {
            let absolute = |path| module.absolute(path, &known);
            uses.passed_on
                .iter()
                .filter_map(absolute)
                .filter_map(|target| {
                    let mut name = module.path.clone();
                    name.push(target.last()?.clone());
                    Some((name, target))
                })
                .filter(|(name, target)| name != target)
                .collect::<Vec<_>>()
        })
        .collect();
    let home = |path: Names| source::home(path, &passed_on, &known);
    let arrows = modules.iter().zip(&uses).map(|(module, uses)| {
        let used = uses.paths.iter().filter_map(|path| {
            let home = home(module.absolute(path, &known)?);
            (home != module.path).then(|| home.join("::"))
        });
        (module.name(), used.collect())
    });
    arrows.collect()
}

/// The same arrows, where each of `whole` is one file.
fn with_whole(files: Arrows, whole: &[&str]) -> Arrows {
    let name = |file: &str| {
        let is_part = |whole: &&&str| file.starts_with(&format!("{whole}::"));
        let part_of = whole.iter().find(is_part);
        part_of.map_or(file, |whole| *whole).to_owned()
    };
    let mut arrows = Arrows::new();
    for (file, used) in &files {
        let user = name(file);
        let used = used.iter().map(|used| name(used));
        let used: Vec<_> = used.filter(|used| *used != user).collect();
        arrows.entry(user).or_default().extend(used);
    }
    arrows
}

fn room_arrows(files: &Arrows) -> Arrows {
    let room = |name: &str| name.split("::").next().unwrap_or_default().to_owned();
    let mut rooms = Arrows::new();
    for (file, used) in files.iter().filter(|(file, _)| !file.is_empty()) {
        let others = used
            .iter()
            .map(|used| room(used))
            .filter(|used| !used.is_empty() && *used != room(file));
        rooms.entry(room(file)).or_default().extend(others);
    }
    rooms
}

/// A way along the arrows that comes back to where it began.
fn circle(arrows: &Arrows) -> Option<Vec<String>> {
    fn walk<'a>(
        arrows: &'a Arrows,
        at: &'a str,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) -> Option<Vec<String>> {
        if let Some(start) = way.iter().position(|before| *before == at) {
            let circle = way[start..].iter().chain([&at]);
            return Some(circle.map(ToString::to_string).collect());
        }
        if done.contains(at) {
            return None;
        }
        way.push(at);
        let found = arrows
            .get(at)?
            .iter()
            .find_map(|next| walk(arrows, next, way, done));
        way.pop();
        done.insert(at);
        found
    }
    let mut done = BTreeSet::new();
    arrows
        .keys()
        .find_map(|start| walk(arrows, start, &mut Vec::new(), &mut done))
}

fn module(path: &str, code: &str) -> Module {
    Module {
        path: path
            .split("::")
            .filter(|name| !name.is_empty())
            .map(ToOwned::to_owned)
            .collect(),
        code: source::code(code),
    }
}

#[test]
fn a_planted_circle_is_found() {
    let tree = |b: &str| {
        let modules = [
            module("", "pub mod a; pub mod b;"),
            module("a", "mod deep; pub use deep::Thing;"),
            module("a::deep", "use crate::{b::{self, Other}, c};"),
            module("b", b),
        ];
        file_arrows(&modules)
    };
    assert_eq!(circle(&tree("")), None);
    // Comments and strings are no code.
    assert_eq!(
        circle(&tree(r#"// crate::a::Thing "\"crate::a::Thing""#)),
        None
    );
    let through_the_room = tree("fn f() { super::a::Thing::new() }");
    let expected = ["a::deep", "b", "a::deep"];
    assert_eq!(circle(&through_the_room).unwrap(), expected);
    assert_eq!(
        circle(&room_arrows(&through_the_room)).unwrap(),
        ["a", "b", "a"]
    );
}

#[test]
fn names_of_crates_are_found_in_code_only() {
    let names = |text: &str| Uses::of(&source::code(text)).names_crate("lapin");
    assert!(names("use lapin::{Channel};"));
    assert!(names("use lapin as rabbit;"));
    assert!(names("fn f(error: ::lapin::Error) {}"));
    assert!(!names("// lapin::Channel\nuse crate::lapin_like::X;"));
    assert!(!names(r#"let filter = "lapin::x=off";"#));
    assert!(!names("#[cfg(test)]\nmod tests { use lapin::Channel; }"));
}
