//! Which room of gilscope may import which: `docs/design.md` draws it, this holds the code to it.

#[cfg(test)]
mod tests {
    use crate::workspace;
    use std::{
        collections::BTreeSet,
        fs,
        path::{Path, PathBuf},
    };

    /// A room, and the rooms that it may import.
    const ROOMS: [(&str, &[&str]); 10] = [
        ("model", &[]),
        ("target", &["model"]),
        ("interpreter", &["target", "model"]),
        ("probe", &["target", "model"]),
        ("collect", &["model"]),
        ("analyse", &["model"]),
        ("output", &["model"]),
        (
            "watch",
            &[
                "analyse",
                "collect",
                "probe",
                "interpreter",
                "target",
                "model",
            ],
        ),
        (
            "commands",
            &["watch", "output", "probe", "interpreter", "target", "model"],
        ),
        ("cli", &["commands"]),
    ];
    /// Crates that only one room may know.
    const ALONE: [(&str, &str); 2] = [("aya", "probe"), ("clap", "cli")];
    /// What is excepted, with the reason: the plain data of a map is read where it is decoded; a
    /// choice of the command line is an enum of the command; the log's type passes through.
    const EXCEPTED: [(&str, &str); 4] = [
        ("collect", "aya"),
        ("commands", "clap"),
        ("watch", "aya"),
        ("commands", "aya"),
    ];

    fn sources(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap();
        let mut files = Vec::new();
        for entry in entries {
            let path = entry.unwrap().path();
            if path.is_dir() {
                files.extend(sources(&path));
            } else if path.extension().is_some_and(|end| end == "rs") {
                files.push(path);
            }
        }
        files
    }

    /// Every name that follows `prefix` in the code of a file.
    fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let text: String = lines.collect::<Vec<_>>().join("\n");
        let mut names = BTreeSet::new();
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            match rest.strip_prefix('{') {
                Some(group) => {
                    let mut depth = 0;
                    let top: String = group
                        .chars()
                        .take_while(|c| {
                            depth += i32::from(*c == '{') - i32::from(*c == '}');
                            depth >= 0
                        })
                        .collect();
                    names.extend(top_names(&top));
                }
                None => {
                    names.insert(rest.chars().take_while(|c| is_name(*c)).collect());
                }
            }
        }
        names
    }

    /// The first names of a use group: of `a::{b, c}, d` these are `a` and `d`.
    fn top_names(group: &str) -> Vec<String> {
        let (mut depth, mut names, mut name) = (0, Vec::new(), String::new());
        for c in group.chars().chain([',']) {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 0 => {
                    let first = name.trim().split("::").next().unwrap_or_default();
                    names.push(first.to_owned());
                    name.clear();
                }
                _ if depth == 0 => name.push(c),
                _ => {}
            }
        }
        names.retain(|name| !name.is_empty());
        names
    }

    #[test]
    fn groups_are_taken_apart() {
        let code = "use crate::{a::{b, c}, d};\n// crate::no\nuse crate::e::F; crate::g()";
        let names: Vec<String> = names_after(code, "crate::").into_iter().collect();
        assert_eq!(names, ["a", "d", "e", "g"]);
    }

    #[test]
    fn rooms_import_only_what_the_plan_says() {
        let root = workspace::root().join("gilscope/src");
        let mut faults = Vec::new();
        for (room, allowed) in ROOMS {
            for file in sources(&root.join(room)) {
                let code = fs::read_to_string(&file).unwrap();
                for name in names_after(&code, "crate::") {
                    let is_room = ROOMS.iter().any(|(other, _)| *other == name);
                    if is_room && name != room && !allowed.contains(&name.as_str()) {
                        faults.push(format!("{}: imports {name}", file.display()));
                    }
                }
                for (outside, home) in ALONE {
                    let used = code.contains(&format!("{outside}::"));
                    if used && room != home && !EXCEPTED.contains(&(room, outside)) {
                        faults.push(format!("{}: uses {outside}", file.display()));
                    }
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn every_room_is_in_the_plan() {
        let folders = fs::read_dir(workspace::root().join("gilscope/src")).unwrap();
        for folder in folders.map(|entry| entry.unwrap().path()) {
            let name = folder
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let known = ROOMS.iter().any(|(room, _)| *room == name);
            assert!(known || !folder.is_dir(), "{name} is a room without a plan");
        }
    }
}
